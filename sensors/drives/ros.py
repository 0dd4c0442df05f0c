"""Bags of ROS 1 (`.bag`) and ROS 2 (a folder with `metadata.yaml`, of db3 or MCAP), read without ROS by `rosbags`.

A sensor is a topic with pictures (Image, CompressedImage), clouds (PointCloud2, LaserScan) or positions (NavSatFix,
Imu, Odometry). Its stamps are those of its messages' headers, since the time in the bag is when a message was written;
where a header has none the bag's is taken. So a bag has several clocks, and a survey tells them all. A bag is read
through once on opening, for the stamps; what is in a message is looked at when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.calibration import Calibration, CameraCalibration
from sensors.drives.float32 import as_float32
from sensors.drives.image_file import UnreadableFileError, decode_image, image_format
from sensors.drives.indexed import Capture, Clocks, IndexedDrive, Picture, SensorIndex, Table
from sensors.errors import RequestError
from sensors.frame import CodedImage, Item
from sensors.naming import distinct_name, safe_name
from sensors.source import Kind, Span

_NS_PER_S = 1_000_000_000
METADATA = "metadata.yaml"
# sensor_msgs/PointField: the numbers that a float32 holds exactly, and floats; times of points do not fit into one.
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 7: "f4", 8: "f8"}
_CHANNELS = {
    "bgr8": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
    "8UC1": (1, cv2.COLOR_GRAY2BGR),
    "8UC3": (3, None),
}
_WIDEST_POINT = 1 << 16
_MOST_SILENCES = 5


def is_ros2_bag(path: Path) -> bool:
    """Whether a folder is a bag of ROS 2."""
    try:
        with (path / METADATA).open("rb") as file:
            return b"rosbag2_bagfile_information" in file.read(4096)
    except OSError:
        return False


class RosBag(IndexedDrive):
    """Source of a bag's sensors; one is called `NAME-TOPIC`, say, with `_` for the topic's slashes."""

    def __init__(self, path: Path, name: str, span: Span | None = None, clocks: Clocks | None = None) -> None:
        self._bag = _Bag(path)
        with self._bag.opened():
            topics, calibration, unread = self._bag.topics()
        sensors = {
            topic.sensor: SensorIndex(
                topic.kind,
                [
                    Capture(number, stamp, partial(self._bag.read, topic, number), f"message {number}")
                    for number, stamp in enumerate(topic.stamps_ns)
                ],
                other_clocks={"bag time": topic.logged_ns} if topic.logged_ns != topic.stamps_ns else {},
            )
            for topic in topics
        }
        notes = [f"not read here: {', '.join(unread)}"] if unread else []
        notes += _silences([stamp for topic in topics for stamp in topic.logged_ns])
        super().__init__(path, name, sensors, span, clocks, calibration, notes, may_be_empty=True)

    def __iter__(self) -> Iterator[Item]:
        with self._bag.opened():
            yield from super().__iter__()


@dataclass(slots=True)
class _Topic:
    """One topic that is a sensor's."""

    sensor: str
    kind: Kind
    topic: str
    to_content: Callable[[Any], Picture | Table]
    stamps_ns: list[int] = field(default_factory=list)
    logged_ns: list[int] = field(default_factory=list)  # in the bag, message by message
    ahead: Iterator[Any] | None = None  # messages from `next` on
    next: int = 0


