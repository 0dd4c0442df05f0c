"""An MCAP file with Foxglove's schemas as a source: every sensor's items by their stamps.

A drive written here has its stamps as the messages' times, so that its index finds any moment. Elsewhere the time of a
message is when it was logged; the stamp stands in the message, and is looked up in each. What a damaged chunk held is a
Fault each, with its stamp. A file without an end, cut off or still being written, is read as far as it goes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from sensors.calibration import Calibration
from sensors.drives.decoding import Outcome, item_of
from sensors.drives.image_file import UnreadableFileError, decode_image
from sensors.drives.mcap import foxglove
from sensors.drives.mcap.channels import ItemChannel, item_channels, sensor_of
from sensors.drives.mcap.chunk import DamagedError
from sensors.drives.mcap.coded_video import DECODERS, MOST_BEFORE_A_KEY_FRAME, VideoChannel, is_key_frame
from sensors.drives.mcap.drive_writer import about_of
from sensors.drives.mcap.index.entries import ENTRY
from sensors.drives.mcap.reading import McapFile
from sensors.drives.upright import UprightBgr
from sensors.errors import RequestError
from sensors.frame import CodedImage, Fault, Frame, Item, PointCloud, RadarScan, Reading
from sensors.source import SensorInfo, SourceInfo, Span
from sensors.survey import SensorSurvey, Survey

_NS_PER_S = 1_000_000_000
_RAW_IMAGES = {"bgr8": None, "rgb8": cv2.COLOR_RGB2BGR, "mono8": cv2.COLOR_GRAY2BGR, "8UC1": cv2.COLOR_GRAY2BGR}
# `ENTRY`, and when the sensor took it. A chunk that is lost as a whole is the number -2, -3, ... of its loss.
_STAMPED = np.dtype([("stamp", "<i8"), *ENTRY.descr])
_FIRST_LOSS = -2
_DEEPEST = 3  # of what a drive says of itself


@dataclass(slots=True)
class _Reader:
    """One sensor while it is read."""

    name: str
    given: int = 0  # items so far: the next one's sequence
    decoder: VideoChannel | None = None
    upright: UprightBgr = field(default_factory=lambda: UprightBgr(None))
    pushed: int = 0  # messages of coded video
    stamps_ns: dict[int, int] = field(default_factory=dict)  # of those whose picture has not come yet
    shown_from: int = 0  # the first whose picture lies in the span


class McapDrive:
    """Source of an MCAP drive. Sensors are called as they were recorded; with a `name`, `NAME-SENSOR`, or NAME if one.

    Raises `RequestError` where the file is no MCAP, or holds nothing that is read here.
    """

    def __init__(self, path: Path, name: str = "", span: Span | None = None) -> None:
        self._path = path
        self._closed = Event()
        try:
            file = McapFile(path)
        except OSError as error:
            raise RequestError(str(path), f"cannot be read: {error.strerror}", "check the file") from error
        with file:
            self._channels = item_channels(file)
            if not self._channels:
                raise _nothing_to_read(path, file)
            self._about = about_of(file.metadata)
            self._lost = file.lost_chunks
            recorded = list(dict.fromkeys(channel.sensor for channel in self._channels.values()))
            self._names = {sensor: _name(sensor, name, len(recorded)) for sensor in recorded}
            self._entries = _stamped(file, self._channels, is_stamped_by_log=self._about is not None)
            first_ns = int(self._entries["stamp"][0]) if len(self._entries) else 0
            self._start_ns = first_ns + (span.start_ns if span else 0)
            self._end_ns = None if span is None or span.end_ns is None else first_ns + span.end_ns
            self._selected = self._entries
            if span not in (None, Span()):
                stamps = self._entries["stamp"]
                last = len(stamps) if self._end_ns is None else int(np.searchsorted(stamps, self._end_ns))
                self._selected = self._entries[int(np.searchsorted(stamps, self._start_ns)) : last]
            calibration = _calibration(file)
            cut_off = "" if file.has_end else _cut_off(file)
            self._survey = Survey((), file.size, tuple(_notes(file, self._channels, self._about)), not file.has_end)
        infos = tuple(self._sensor_info(sensor) for sensor in recorded)
        self._info = SourceInfo(
            str(path), infos, live=False, calibration=calibration.renamed(self._names), cut_off=cut_off
        )

    @property
    def info(self) -> SourceInfo:
        """Counts and rates as the index tells them; sizes as they were written down."""
        return self._info

    def __enter__(self) -> McapDrive:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration at its next message. Any thread, any number of times."""
        self._closed.set()

    def __iter__(self) -> Iterator[Item]:
        if self._closed.is_set():
            return
        readers = {sensor: _Reader(name) for sensor, name in self._names.items()}
        with McapFile(self._path) as file:
            self._warm_up(file, readers)
            for stamp_ns, *entry in self._selected.tolist():
                if self._closed.is_set():
                    return
                channel = self._channels[entry[3]]
                yield from self._items(file, channel, readers[channel.sensor], stamp_ns, tuple(entry))
            for reader in readers.values():
                if reader.decoder is not None and not self._closed.is_set():
                    yield from self._pictures(reader, reader.decoder.finish())

    def survey(self) -> Survey:
        """Every sensor's stamps, from the index alone."""
        sensors = []
        for info, recorded in zip(self._info.sensors, self._names, strict=True):
            of_sensor = self._of(recorded, self._entries)
            is_item = np.isin(of_sensor["channel"], [c.id for c in self._channels.values() if c.part != "faults"])
            found = of_sensor[is_item]
            faults = len(of_sensor) - len(found)
            logged: tuple[tuple[str, NDArray[np.int64]], ...] = ()
            if not np.array_equal(found["stamp"], found["log_time"]):
                logged = (("log time", found["log_time"].astype(np.int64)),)
            sensors.append(
                SensorSurvey(
                    info.name,
                    info.kind,
                    found["stamp"].astype(np.int64),
                    np.arange(len(found)),
                    other_clocks_ns=logged,
                    notes=(f"{faults} faults were recorded",) if faults else (),
                )
            )
        facts = self._survey
        return Survey(tuple(sensors), facts.size_bytes, facts.notes, facts.is_damaged or bool(self._lost))

    # --- items ----------------------------------------------------------------------------------------

    def _items(
        self, file: McapFile, channel: ItemChannel, reader: _Reader, stamp_ns: int, entry: tuple[int, int, int, int]
    ) -> Iterator[Item]:
        arrival_ns = time.monotonic_ns()
        try:
            if entry[2] <= _FIRST_LOSS:
                raise DamagedError(self._lost[_FIRST_LOSS - entry[2]].reason)
            data = file.message(entry).data
            if channel.part == "video":
                yield from self._coded(channel, reader, stamp_ns, data)
                return
            item = _item(channel, reader, stamp_ns, arrival_ns, data)
        except (DamagedError, foxglove.UnreadableMessageError, UnreadableFileError) as reason:
            item = Fault(reader.name, reader.given, stamp_ns, arrival_ns, str(reason))
        reader.given += 1
        yield item

    def _coded(self, channel: ItemChannel, reader: _Reader, stamp_ns: int, data: memoryview) -> Iterator[Item]:
        """Decode one message of coded video. Raises `UnreadableMessageError`."""
        assert channel.message is not None
        message = foxglove.parsed(channel.message, data)
        if message.format not in DECODERS:
            raise foxglove.UnreadableMessageError(f"video is coded as {message.format[:20]!r}, which is not read")
        if not message.data:
            raise foxglove.UnreadableMessageError("a message of coded video is empty")
        if reader.decoder is None:
            reader.decoder = VideoChannel(message.format)
        number = reader.pushed
        reader.pushed += 1
        reader.stamps_ns[number] = stamp_ns
        yield from self._pictures(reader, reader.decoder.push(number, message.data))

    def _pictures(self, reader: _Reader, outcomes: Iterator[Outcome]) -> Iterator[Item]:
        for outcome in outcomes:
            stamp_ns = reader.stamps_ns.pop(outcome.ticks, None)
            if stamp_ns is None or outcome.ticks < reader.shown_from:
                continue  # decoded only because a later one needs it
            yield item_of(outcome, reader.upright, reader.name, reader.given, stamp_ns)
            reader.given += 1

    def _warm_up(self, file: McapFile, readers: dict[str, _Reader]) -> None:
        """Decode what the first pictures of the span need of those before it, back to a key frame."""
        for channel in self._channels.values():
            if channel.part != "video":
                continue
            of_channel = self._entries[self._entries["channel"] == channel.id]
            first = int(np.searchsorted(of_channel["stamp"], self._start_ns))
            needed: list[tuple[int, memoryview]] = []
            for stamp_ns, *entry in reversed(of_channel[max(0, first - MOST_BEFORE_A_KEY_FRAME) : first].tolist()):
                try:
                    data = file.message(tuple(entry)).data
                    needed.append((stamp_ns, data))
                    message = foxglove.parsed(foxglove.MESSAGES["foxglove.CompressedVideo"], data)
                except (DamagedError, foxglove.UnreadableMessageError):
                    break
                if is_key_frame(message.format, message.data):
                    break
            reader = readers[channel.sensor]
            reader.shown_from = len(needed)
            for stamp_ns, data in reversed(needed):
                try:
                    for _ in self._coded(channel, reader, stamp_ns, data):
                        pass
                except foxglove.UnreadableMessageError:
                    continue

    # --- what is known beforehand -----------------------------------------------------------------------

    def _of(self, sensor: str, entries: NDArray[Any]) -> NDArray[Any]:
        numbers = [channel.id for channel in self._channels.values() if channel.sensor == sensor]
        found: NDArray[Any] = entries[np.isin(entries["channel"], numbers)]
        return found

    def _sensor_info(self, sensor: str) -> SensorInfo:
        kinds = [channel.kind for channel in self._channels.values() if channel.sensor == sensor]
        steps = np.diff(self._of(sensor, self._entries)["stamp"])
        period_ns = float(np.median(steps)) if len(steps) else 0.0
        width, height = _size(self._about, sensor)
        return SensorInfo(
            self._names[sensor],
            kinds[0],
            rate_hz=_NS_PER_S / period_ns if period_ns > 0 else None,
            count=len(self._of(sensor, self._selected)),
            width=width,
            height=height,
        )


