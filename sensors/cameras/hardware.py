"""Live video decoded by an NVIDIA decoder, where there is one and it was seen to decode as the CPU does.

Recorded drives are decoded on the CPU always, so that a replay sees the same pixels everywhere. No GPU and no Jetson
was at hand when this was written; that is why a decoder proves itself on every machine first, and gives way to the CPU
where it fails.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from sensors.cameras import nvdec, nvv4l2

SWITCH = "EDGE_PERCEPTION_DECODER"  # in the environment; `cpu` keeps hardware out

_ENCODERS = {"h264": "libx264", "hevc": "libx265"}  # what codes a clip to try each codec on
_CLIP_SIZE, _CLIP_PICTURES = (320, 192), 12
_NEARLY = 2  # of 255: a chip that converts between layouts may round otherwise
_PACKETS_WITHOUT_A_PICTURE = 60


class Decoder(Protocol):
    """What decodes one stream; for one thread. Raises as PyAV's contexts do, or ValueError."""

    def decode(self, coded: Any) -> list[Any]:
        """Give the pictures that a packet leads to, with its stamps; None: what is still held."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of hardware."""

    name: str
    is_there: Callable[[], bool]
    open: Callable[[Any], Decoder]  # a decoder for a stream of PyAV
    codecs: tuple[str, ...] = nvdec.CODECS


KINDS = (
    Kind("NVDEC", nvdec.is_there, nvdec.NvdecDecoder),
    Kind("nvv4l2decoder", nvv4l2.is_there, nvv4l2.Nvv4l2Decoder, nvv4l2.CODECS),
)
# PyAV says with NotImplementedError that its FFmpeg has no such hardware for a codec.
_FAILURES = (av.FFmpegError, ValueError, NotImplementedError, OSError)
_proving = threading.Lock()  # cameras that connect together wait for one proof
_distrusted: set[tuple[str, str]] = set()  # kind and codec that were proven and failed later


@contextmanager
def decoder_of(stream: Any) -> Iterator[Any]:
    """Give what decodes a stream's packets, with `name` and `decode`: proven hardware, else the stream's context."""
    context = stream.codec_context
    for kind in KINDS:
        if is_proven(kind, context.name):
            try:
                on_hardware = kind.open(stream)
            except _FAILURES:  # no memory left on the device, say
                continue
            try:
                yield GivesWay(kind, context, on_hardware)
            finally:
                on_hardware.close()
            return
    yield context


class GivesWay:
    """A decoder that leaves the rest to the CPU where it gives no picture for 60 packets after a key frame."""

    def __init__(self, kind: Kind, on_cpu: Any, on_hardware: Decoder) -> None:
        self.name = on_cpu.name
        self._kind = kind
        self._on_cpu = on_cpu
        self._on_hardware: Decoder | None = on_hardware
        self._has_begun = False  # before the first key frame there is nothing to see
        self._without_a_picture = 0

    def decode(self, coded: Any) -> list[Any]:
        """Give the pictures that this packet leads to."""
        if self._on_hardware is None:
            pictures: list[Any] = self._on_cpu.decode(coded)
            return pictures
        self._has_begun = self._has_begun or coded.is_keyframe
        self._without_a_picture += self._has_begun
        if self._without_a_picture > _PACKETS_WITHOUT_A_PICTURE:
            self._on_hardware = None
            _distrusted.add((self._kind.name, self.name))
            what = f"{self._kind.name} gave no picture for {_PACKETS_WITHOUT_A_PICTURE} packets"
            raise ValueError(f"{what}: decoded on the CPU now")
        pictures = self._on_hardware.decode(coded)
        if pictures:
            self._without_a_picture = 0
        return pictures


def proven() -> dict[str, list[str]]:
    """What hardware of this machine may decode which codecs, by its name."""
    return {kind.name: [codec for codec in kind.codecs if is_proven(kind, codec)] for kind in KINDS if kind.is_there()}


def is_proven(kind: Kind, codec: str) -> bool:
    """Whether this hardware may decode this codec here. The first time it is tried, a fraction of a second."""
    if codec not in kind.codecs or (kind.name, codec) in _distrusted or os.environ.get(SWITCH, "").lower() == "cpu":
        return False
    with _proving:
        return kind.is_there() and _sees_the_same(kind, codec)


@functools.cache
def _sees_the_same(kind: Kind, codec: str) -> bool:
    return sees_the_same(codec, kind.open)


def sees_the_same(codec: str, open_decoder: Callable[[Any], Decoder]) -> bool:
    """Decode a short clip twice, and compare every picture. False also where one of both fails."""
    try:
        clip = _clip(_ENCODERS[codec])
        on_cpu, on_hardware = (_decoded(clip, opened) for opened in (nvdec.CpuDecoder, open_decoder))
    except _FAILURES:
        return False
    return (
        on_cpu.keys() == on_hardware.keys()
        and len(on_cpu) == _CLIP_PICTURES
        and all(np.abs(picture.astype(int) - on_hardware[stamp]).max() <= _NEARLY for stamp, picture in on_cpu.items())
    )


def _clip(encoder: str) -> bytes:
    """A bright square that moves over grain, as a Matroska file."""
    width, height = _CLIP_SIZE
    grain = np.random.default_rng(0).integers(40, 90, (height, width, 3), np.uint8)
    file = BytesIO()
    with av.open(file, "w", format="matroska") as container:
        options = {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none"}
        stream: Any = container.add_stream(encoder, rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(_CLIP_PICTURES):
            image = grain.copy()
            image[40:100, 12 * number : 12 * number + 60] = (40, 200, 250)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _decoded(clip: bytes, open_decoder: Callable[[Any], Decoder]) -> dict[int, NDArray[np.uint8]]:
    """The clip's pictures by their stamps."""
    opened: Any = av.open(BytesIO(clip))
    with opened as container:
        stream = container.streams.video[0]
        decoder = open_decoder(stream)
        try:
            pictures = [one for packet in container.demux(stream) if packet.size for one in decoder.decode(packet)]
            pictures += decoder.decode(None)
            return {picture.pts: picture.to_ndarray(format="yuv420p") for picture in pictures}
        finally:
            decoder.close()