class _Bag:
    """A bag, which is open while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: Any = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open it for the block. Raises `RequestError`."""
        try:
            from rosbags.highlevel import AnyReader
            from rosbags.typesys import Stores, get_typestore
        except ImportError:
            remedy = "install it: pip install 'edge-perception[ros]'"
            raise RequestError(str(self._path), "needs rosbags, which is not installed", remedy) from None
        try:
            reader = AnyReader([self._path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
            reader.open()
        except Exception as error:  # rosbags, SQLite, YAML and decompressors each have their own
            what = f"cannot be opened as a bag ({_first_line(error)})"
            remedy = "check that it is whole: one that was cut off has no index"
            raise RequestError(str(self._path), what, remedy) from None
        self._reader = reader
        try:
            yield
        finally:
            self._reader = None
            with suppress(Exception):
                reader.close()

    def _messages(self, topic: str) -> Iterator[Any]:
        connections = [connection for connection in self._reader.connections if connection.topic == topic]
        return iter(self._reader.messages(connections=connections))

    def topics(self) -> tuple[list[_Topic], Calibration, list[str]]:
        """Every sensor with its stamps, the cameras' calibration, and the topics that are not read."""
        by_topic: dict[str, list[Any]] = {}
        for connection in self._reader.connections:
            by_topic.setdefault(connection.topic, []).append(connection)
        topics: list[_Topic] = []
        unread: list[str] = []
        cameras: list[str] = []
        taken: list[str] = []
        for name, connections in sorted(by_topic.items()):
            kind = connections[0].msgtype
            if kind in _READERS:
                sensor = distinct_name(safe_name(name.strip("/").replace("/", "_")), taken)
                taken.append(sensor)
                topics.append(_Topic(sensor, _READERS[kind][0], name, _READERS[kind][1]))
            elif kind == "sensor_msgs/msg/CameraInfo":
                cameras.append(name)
            else:
                unread.append(f"{name} ({kind})")
        for topic in topics:
            self._stamp(topic)
        found = [self._camera(name, taken) for name in cameras]
        used = [topic for topic in topics if topic.stamps_ns]
        return used, Calibration(tuple(camera for camera in found if camera is not None)), unread

    def _stamp(self, topic: _Topic) -> None:
        try:
            for connection, logged_ns, raw in self._messages(topic.topic):
                stamp_ns = 0
                with suppress(Exception):  # a message that cannot be parsed keeps its place, and is a Fault later
                    message: Any = self._reader.deserialize(raw, connection.msgtype)
                    header = message.header
                    stamp_ns = header.stamp.sec * _NS_PER_S + header.stamp.nanosec
                topic.stamps_ns.append(stamp_ns or logged_ns)
                topic.logged_ns.append(logged_ns)
        except Exception as error:  # as on opening
            if not topic.stamps_ns:
                what = f"cannot be read ({_first_line(error)})"
                raise RequestError(str(self._path), what, "check that it is whole") from None

    def _camera(self, name: str, sensors: list[str]) -> CameraCalibration | None:
        """What a CameraInfo says of the camera whose pictures lie beside it."""
        place = safe_name("_".join(name.strip("/").split("/")[:-1]))
        sensor = next((sensor for sensor in sensors if sensor.startswith(place)), place)
        try:
            connection, _, raw = next(self._messages(name))
            info: Any = self._reader.deserialize(raw, connection.msgtype)
            projection = np.array(info.P if hasattr(info, "P") else info.p, np.float64).reshape(3, 4)
            distortion = tuple(float(value) for value in (info.D if hasattr(info, "D") else info.d))
        except Exception:  # nothing is calibrated by a message that cannot be read
            return None
        if not np.isfinite(projection).all() or not projection.any():
            return None
        model = info.distortion_model if any(distortion) else ""
        return CameraCalibration(
            sensor, projection, info.width, info.height, distortion if any(distortion) else (), model
        )

    def read(self, topic: _Topic, number: int) -> Picture | Table:
        """Give a message's content. In the order of a topic each costs one step. Raises `UnreadableFileError`."""
        try:
            if topic.ahead is None or number < topic.next:
                topic.ahead, topic.next = self._messages(topic.topic), 0
            while True:
                connection, _, raw = next(topic.ahead)
                topic.next += 1
                if topic.next > number:
                    break
            return topic.to_content(self._reader.deserialize(raw, connection.msgtype))
        except UnreadableFileError:
            raise
        except StopIteration:
            raise UnreadableFileError(f"message {number}: is not there any more") from None
        except Exception as error:  # as on opening: one damaged message, the rest goes on
            topic.ahead = None
            raise UnreadableFileError(f"message {number}: cannot be read ({_first_line(error)})") from None


def _silences(logged_ns: list[int]) -> list[str]:
    """When no sensor at all says anything, by the bag's clock."""
    times = sorted(logged_ns)
    return [
        f"by bag time {(later - earlier) / 1e9:.3f} s pass without any sensor, "
        f"{(earlier - times[0]) / 1e9:.3f} s after the first message"
        for earlier, later in pairwise(times)
        if later - earlier > _NS_PER_S
    ][:_MOST_SILENCES]


def _image(message: Any) -> Picture:
    if message.encoding not in _CHANNELS:
        raise UnreadableFileError(f"an image is encoded as {message.encoding[:20]!r}, which is not read")
    channels, conversion = _CHANNELS[message.encoding]
    width, height, step = message.width, message.height, message.step
    data = np.asarray(message.data, np.uint8)
    if not (width and height) or step < width * channels or len(data) < step * height:
        raise UnreadableFileError("an image is smaller than it says")
    rows = data[: step * height].reshape(height, step)[:, : width * channels]
    image = np.ascontiguousarray(rows).reshape(height, width, channels)
    return Picture(image if conversion is None else np.asarray(cv2.cvtColor(image, conversion), np.uint8))


def _compressed_image(message: Any) -> Picture:
    data = np.asarray(message.data, np.uint8).tobytes()
    return Picture(decode_image(data, "the image"), CodedImage(image_format(data), data))


def _cloud(message: Any) -> Table:
    """Points of a PointCloud2, those fields of it that float32 holds."""
    data, step = np.asarray(message.data, np.uint8), message.point_step
    count = message.width * message.height
    order = ">" if message.is_bigendian else "<"
    known = [field for field in message.fields if field.datatype in _NUMBERS]
    fields = [(one.name, one.offset, np.dtype(order + _NUMBERS[one.datatype])) for one in known]
    if not fields or not 0 < step <= _WIDEST_POINT or len(data) < count * step:
        raise UnreadableFileError(f"a cloud is smaller than it says: {len(data)} bytes for {count} points of {step}")
    if any(offset + number.itemsize > step for _, offset, number in fields):
        raise UnreadableFileError("a field of a cloud lies outside of its points")
    rows = data[: count * step].reshape(count, step)
    table = np.empty((count, len(fields)), np.float32)
    for place, (_, offset, number) in enumerate(fields):
        column = np.ascontiguousarray(rows[:, offset : offset + number.itemsize]).view(number)
        table[:, place] = as_float32(column[:, 0])
    return Table(table, tuple(name for name, _, _ in fields))


def _laser(message: Any) -> Table:
    """A planar scan's returns as points; where nothing came back there is none."""
    ranges = np.asarray(message.ranges, np.float32)
    angles = message.angle_min + np.arange(len(ranges)) * message.angle_increment
    is_return = np.isfinite(ranges) & (ranges >= message.range_min) & (ranges <= message.range_max)
    points = [ranges * np.cos(angles), ranges * np.sin(angles), np.zeros(len(ranges))]
    return Table(as_float32(np.stack(points, axis=1)[is_return]), ("x", "y", "z"))


def _fix(message: Any) -> Table:
    values: NDArray[np.float64] = np.array([message.latitude, message.longitude, message.altitude], np.float64)
    return Table(values, ("latitude", "longitude", "altitude"))


def _imu(message: Any) -> Table:
    turn, rate, push = message.orientation, message.angular_velocity, message.linear_acceleration
    values = [turn.x, turn.y, turn.z, turn.w, rate.x, rate.y, rate.z, push.x, push.y, push.z]
    names = ("orientation_x", "orientation_y", "orientation_z", "orientation_w", "wx", "wy", "wz", "ax", "ay", "az")
    return Table(np.array(values, np.float64), names)


def _odometry(message: Any) -> Table:
    place, turn, speed = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist.linear
    values = [place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w, speed.x, speed.y, speed.z]
    names = ("x", "y", "z", "orientation_x", "orientation_y", "orientation_z", "orientation_w", "vx", "vy", "vz")
    return Table(np.array(values, np.float64), names)


_READERS: dict[str, tuple[Kind, Callable[[Any], Picture | Table]]] = {
    "sensor_msgs/msg/Image": ("camera", _image),
    "sensor_msgs/msg/CompressedImage": ("camera", _compressed_image),
    "sensor_msgs/msg/PointCloud2": ("lidar", _cloud),
    "sensor_msgs/msg/LaserScan": ("lidar", _laser),
    "sensor_msgs/msg/NavSatFix": ("motion", _fix),
    "sensor_msgs/msg/Imu": ("motion", _imu),
    "nav_msgs/msg/Odometry": ("motion", _odometry),
}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200] or type(error).__name__