def _item(channel: ItemChannel, reader: _Reader, stamp_ns: int, arrival_ns: int, data: memoryview) -> Item:
    """One message as an item. Raises `UnreadableMessageError` or `UnreadableFileError`."""
    name, sequence = reader.name, reader.given
    if channel.message is None:
        values = foxglove.reading_of(bytes(data), channel.fields)
        return Reading(name, sequence, stamp_ns, arrival_ns, time.monotonic_ns(), values, channel.fields)
    message = foxglove.parsed(channel.message, data)
    if channel.part == "faults":
        return Fault(name, sequence, stamp_ns, arrival_ns, message.message or "a fault without a reason")
    if channel.part == "image":
        coded = CodedImage(message.format, message.data)  # asked for once: each time it is a copy
        image = decode_image(coded.data, "the image")
        return Frame(name, sequence, stamp_ns, arrival_ns, time.monotonic_ns(), image, coded=coded)
    if channel.part == "raw":
        return Frame(name, sequence, stamp_ns, arrival_ns, time.monotonic_ns(), _raw_image(message))
    table, fields = foxglove.points_of(message)
    kind = RadarScan if channel.part == "targets" else PointCloud
    return kind(name, sequence, stamp_ns, arrival_ns, time.monotonic_ns(), table, fields)


