"""A video file opened with FFmpeg: its video stream, its clock, what its index declares, where to start.

Opening fails in words: FFmpeg's own message for an unfinished recording and for a text file is the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from sensors.errors import EdgePerceptionError, RequestError

NS_PER_S = 1_000_000_000

# Containers without presentation times (AVI's are coding order, raw streams have none): the n-th picture
# is given the stamp n periods.
_WITHOUT_TIMES = {"avi", "h264", "hevc", "m4v", "mjpeg"}

# What an MP4 or QuickTime file begins with, and how many boxes are looked at for its index. Fragmented
# files have thousands, but then the index is among the first.
_FIRST_BOXES = {b"ftyp", b"wide", b"mdat", b"free", b"skip", b"moov"}
_MOST_BOXES = 64

# Containers whose index leads to a key frame. In others (MPEG-TS) a seek lands anywhere, so they are read
# from their beginning and the part before the span is dropped.
_WITH_KEY_FRAME_INDEX = {"mov", "matroska"}

_RECORD_AGAIN = "record or export it again, or leave it out"


class VideoContainer:
    """An open video file and its first video stream (cover pictures of music files are not video)."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._container = container
        self.stream = stream
        formats = set(container.format.name.split(","))
        self.rate: Fraction | None = stream.average_rate or stream.guessed_rate or None
        self.is_timed = not formats & _WITHOUT_TIMES
        self._can_seek = bool(formats & _WITH_KEY_FRAME_INDEX)
        self._is_at_beginning = True
        self._coding_ticks: list[int] = []  # of every packet that the index of an MP4 declares
        self.declared_packets: int | None = stream.frames or None
        self.declared_pictures: int | None = self.declared_packets
        if "mov" in formats and stream.frames:
            entries = list(stream.index_entries)
            self._coding_ticks = [entry.timestamp for entry in entries]
            self.declared_packets = len(entries)
            # Pictures that the edit list cuts away are decoded and not shown.
            self.declared_pictures = sum(not entry.is_discard for entry in entries)
        elif stream.frames and len(stream.index_entries) > stream.frames:  # header and index contradict each other
            self.declared_packets = self.declared_pictures = None

    def stamp_ns(self, ticks: int) -> int:
        """Give the presentation time of `ticks`, exact and rounded once; 0 is the container's zero."""
        if self.is_timed:
            time_base: Fraction = self.stream.time_base
            return round(ticks * NS_PER_S * time_base)
        return round(ticks * NS_PER_S / (self.rate or Fraction(25)))

    @property
    def first_stamp_ns(self) -> int:
        """The stamp that a span counts from."""
        if not self.is_timed or self.stream.start_time is None:
            return 0
        return self.stamp_ns(self.stream.start_time)

    def packets_from(self, start_ns: int) -> Iterator[Any]:
        """Give the stream's packets in coding order, from a key frame at or before the stamp `start_ns`.

        Raises av.FFmpegError where the file cannot be read further. Ends with FFmpeg's empty packet.
        """
        was_at_beginning, self._is_at_beginning = self._is_at_beginning, False
        if self._can_seek and start_ns > self.first_stamp_ns:
            ticks = int(Fraction(start_ns, NS_PER_S) / self.stream.time_base)
            self._container.seek(ticks, stream=self.stream, backward=True)
            packets = self._container.demux(self.stream)
            first = next(packets, None)
            if first is not None and first.is_keyframe and first.pts is not None and first.pts <= ticks:
                yield first
                yield from packets
                return
            # MP4 is sought by coding time: the key frame found may be shown later than asked for.
            was_at_beginning = False
        if not was_at_beginning:
            self._container.seek(self.stream.start_time or 0, stream=self.stream, backward=True)
        yield from self._container.demux(self.stream)

    def packet_number(self, packet: Any) -> int:
        """Give the place of the first packet read in the file, 0 where the whole file is read."""
        return bisect_left(self._coding_ticks, packet.dts) if packet.dts is not None else 0

    def count_within(self, start_ns: int, end_ns: int | None) -> int | None:
        """Count the declared pictures with stamps in [start, end): reads packets, decodes nothing.

        None where the container declares no count.
        """
        if self.declared_pictures is None:
            return None
        if start_ns <= self.first_stamp_ns and end_ns is None:
            return self.declared_pictures
        if not self.is_timed:
            # By bisection, because a damaged header may declare billions.
            pictures = range(self.declared_pictures)
            before = bisect_left(pictures, start_ns, key=self.stamp_ns)
            until = len(pictures) if end_ns is None else bisect_left(pictures, end_ns, key=self.stamp_ns)
            return max(0, until - before)
        if not self._can_seek:
            return None  # counting would leave nothing to read
        count = 0
        try:
            for packet in self.packets_from(start_ns):
                if packet.pts is None or packet.is_discard:
                    continue
                # Nothing is shown before it is decoded, so all later packets are outside too.
                if end_ns is not None and packet.dts is not None and self.stamp_ns(packet.dts) >= end_ns:
                    break
                stamp_ns = self.stamp_ns(packet.pts)
                count += start_ns <= stamp_ns and (end_ns is None or stamp_ns < end_ns)
        except av.FFmpegError:
            return None
        return count


