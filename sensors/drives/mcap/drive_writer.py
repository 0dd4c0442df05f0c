"""A drive written as MCAP: sensors' items by Foxglove's schemas, so that it opens in Foxglove as it is.

The time of a message is its item's stamp, on the drive's own clock; `log_time` is what players go by. What a sensor is
called, of what kind it is and which fields it has stands in its channels' metadata.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
from google.protobuf.message import Message

from sensors.calibration import Calibration
from sensors.drives.mcap import foxglove
from sensors.drives.mcap.coded_video import VideoEncoder
from sensors.drives.mcap.writing import McapWriter
from sensors.errors import RequestError
from sensors.frame import Frame, Item, PointCloud, RadarScan, Reading
from sensors.source import SensorInfo
from sensors.yuv import bgr

ABOUT = "edge-perception.drive"  # the metadata that says that this file was written here, and how
VERSION = "1"
JPEG_QUALITY = 95  # of images that come without a file of their own: 44 dB on a highway clip
Images: TypeAlias = Literal["keep", "jpeg", "png", "h264"]
IMAGES: tuple[Images, ...] = ("keep", "jpeg", "png", "h264")
_KEPT_FORMATS = {"jpeg", "png", "webp"}  # that Foxglove shows
_TRANSFORMS = "/tf"
_ITEM_PARTS = {"image", "video", "points", "targets", "reading"}


@dataclass(slots=True)
class _Sensor:
    """What is known of one sensor, and the channels that it has so far."""

    info: SensorInfo
    channels: dict[str, int] = field(default_factory=dict)
    encoder: VideoEncoder | None = None


class DriveWriter:
    """Writes one new drive, for one thread. `images`: kept as they came where that can be, or coded so.

    Raises OSError on opening; later `NotWrittenError`, for the disk, and `RequestError`, for what cannot be written.
    """

    def __init__(
        self,
        path: Path,
        sensors: Sequence[SensorInfo],
        *,
        images: Images = "keep",
        calibration: Calibration | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self._images = images
        self._sensors = {info.name: _Sensor(info) for info in sensors}
        self._schemas: dict[tuple[str, bytes], int] = {}
        self._calibration = calibration or Calibration()
        self._is_calibrated = False
        self.container = McapWriter(path)
        facts = [
            {"name": i.name, "kind": i.kind, "rate_hz": i.rate_hz, "width": i.width, "height": i.height}
            for i in sensors
        ]
        values = {"version": VERSION, "stamps": "log_time", "sensors": json.dumps(facts), **(about or {})}
        try:
            self.container.add_metadata(ABOUT, values)
            # Every channel stands before the first message, so that none can be lost with a part of the file.
            for info in sensors:
                self._channel(info.name, "faults")
        except BaseException:
            self.container.abandon()
            path.unlink(missing_ok=True)
            raise

    def write(self, item: Item, *, publish_ns: int | None = None) -> None:
        """Add one item. `publish_ns`: when it arrived, on the wall clock; its stamp where that is nothing."""
        stamp_ns = item.stamp_ns
        if stamp_ns < 0:
            what = f"has a stamp below 0 ({stamp_ns} ns), which MCAP cannot hold"
            raise RequestError(item.sensor, what, f"shift its clock: --clock {item.sensor}=offset:SECONDS")
        self._write_calibration(stamp_ns)
        topic, data = self._message(item)
        channel = self._channel(item.sensor, topic, item)
        self.container.add(
            channel, stamp_ns, data, publish_time=stamp_ns if publish_ns is None else publish_ns, sequence=item.sequence
        )

    def write_message(
        self,
        sensor: str,
        part: str,
        message_type: type[Message],
        data: bytes,
        *,
        stamp_ns: int,
        publish_ns: int,
        sequence: int,
    ) -> None:
        """Add a message of a schema that is not ours to know, on the topic `/SENSOR/PART`."""
        of_sensor = self._sensors[sensor]
        if part not in of_sensor.channels:
            schema = self._schema(message_type.DESCRIPTOR.full_name, foxglove.schema_of(message_type))
            metadata = {"sensor": sensor, "part": part}
            topic = f"/{sensor}/{part}"
            of_sensor.channels[part] = self.container.add_channel(topic, "protobuf", schema, metadata, compress=True)
        channel = of_sensor.channels[part]
        self.container.add(channel, max(stamp_ns, 0), data, publish_time=publish_ns, sequence=sequence)

    def add_about(self, values: Mapping[str, str]) -> None:
        """Write down more of the drive; what a name said before is replaced."""
        self.container.add_metadata(ABOUT, values)

    def items_by_sensor(self, messages: Mapping[int, int]) -> Counter[str]:
        """Of counts by channel those that are items, Faults left out, by sensor."""
        items: Counter[str] = Counter()
        for name, sensor in self._sensors.items():
            for part in _ITEM_PARTS & sensor.channels.keys():
                items[name] += messages.get(sensor.channels[part], 0)
        return +items

    # --- messages -------------------------------------------------------------------------------------

    def _message(self, item: Item) -> tuple[str, bytes]:
        """The last part of an item's topic, and its message."""
        if isinstance(item, Frame):
            return self._image(item)
        if isinstance(item, PointCloud):
            return "points", foxglove.points_message(item.sensor, item.stamp_ns, item.points, item.fields)
        if isinstance(item, RadarScan):
            return "targets", foxglove.points_message(item.sensor, item.stamp_ns, item.targets, item.fields)
        if isinstance(item, Reading):
            return "reading", foxglove.reading_message(item.stamp_ns, item.sensor, item.values, item.fields)
        return "faults", foxglove.log_message(item.sensor, item.stamp_ns, item.reason)

    def _image(self, frame: Frame) -> tuple[str, bytes]:
        coded = frame.coded
        if self._images == "h264":
            return "video", foxglove.video_message(frame.sensor, frame.stamp_ns, self._video(frame))
        if coded is not None and coded.format in _KEPT_FORMATS and self._images in ("keep", coded.format):
            return "image", foxglove.image_message(frame.sensor, frame.stamp_ns, coded.format, coded.data)
        # A lossless file in a form that Foxglove does not show stays lossless.
        image_format = "jpeg" if self._images == "jpeg" or (self._images == "keep" and coded is None) else "png"
        settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if image_format == "jpeg" else []
        _, data = cv2.imencode(f".{image_format}", bgr(frame), settings)
        return "image", foxglove.image_message(frame.sensor, frame.stamp_ns, image_format, data.tobytes())

    def _video(self, frame: Frame) -> bytes:
        of_sensor, image = self._sensors[frame.sensor], bgr(frame)
        size = (image.shape[1] & ~1, image.shape[0] & ~1)
        if of_sensor.encoder is None or (of_sensor.encoder.width, of_sensor.encoder.height) != size:
            of_sensor.encoder = VideoEncoder(image.shape[1], image.shape[0], of_sensor.info.rate_hz)
        return of_sensor.encoder.encode(image)

    # --- channels -------------------------------------------------------------------------------------

    def _channel(self, sensor: str, part: str, item: Item | None = None) -> int:
        of_sensor = self._sensors[sensor]
        found = of_sensor.channels.get(part)
        if found is not None:
            return found
        schemas = {
            "image": "foxglove.CompressedImage",
            "video": "foxglove.CompressedVideo",
            "points": "foxglove.PointCloud",
            "targets": "foxglove.PointCloud",
            "faults": "foxglove.Log",
        }
        metadata = {"sensor": sensor, "kind": of_sensor.info.kind, "part": part}
        if isinstance(item, Reading):
            metadata["fields"] = json.dumps(item.fields)
            name, definition = foxglove.reading_schema(item.fields)
            schema, encoding = self._schema(name, definition, "jsonschema"), "json"
        else:
            name = schemas[part]
            schema = self._schema(name, foxglove.schema_of(foxglove.MESSAGES[name]))
            encoding = "protobuf"
        is_coded = part in ("image", "video")
        channel = self.container.add_channel(f"/{sensor}/{part}", encoding, schema, metadata, compress=not is_coded)
        of_sensor.channels[part] = channel
        return channel

    def _schema(self, name: str, definition: bytes, encoding: str = "protobuf") -> int:
        found = self._schemas.get((name, definition))
        if found is None:
            found = self._schemas[name, definition] = self.container.add_schema(name, encoding, definition)
        return found

    def _write_calibration(self, stamp_ns: int) -> None:
        """Once, at the first stamp: a player that goes to any moment finds what came before it."""
        if self._is_calibrated:
            return
        self._is_calibrated = True
        for camera in self._calibration.cameras:
            data = foxglove.calibration_message(camera, stamp_ns)
            self._add_once(f"/{camera.sensor}/calibration", "foxglove.CameraCalibration", stamp_ns, data, camera.sensor)
        if self._calibration.transforms:
            data = foxglove.transforms_message(self._calibration.transforms, stamp_ns)
            self._add_once(_TRANSFORMS, "foxglove.FrameTransforms", stamp_ns, data)

    def _add_once(self, topic: str, name: str, stamp_ns: int, data: bytes, sensor: str = "") -> None:
        schema = self._schema(name, foxglove.schema_of(foxglove.MESSAGES[name]))
        metadata = {"sensor": sensor} if sensor else {}
        channel = self.container.add_channel(topic, "protobuf", schema, metadata, compress=True)
        self.container.add(channel, stamp_ns, data, publish_time=stamp_ns, sequence=0)


def about_of(metadata: Sequence[Any]) -> Mapping[str, str] | None:
    """What a file says of itself as a drive; None where it was written elsewhere. Later words replace earlier ones."""
    found: dict[str, str] = {}
    for record in metadata:
        if record.name == ABOUT:
            found.update(record.metadata)
    return found or None
