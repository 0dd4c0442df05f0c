"""Messages of one sensor as its items, numbered from 0. What cannot be made of a message is a Fault."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.drives.decoding import Outcome, item_of
from sensors.drives.image_file import UnreadableFileError, decode_image
from sensors.drives.mcap import foxglove
from sensors.drives.mcap.channels import ItemChannel
from sensors.drives.mcap.chunk import DamagedError
from sensors.drives.mcap.coded_video import DECODERS, MOST_BEFORE_A_KEY_FRAME, VideoChannel, is_key_frame
from sensors.drives.mcap.reading import McapFile
from sensors.drives.mcap.stamps import is_loss
from sensors.drives.upright import UprightBgr
from sensors.frame import CodedImage, Fault, Frame, Item, PointCloud, RadarScan, Reading

_RAW_IMAGES = {"bgr8": None, "rgb8": cv2.COLOR_RGB2BGR, "mono8": cv2.COLOR_GRAY2BGR, "8UC1": cv2.COLOR_GRAY2BGR}


class SensorItems:
    """One sensor while its messages are read, in the order of their stamps."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._given = 0  # items so far: the next one's sequence
        self._decoder: VideoChannel | None = None
        self._upright = UprightBgr(None)
        self._pushed = 0  # messages of coded video
        self._stamps_ns: dict[int, int] = {}  # of those whose picture has not come yet
        self._shown_from = 0  # the first whose picture lies in the span

    def of_message(
        self, file: McapFile, channel: ItemChannel, stamp_ns: int, entry: tuple[int, int, int, int]
    ) -> Iterator[Item]:
        """What one message gives: an item or a Fault; of coded video what the decoder now has."""
        arrival_ns = time.monotonic_ns()
        try:
            data = file.message(entry).data
            if channel.part == "video":
                yield from self._coded(channel, stamp_ns, data)
                return
            item = _item(channel, self._name, self._given, stamp_ns, arrival_ns, data)
        except (DamagedError, foxglove.UnreadableMessageError, UnreadableFileError) as reason:
            item = Fault(self._name, self._given, stamp_ns, arrival_ns, str(reason))
        self._given += 1
        yield item

    def lost(self, stamp_ns: int, reason: str) -> Fault:
        """A Fault in the place of messages that nobody can find."""
        fault = Fault(self._name, self._given, stamp_ns, time.monotonic_ns(), reason)
        self._given += 1
        return fault

    def warm_up(self, file: McapFile, channel: ItemChannel, before: NDArray[Any]) -> None:
        """Decode what the first pictures of the span need of those before it, back to a key frame.

        `before`: the channel's messages before the span, with their stamps (`stamps.STAMPED`).
        """
        needed: list[tuple[int, memoryview]] = []
        for stamp_ns, *entry in reversed(before[-MOST_BEFORE_A_KEY_FRAME:].tolist()):
            if is_loss(entry[2]):
                break
            try:
                data = file.message(tuple(entry)).data
                needed.append((stamp_ns, data))
                message = foxglove.parsed(foxglove.MESSAGES["foxglove.CompressedVideo"], data)
            except (DamagedError, foxglove.UnreadableMessageError):
                break
            if is_key_frame(message.format, message.data):
                break
        self._shown_from = len(needed)
        for stamp_ns, data in reversed(needed):
            try:
                for _ in self._coded(channel, stamp_ns, data):
                    pass
            except foxglove.UnreadableMessageError:
                continue

    def finish(self) -> Iterator[Item]:
        """What the decoder of coded video still holds."""
        if self._decoder is not None:
            yield from self._pictures(self._decoder.finish())

    def _coded(self, channel: ItemChannel, stamp_ns: int, data: memoryview) -> Iterator[Item]:
        """Decode one message of coded video. Raises `UnreadableMessageError`."""
        assert channel.message is not None
        message = foxglove.parsed(channel.message, data)
        if message.format not in DECODERS:
            raise foxglove.UnreadableMessageError(f"video is coded as {message.format[:20]!r}, which is not read")
        if not message.data:
            raise foxglove.UnreadableMessageError("a message of coded video is empty")
        if self._decoder is None:
            self._decoder = VideoChannel(message.format)
        number = self._pushed
        self._pushed += 1
        self._stamps_ns[number] = stamp_ns
        yield from self._pictures(self._decoder.push(number, message.data))

    def _pictures(self, outcomes: Iterator[Outcome]) -> Iterator[Item]:
        for outcome in outcomes:
            stamp_ns = self._stamps_ns.pop(outcome.ticks, None)
            if stamp_ns is None or outcome.ticks < self._shown_from:
                continue  # decoded only because a later one needs it
            yield item_of(outcome, self._upright, self._name, self._given, stamp_ns)
            self._given += 1


def _item(channel: ItemChannel, name: str, sequence: int, stamp_ns: int, arrival_ns: int, data: memoryview) -> Item:
    """One message as an item. Raises `UnreadableMessageError` or `UnreadableFileError`."""
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