@contextmanager
def open_video(path: Path, threads: int) -> Iterator[VideoContainer]:
    """Open a video for reading with this many decoding threads; RequestError says why it cannot be."""
    try:
        # `file:` so that a colon in a name is no protocol, and no playlist in disguise leads to the network;
        # metadata of any encoding, because none of it is used.
        container = av.open(f"file:{path}", metadata_errors="replace")
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise _why_not_opened(path, error) from error
    with container:
        stream = _video_stream(container, path)
        context = stream.codec_context
        context.thread_count = threads
        # With frame threads an error is told some packets late, so one thread never takes that path.
        context.thread_type = "SLICE" if threads == 1 else "AUTO"
        yield VideoContainer(container, stream)


def _video_stream(container: Any, path: Path) -> Any:
    videos = [
        stream for stream in container.streams.video if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not videos:
        kinds = sorted({stream.type for stream in container.streams})
        if not kinds:
            raise RequestError(str(path), "is damaged or cut short: FFmpeg finds nothing in it", _RECORD_AGAIN)
        what = f"has no video in it, only {', '.join(kinds)}"
        raise RequestError(str(path), what, "name a file with video")
    stream = videos[0]
    if stream.codec_context is None:
        raise RequestError(str(path), "is coded in a way that this FFmpeg cannot decode", "convert it to H.264, say")
    if not stream.time_base:
        raise RequestError(str(path), "has a damaged header: its clock has no unit", _RECORD_AGAIN)
    return stream


def _boxes(path: Path) -> list[bytes]:
    """Give the types of an MP4's outermost boxes (ISO/IEC 14496-12, 4.2), as far as they can be followed."""
    types: list[bytes] = []
    with path.open("rb") as file:
        while len(types) < _MOST_BOXES and len(head := file.read(16)) >= 8:
            size, offset = int.from_bytes(head[:4], "big"), file.tell() - len(head)
            types.append(head[4:8])
            if size == 1:  # a box over 4 GB
                size = int.from_bytes(head[8:], "big")
            if size < 8:
                break
            file.seek(offset + size)
    return types


def _why_not_opened(path: Path, error: Exception) -> EdgePerceptionError:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, av.error.InvalidDataError):
        return RequestError(str(path), f"cannot be opened: {error.strerror}", "check the file")
    if path.stat().st_size == 0:
        return RequestError(str(path), "is empty (0 bytes)", _RECORD_AGAIN)
    boxes = _boxes(path)
    if boxes and boxes[0] in _FIRST_BOXES:
        what = "is truncated or still being written: it has no index (moov)"
        if b"moov" in boxes:
            what = "is damaged: its index (moov) cannot be read"
        return RequestError(str(path), what, "finish or repair the recording, then open it again")
    return RequestError(str(path), "is not a video that FFmpeg can read", "check that the file is what its name says")
