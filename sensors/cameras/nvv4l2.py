"""A Jetson's video decoder, by GStreamer's `nvv4l2decoder`: packets go in as FLV, pictures come as of a camera.

Only JetPack's GStreamer reaches it: see `gstreamer.py`. Neither was at hand: the pipeline's other parts are tested with
GStreamer's own decoder in its place.
"""

from __future__ import annotations

import functools
import os
import select
import subprocess
import threading
from fractions import Fraction
from queue import Empty, SimpleQueue
from typing import Any

import av

from sensors.cameras.gstreamer import GST_INSPECT, Pipeline, PipelineError, is_installed

CODECS = ("h264",)  # FLV of older GStreamers carries no HEVC

_LATEST_S = 0.015  # that a picture is waited for behind its packet; else it comes with the next one, a period later
_WRITE_S = 1.0  # for the pipeline to take a packet
_SILENT_S = 3600.0  # pictures come when packets go in: silence is judged by who feeds it
_END_S = 5.0
_LONGEST_MS = 5_000  # between the packet and the picture, and of reordering
_FIRST_MS = 1_000  # of the first packet: of reordered pictures coding times lie before it, and none may be below 0
_MILLISECOND = Fraction(1, 1000)


@functools.cache
def is_there() -> bool:
    """Whether this machine's GStreamer has the decoder."""
    if not is_installed():
        return False
    try:
        asked = subprocess.run([GST_INSPECT, "--exists", "nvv4l2decoder"], timeout=30, check=False, capture_output=True)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


class Nvv4l2Decoder:
    """One H.264 stream's decoder. Raises OSError or `av.FFmpegError` where it does not start, or takes nothing more."""

    def __init__(self, stream: Any) -> None:
        self._time_base: Fraction = stream.time_base
        self._first: int | None = None  # ticks
        self._ticks: dict[int, int] = {}  # of packets by their ms in the pipe
        self._last_ms = 0
        self._pictures: SimpleQueue[Any] = SimpleQueue()
        self._is_closed = threading.Event()
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        demuxed = ("fdsrc", f"fd={reading}", "!", "flvdemux", "!", "h264parse")
        elements = (*demuxed, "!", "nvv4l2decoder", "!", "nvvidconv", "!", "video/x-raw,format=I420")
        self._feed = _Feed(writing)
        self._thread = threading.Thread(target=self._read, args=(elements, reading), name="nvv4l2", daemon=True)
        self._thread.start()
        try:
            # FLV, because it hands on each packet by itself: a Matroska cluster waits for the next one.
            options = {"flvflags": "no_duration_filesize+no_metadata", "flush_packets": "1"}
            self._muxer: Any = av.open(self._feed, "w", format="flv", options=options)
            self._stream: Any = self._muxer.add_stream_from_template(stream)
        except BaseException:
            self.close()
            raise

    def decode(self, coded: Any) -> list[Any]:
        """Feed one packet, and give the pictures that are there by now."""
        if coded is None:
            return self._rest()
        ticks = coded.pts if coded.pts is not None else coded.dts
        if ticks is None:
            return []
        if self._first is None:
            self._first = ticks
        shown_ms = self._ms(ticks)
        coded_ms = self._ms(ticks if coded.dts is None else coded.dts)
        self._ticks[shown_ms] = ticks
        self._last_ms = max(self._last_ms, min(coded_ms, shown_ms) + _FIRST_MS)
        packet = av.Packet(bytes(coded))
        packet.stream, packet.time_base = self._stream, _MILLISECOND
        packet.pts, packet.dts, packet.is_keyframe = shown_ms + _FIRST_MS, self._last_ms, coded.is_keyframe
        self._muxer.mux(packet)
        return self._there(_LATEST_S)

    def _ms(self, ticks: int) -> int:
        """Its time behind the first packet's, from which GStreamer counts."""
        assert self._first is not None
        return round((ticks - self._first) * self._time_base / _MILLISECOND)

    def close(self) -> None:
        """End the pipeline. More than once is fine."""
        self._is_closed.set()
        self._feed.close()

    def _rest(self) -> list[Any]:
        self._muxer.close()
        self._feed.close()
        self._thread.join(_END_S)
        return self._there(0)

    def _there(self, wait_s: float) -> list[Any]:
        found: list[Any] = []
        while True:
            try:
                picture = self._pictures.get(timeout=wait_s) if wait_s and not found else self._pictures.get_nowait()
            except Empty:
                return found
            if isinstance(picture, BaseException):
                raise ValueError(f"nvv4l2decoder ended ({picture})")
            ms = round(picture.pts * picture.time_base / _MILLISECOND)
            ticks = self._ticks.pop(ms, None)
            if ticks is not None:
                self._ticks = {of: other for of, other in self._ticks.items() if of > ms - _LONGEST_MS}
                picture.pts = ticks
                found.append(picture)

    def _read(self, elements: tuple[str, ...], reading: int) -> None:
        try:
            with Pipeline(elements, self._is_closed.is_set, _SILENT_S, _SILENT_S, (reading,)) as pipeline:
                for packet in pipeline.demux(pipeline.streams.video[0]):
                    for picture in packet.decode():
                        self._pictures.put(picture)
        except Exception as error:  # raised by whoever feeds it
            if not self._feed.is_closed:
                self._pictures.put(error)


class _Feed:
    """The writing end of the pipe, for PyAV, that does not wait for ever."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.is_closed = False

    def write(self, content: bytes) -> int:
        if self.is_closed:
            return len(content)  # the muxer's own goodbye
        left = memoryview(content)
        while left:
            if not select.select([], [self._descriptor], [], _WRITE_S)[1]:
                raise PipelineError(f"took nothing for {_WRITE_S:g} s")
            left = left[os.write(self._descriptor, left) :]
        return len(content)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            os.close(self._descriptor)
