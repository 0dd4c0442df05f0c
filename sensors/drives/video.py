"""A video file as a source: every captured picture once, a Frame or a Fault, in presentation order.

Stamps are the container's own presentation times, exact to the nanosecond: 0 is the container's zero, which
need not be the first picture's time (an MPEG-TS often starts after 1.4 s). Containers without such times
(AVI, raw streams) count at their declared rate.

What is damaged: a packet without a usable picture (refused by the decoder, dropped by it in silence, or cut
short in the file) is a Fault with the stamp of the missing picture. What the decoder gives is a Frame, even
if it marks it corrupt: after a loss every picture up to the next key frame is a little wrong and FFmpeg marks
one of them, in `corrupted.mp4` the best-looking, so the mark says nothing that the Fault before did not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import av
import numpy as np

from sensors.drives.container import VideoContainer, open_video
from sensors.drives.decoding import (
    CODECS_THAT_HIDE,
    Outcome,
    decoded,
    item_of,
    loss,
    new_packet,
    settled,
    still_held,
)
from sensors.drives.packets import WaitingPackets
from sensors.drives.upright import UprightBgr
from sensors.errors import RequestError, SourceError
from sensors.frame import Fault, Item
from sensors.source import SensorInfo, SourceInfo, Span
from sensors.survey import SensorSurvey, Survey

# Packets looked at on opening for a first picture, which tells size and rotation.
_MOST_PACKETS_BEFORE_A_PICTURE = 64


class VideoFile:
    """Source of one camera's frames from a video file.

    Opening looks (index, size, rotation) and closes the file; iterating opens it for itself, so that
    `close()` from another thread only has to ask. Images are views of FFmpeg's memory: nothing to release.
    `threads` is for decoding; one by default, because inference needs the other cores. With several, damage in
    a file's last packets may cost sound pictures that the decoder still held: Faults then, accounted for.
    """

    def __init__(self, path: Path, name: str, span: Span | None = None, threads: int = 1) -> None:
        self._path = path
        self._name = name
        self._threads = threads
        self._closed = Event()
        span = span or Span()
        with open_video(path, threads) as video:
            first_ns = video.first_stamp_ns
            self._start_ns = first_ns + span.start_ns
            self._end_ns = None if span.end_ns is None else first_ns + span.end_ns
            self._reads_all = span.start_ns <= 0
            width, height = _size_seen(video)
            sensor = SensorInfo(
                name=name,
                kind="camera",
                rate_hz=float(video.rate) if video.rate else None,
                count=video.count_within(self._start_ns, self._end_ns),
                width=width,
                height=height,
            )
        self._info = SourceInfo(uri=str(path), sensors=(sensor,), live=False)

    @property
    def info(self) -> SourceInfo:
        """What the file declares; size as frames will have it, turned upright."""
        return self._info

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration at its next packet. Any thread, any number of times."""
        self._closed.set()

    def survey(self) -> Survey:
        """The presentation times of all packets; decodes nothing, so that damage inside them is not seen."""
        ticks: list[int] = []
        notes: list[str] = []
        with open_video(self._path, self._threads) as video:
            try:
                for number, packet in enumerate(video.packets_from(video.first_stamp_ns)):
                    if packet.size == 0 or packet.is_discard:
                        continue
                    when = packet.pts if packet.pts is not None else packet.dts
                    ticks.append(when if video.is_timed and when is not None else number)
            except (av.FFmpegError, ValueError, MemoryError) as error:
                notes.append(f"cannot be read any further after {len(ticks)} packets ({error})")
            declared = video.declared_pictures
            if declared is not None and len(ticks) < declared:
                notes.append(f"declares {declared} pictures, and has {len(ticks)}")
            stamps = np.array(sorted(map(video.stamp_ns, ticks)), np.int64)
        sensor = SensorSurvey(self._name, "camera", stamps, np.arange(len(stamps)))
        return Survey((sensor,), self._path.stat().st_size, tuple(notes), is_damaged=bool(notes))

    def __iter__(self) -> Iterator[Item]:
        try:
            yield from self._items()
        except RequestError as error:  # it could be opened before, so it is not the request that is wrong
            raise SourceError(error.thing, error.what, error.remedy) from error

    def _items(self) -> Iterator[Item]:
        if self._closed.is_set():
            return
        sequence = 0
        last_ns: int | None = None
        with open_video(self._path, self._threads) as video:
            upright = UprightBgr(video.stream.sample_aspect_ratio)
            for outcome in self._outcomes(video):
                stamp_ns = video.stamp_ns(outcome.ticks)
                # Damaged time tables and decoders give pictures late; their order is still promised.
                is_late = last_ns is not None and stamp_ns < last_ns
                last_ns = stamp_ns = max(stamp_ns, last_ns) if last_ns is not None else stamp_ns
                if stamp_ns < self._start_ns and not self._reads_all:
                    continue
                if self._end_ns is not None and stamp_ns >= self._end_ns:
                    return
                if is_late:
                    reason = outcome.reason or "its time is before that of the picture before it"
                    yield Fault(self._name, sequence, stamp_ns, outcome.arrival_ns, reason)
                else:
                    yield item_of(outcome, upright, self._name, sequence, stamp_ns)
                sequence += 1
                if self._closed.is_set():
                    return

    def _outcomes(self, video: VideoContainer) -> Iterator[Outcome]:
        """Give what became of each packet, in presentation order; raise SourceError if some are missing."""
        decoder = video.stream.codec_context
        waiting = WaitingPackets(may_hide=decoder.name in CODECS_THAT_HIDE)
        number = whole = 0
        packets = video.packets_from(self._start_ns)
        broken: Exception | None = None
        while not self._closed.is_set():
            try:
                coded = next(packets, None)
            except (av.FFmpegError, ValueError, MemoryError) as error:
                broken = error
                break
            if coded is None:
                break
            if coded.size == 0 and coded.pts is None:
                continue  # FFmpeg's sign that the file has ended
            if number == 0:
                number = whole = video.packet_number(coded)
            packet = new_packet(number, coded, video.is_timed)
            number += 1
            whole += not packet.is_cut_short
            if not coded.is_discard:
                waiting.add(packet)
            for picture in decoded(decoder, coded, packet):
                yield from settled(waiting, picture, packet.arrival_ns, video.is_timed)
        else:
            return
        for picture in still_held(decoder):
            yield from settled(waiting, picture, time.monotonic_ns(), video.is_timed)
        for lost in waiting.take_lost():
            yield loss(lost)
        self._check_whole(whole, video.declared_packets, broken)

    def _check_whole(self, whole: int, declared: int | None, broken: Exception | None) -> None:
        remedy = "copy the file again, or give --duration to read the part that is there"
        if declared is not None and whole < declared:
            raise SourceError(str(self._path), f"ends after {whole} of {declared} declared frames", remedy)
        if broken is not None:
            what = f"cannot be read any further after {whole} packets ({broken})"
            raise SourceError(str(self._path), what, remedy)


def _size_seen(video: VideoContainer) -> tuple[int | None, int | None]:
    """Give the size of the first picture once upright; None where none of the first packets gives one."""
    decoder = video.stream.codec_context
    upright = UprightBgr(video.stream.sample_aspect_ratio)
    try:
        for number, coded in enumerate(video.packets_from(video.first_stamp_ns)):
            for picture in decoded(decoder, coded, new_packet(number, coded, video.is_timed)):
                return upright.size(picture)
            if number >= _MOST_PACKETS_BEFORE_A_PICTURE:
                break
        for picture in still_held(decoder):
            return upright.size(picture)
    except av.FFmpegError:
        pass  # reading says it again, with what could be read before it
    return None, None
