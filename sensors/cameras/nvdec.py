"""Live video decoded by an NVIDIA GPU's NVDEC, where there is one and it was seen to decode as the CPU does.

By FFmpeg, which PyAV's wheel has with it: no other package, the same packets, stamps and faults. Recorded drives are
decoded on the CPU always, so that a replay sees the same pixels everywhere. No GPU was at hand when this was written;
that is why it proves itself on every machine first, and gives way to the CPU where it fails.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from numpy.typing import NDArray

CODECS = {"h264": "libx264", "hevc": "libx265"}  # that are tried, and what codes a clip to try them on
SWITCH = "EDGE_PERCEPTION_DECODER"  # in the environment; `cpu` keeps NVDEC out

_LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1")  # the driver's; a Jetson Orin has no libnvcuvid
_CLIP_SIZE, _CLIP_PICTURES = (320, 192), 12
_PACKETS_WITHOUT_A_PICTURE = 60

Accelerate = Callable[[], Any]


def decoder_of(stream: Any, accelerate: Accelerate = lambda: HWAccel("cuda")) -> Any:
    """Something with `name` and `decode` for a stream's packets: NVDEC where it is proven, else the stream's own."""
    context = stream.codec_context
    if not is_proven(context.name):
        return context
    try:
        return NvdecDecoder(context, _context(context.name, context.extradata, accelerate()))
    except (av.FFmpegError, ValueError, NotImplementedError):  # no memory left on the GPU, say
        return context


class NvdecDecoder:
    """A GPU's decoder that gives way to the CPU's for good where it gives no picture for 60 packets after a key frame.

    For one thread. Raises on `decode` as PyAV's contexts do.
    """

    def __init__(self, on_cpu: Any, on_gpu: Any) -> None:
        self.name = on_cpu.name
        self._on_cpu = on_cpu
        self._on_gpu = on_gpu
        self._has_begun = False  # before the first key frame there is nothing to see
        self._without_a_picture = 0

    def decode(self, coded: Any) -> list[Any]:
        """Give the pictures that this packet leads to."""
        if self._on_gpu is None:
            pictures: list[Any] = self._on_cpu.decode(coded)
            return pictures
        self._has_begun = self._has_begun or coded.is_keyframe
        self._without_a_picture += self._has_begun
        if self._without_a_picture > _PACKETS_WITHOUT_A_PICTURE:
            self._on_gpu = None
            _distrusted.add(self.name)
            raise ValueError(f"NVDEC gave no picture for {_PACKETS_WITHOUT_A_PICTURE} packets: decoded on the CPU now")
        pictures = self._on_gpu.decode(coded)
        if pictures:
            self._without_a_picture = 0
        return pictures


_distrusted: set[str] = set()  # codecs that NVDEC was proven for and failed at


def is_proven(codec: str) -> bool:
    """Whether NVDEC may decode this codec here. The first time it is tried, which takes a fraction of a second."""
    if codec not in CODECS or codec in _distrusted or os.environ.get(SWITCH, "").lower() == "cpu":
        return False
    return _has_libraries() and _sees_the_same(codec)


@functools.cache
def _has_libraries() -> bool:
    try:
        for name in _LIBRARIES:
            ctypes.CDLL(name)
    except OSError:
        return False
    return True


@functools.cache
def _sees_the_same(codec: str) -> bool:
    return sees_the_same(codec, lambda: HWAccel("cuda", allow_software_fallback=False))


def sees_the_same(codec: str, accelerate: Accelerate) -> bool:
    """Decode a short clip twice, and compare every picture. False also where one of both fails."""
    try:
        packets, header = _clip(CODECS[codec])
        on_cpu, on_gpu = (
            _decoded(_context(codec, header, accelerator), packets) for accelerator in (None, accelerate())
        )
    except (av.FFmpegError, ValueError, NotImplementedError, OSError):
        return False
    return len(on_cpu) == len(on_gpu) == _CLIP_PICTURES and all(
        np.abs(one.astype(int) - other).max() <= 1 for one, other in zip(on_cpu, on_gpu, strict=True)
    )


def _context(codec: str, header: bytes | None, accelerator: Any) -> Any:
    context = av.CodecContext.create(codec, "r", hwaccel=accelerator)
    if header:
        context.extradata = header
    context.thread_count, context.thread_type = 1, "SLICE"
    return context


def _clip(encoder: str) -> tuple[list[bytes], bytes | None]:
    """A bright square that moves over grain, as packets and their header."""
    width, height = _CLIP_SIZE
    context: Any = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none"}
    grain = np.random.default_rng(0).integers(40, 90, (height, width, 3), np.uint8)
    packets: list[bytes] = []
    for number in range(_CLIP_PICTURES):
        image = grain.copy()
        image[40:100, 12 * number : 12 * number + 60] = (40, 200, 250)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts = number
        packets += [bytes(packet) for packet in context.encode(frame.reformat(format="yuv420p"))]
    packets += [bytes(packet) for packet in context.encode(None)]
    return packets, context.extradata


def _decoded(context: Any, packets: list[bytes]) -> list[NDArray[np.uint8]]:
    pictures: list[Any] = []
    for number, content in enumerate(packets):
        packet = av.Packet(content)
        packet.pts = packet.dts = number
        pictures += context.decode(packet)
    pictures += context.decode(None)
    return [picture.to_ndarray(format="yuv420p") for picture in pictures]
