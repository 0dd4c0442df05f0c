"""One channel of coded video, message by message: pictures out of packets that need those before them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sensors.drives.decoding import Outcome, decoded, loss, new_packet, settled, still_held
from sensors.drives.packets import WaitingPackets

DECODERS = {"h264": "h264", "h265": "hevc", "vp9": "vp9", "av1": "libdav1d"}
# Of H.264 in Annex B form: how many messages before a span are looked at for a picture that needs no other.
MOST_BEFORE_A_KEY_FRAME = 600
_IDR, _SPS = 5, 7


class VideoChannel:
    """A decoder and the packets that wait for their picture; ticks are the messages' numbers in the channel."""

    def __init__(self, codec: str) -> None:
        self._decoder: Any = av.CodecContext.create(DECODERS[codec], "r")
        self._decoder.thread_count = 1
        self._decoder.thread_type = "SLICE"
        # Foxglove's video has no picture that needs a later one, so none is held back.
        self._decoder.flags |= av.codec.context.Flags.low_delay
        self._waiting = WaitingPackets(may_hide=False)

    def push(self, number: int, data: bytes) -> Iterator[Outcome]:
        """Decode one message; give what became of it, and of earlier ones."""
        coded = av.Packet(data)
        coded.pts = coded.dts = number
        coded.time_base = Fraction(1, 1)
        packet = new_packet(number, coded, is_timed=True)
        self._waiting.add(packet)
        for picture in decoded(self._decoder, coded, packet):
            yield from settled(self._waiting, picture, packet.arrival_ns, is_timed=True)
        if packet.reason:  # refused: nothing will come for it
            for lost in self._waiting.take_lost(before_ticks=number + 1):
                yield loss(lost)

    def finish(self) -> Iterator[Outcome]:
        """Give what the decoder still holds."""
        for picture in still_held(self._decoder):
            yield from settled(self._waiting, picture, time.monotonic_ns(), is_timed=True)
        for lost in self._waiting.take_lost():
            yield loss(lost)


def is_key_frame(codec: str, data: bytes) -> bool:
    """Whether decoding can begin at a message. Of other codecs than H.264 every message is taken for one."""
    if codec != "h264":
        return True
    units = _nal_units(data)
    return _IDR in units or _SPS in units


def _nal_units(data: bytes) -> set[int]:
    """The kinds of the units of an H.264 stream in Annex B form (ITU-T H.264, 7.3.1 and annex B)."""
    kinds, place = set(), data.find(b"\0\0\1")
    while 0 <= place < len(data) - 3:
        kinds.add(data[place + 3] & 31)
        place = data.find(b"\0\0\1", place + 3)
    return kinds


class VideoEncoder:
    """Codes one camera's frames as H.264 for Foxglove: Annex B, no B-frames, a key frame a second with its headers."""

    def __init__(self, width: int, height: int, rate_hz: float | None, crf: int = 23) -> None:
        rate = Fraction(rate_hz or 30.0).limit_denominator(1000)
        self._encoder: Any = av.CodecContext.create("libx264", "w")
        # 4:2:0 has pixels by twos: an odd line or column at the end is left out.
        self.width, self.height = width & ~1, height & ~1
        self._encoder.width, self._encoder.height = self.width, self.height
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.framerate = rate
        self._encoder.time_base = Fraction(1, 1000)
        self._encoder.gop_size = max(1, round(rate))
        self._encoder.thread_count = 1
        self._encoder.options = {"preset": "veryfast", "tune": "zerolatency", "crf": str(crf), "bf": "0"}
        self._count = 0

    def encode(self, image: NDArray[np.uint8]) -> bytes:
        """Code one image (H, W, 3) BGR into one message's data."""
        cut = np.ascontiguousarray(image[: self.height, : self.width])
        frame = av.VideoFrame.from_ndarray(cut, format="bgr24")
        frame.pts = self._count
        self._count += 1
        return b"".join(bytes(packet) for packet in self._encoder.encode(frame))
