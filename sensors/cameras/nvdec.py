"""NVDEC of an NVIDIA card, by way of FFmpeg: PyAV's wheel has it, so there is no other package, and packets, stamps and
faults are the same.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import av
from av.codec.hwaccel import HWAccel

CODECS = ("h264", "hevc")

_LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1")  # the driver's; a Jetson Orin has no libnvcuvid


@functools.cache
def is_there() -> bool:
    """Whether the driver and its decoder can be loaded."""
    try:
        for name in _LIBRARIES:
            ctypes.CDLL(name)
    except OSError:
        return False
    return True


class CpuDecoder:
    """FFmpeg's own decoder for a stream, apart from the stream's."""

    def __init__(self, stream: Any, accelerator: HWAccel | None = None) -> None:
        theirs = stream.codec_context
        self._context: Any = av.CodecContext.create(theirs.codec.name, "r", hwaccel=accelerator)
        if theirs.extradata:
            self._context.extradata = theirs.extradata
        # A thread a slice or none: with frame threads each picture would wait for as many later ones.
        self._context.thread_count, self._context.thread_type = 1, "SLICE"

    def decode(self, coded: Any) -> list[Any]:
        """Give the pictures that a packet leads to."""
        pictures: list[Any] = self._context.decode(coded)
        return pictures

    def close(self) -> None:
        """Nothing is held beyond its memory."""


class NvdecDecoder(CpuDecoder):
    """A card's decoder. Raises `av.FFmpegError` where it does not start."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, HWAccel("cuda", allow_software_fallback=False))