def _raw_image(message: Any) -> NDArray[np.uint8]:
    if message.encoding not in _RAW_IMAGES:
        raise foxglove.UnreadableMessageError(f"an image is encoded as {message.encoding[:20]!r}, which is not read")
    conversion = _RAW_IMAGES[message.encoding]
    channels = 1 if conversion == cv2.COLOR_GRAY2BGR else 3
    width, height, step = message.width, message.height, message.step or message.width * channels
    if not (width and height) or step < width * channels or len(message.data) < step * height:
        raise foxglove.UnreadableMessageError("an image is smaller than it says")
    rows = np.frombuffer(message.data, np.uint8, step * height).reshape(height, step)
    image = np.ascontiguousarray(rows[:, : width * channels]).reshape(height, width, channels)
    return image if conversion is None else np.asarray(cv2.cvtColor(image, conversion), np.uint8)


def _stamped(file: McapFile, channels: dict[int, ItemChannel], *, is_stamped_by_log: bool) -> NDArray[Any]:
    """The entries of all item channels with their stamps, and an entry a lost chunk and channel; by stamp."""
    entries = file.within(channels.keys())
    lost = [
        (loss.first_ns, loss.first_ns, 0, _FIRST_LOSS - number, channel)
        for number, loss in enumerate(file.lost_chunks)
        for channel in _channels_of(loss.channels, channels)
    ]
    found = np.empty(len(entries) + len(lost), _STAMPED)
    for name in ENTRY.names or ():
        found[name][: len(entries)] = entries[name]
    stamps = found["stamp"][: len(entries)]
    stamps[:] = entries["log_time"]
    if not is_stamped_by_log:
        stamps[:] = [_header_stamp(file, channels, entry) for entry in entries.tolist()]
    found[len(entries) :] = np.array(lost, _STAMPED)
    in_order: NDArray[Any] = found[np.argsort(found["stamp"], kind="stable")]
    return in_order


def _channels_of(named: Sequence[int], channels: dict[int, ItemChannel]) -> list[int]:
    """Of those that a lost chunk is said to hold the item channels; one a sensor where nothing is said."""
    if named:
        return [channel for channel in named if channel in channels]
    return list({channel.sensor: channel.id for channel in channels.values()}.values())


def _header_stamp(file: McapFile, channels: dict[int, ItemChannel], entry: tuple[int, int, int, int]) -> int:
    """When the sensor took a message, as it says itself; when it was logged where it says nothing."""
    message_type = channels[entry[3]].message
    if message_type is None:
        return entry[0]
    number = message_type.DESCRIPTOR.fields_by_name["timestamp"].number
    try:
        data = file.message(entry, check=False).data
        # Written in front as a rule; then the rest of the message, which may be megabytes, need not be parsed.
        if len(data) > 2 and data[0] == number << 3 | 2 and data[1] < 128:
            stamp = Timestamp.FromString(bytes(data[2 : 2 + data[1]]))
        else:
            stamp = foxglove.parsed(message_type, data).timestamp
        stamp_ns = stamp.seconds * _NS_PER_S + stamp.nanos
    except (DamagedError, ValueError, foxglove.UnreadableMessageError):
        return entry[0]
    return stamp_ns if 0 < stamp_ns < 1 << 63 else entry[0]


def _calibration(file: McapFile) -> Calibration:
    """What the file tells of cameras and transforms: the first message of each channel."""
    cameras, transforms = {}, {}
    for channel in file.channels.values():
        schema = file.schemas.get(channel.schema_id)
        name = schema.name if schema is not None else ""
        if channel.message_encoding != "protobuf" or name not in (
            "foxglove.CameraCalibration",
            "foxglove.FrameTransforms",
        ):
            continue
        for entry in file.within([channel.id])[:1].tolist():
            try:
                message = foxglove.parsed(foxglove.MESSAGES[name], file.message(entry).data)
                if name == "foxglove.FrameTransforms":
                    transforms.update({(one.parent, one.child): one for one in foxglove.transforms_of(message)})
                    continue
                sensor = message.frame_id or sensor_of(channel)
                camera = foxglove.calibration_of(message, sensor)
            except (DamagedError, foxglove.UnreadableMessageError, ValueError):
                continue
            if camera is not None:
                cameras[sensor] = camera
    return Calibration(tuple(cameras.values()), tuple(transforms.values()))


def _name(sensor: str, prefix: str, sensors: int) -> str:
    if not prefix:
        return sensor
    return prefix if sensors == 1 else f"{prefix}-{sensor}"


def _size(about: Any, sensor: str) -> tuple[int | None, int | None]:
    try:
        for facts in json.loads((about or {}).get("sensors", "[]")):
            if facts["name"] == sensor:
                width, height = facts["width"], facts["height"]
                return (width, height) if isinstance(width, int) and isinstance(height, int) else (None, None)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None, None


def _notes(file: McapFile, channels: dict[int, ItemChannel], about: Any) -> Iterator[str]:
    """What is to be known of a file beyond its sensors."""
    if not file.has_end:
        yield _cut_off(file)
    for loss in file.lost_chunks:
        yield f"lost: {loss.reason}"
    for key, value in (about or {}).items():
        if key not in ("version", "stamps", "sensors", "part"):
            yield from _told(key.replace("_", " "), value)
    unread = sorted(
        channel.topic
        for channel in file.channels.values()
        if channel.id not in channels and not channel.metadata.get("sensor") and channel.topic != "/tf"
    )
    if unread:
        yield f"not read here: {', '.join(unread)}"


def _cut_off(file: McapFile) -> str:
    return (
        "it has no end: its writer was killed, or still writes. "
        f"{file.torn_bytes} bytes at the end are of a record that is not whole"
    )


def _told(key: str, value: str) -> Iterator[str]:
    """What a drive says of itself: text, or a list or a table as JSON."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = value
    yield from (f"{key}: {one}" for one in _flat(found))


def _flat(found: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        yield "..."
    elif isinstance(found, dict):
        yield from (f"{name}: {one}" for name, what in found.items() for one in _flat(what, depth + 1))
    elif isinstance(found, list):
        yield from (one for what in found for one in _flat(what, depth + 1))
    else:
        yield str(found)


def _nothing_to_read(path: Path, file: McapFile) -> RequestError:
    names = sorted({schema.name for schema in file.schemas.values()})
    if not names:
        what = "holds no channels" + ("" if file.has_end else ": it was cut off before its first")
        return RequestError(str(path), what, "record it again, or leave it out")
    return RequestError(
        str(path),
        f"holds no sensors in Foxglove's schemas, only {', '.join(names[:6])}",
        "convert it: bags of ROS 2 are read with their metadata.yaml beside them",
    )
