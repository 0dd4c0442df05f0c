"""A video with its stamps in a text file beside it: `drive.mp4` and `drive.stamps.txt` or `drive.stamps.csv`.

Line n is the stamp of the n-th picture shown: a whole number is ns, one with a decimal point seconds. Of a line with
commas the last word counts, so that `frame,stamp` may be written; a first line without a number is a heading. What a
video's own times say is another clock then, and told by a survey. A picture without a line, a line without a picture
and a stamp that goes back are Faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from threading import Event

import numpy as np

from sensors.clock_policy import NO_STAMP, ClockPolicy, judge
from sensors.drives.video import VideoFile
from sensors.errors import RequestError
from sensors.frame import Fault, Item, restamped
from sensors.source import SensorInfo, SourceInfo, Span
from sensors.survey import SensorSurvey, Survey

STAMP_SUFFIXES = (".stamps.txt", ".stamps.csv")
_MOST_BYTES = 1 << 28
_LARGEST_NS = 1 << 62


def stamps_beside(video: Path) -> Path | None:
    """The file of a video's stamps; None where there is none."""
    return next((path for suffix in STAMP_SUFFIXES if (path := video.with_suffix(suffix)).is_file()), None)


def open_video_file(path: Path, name: str, span: Span | None = None) -> StampedVideo | VideoFile:
    """Open a video, by the stamps beside it where there are any."""
    stamps = stamps_beside(path)
    return VideoFile(path, name, span) if stamps is None else StampedVideo(path, name, stamps, span)


class StampedVideo:
    """Source of one camera's frames, at the stamps of a file. Read from the beginning: no index tells the n-th picture.

    A stamp that goes back makes its picture a Fault, and holds the order. Raises `RequestError`.
    """

    def __init__(self, path: Path, name: str, stamps: Path, span: Span | None = None) -> None:
        self._closed = Event()
        self._name = name
        self._raw = read_stamps(stamps)
        if not self._raw:
            raise RequestError(str(stamps), "holds no stamps", "write one a line, or take the file away")
        self._judged = judge(self._raw, ClockPolicy())
        self._video = VideoFile(path, name)
        span = span or Span()
        first_ns = self._judged[0].stamp_ns
        self._start_ns = first_ns + span.start_ns
        self._end_ns = None if span.end_ns is None else first_ns + span.end_ns
        shown = self._video.info.sensors[0]
        steps = np.diff([one.stamp_ns for one in self._judged])
        period_ns = float(np.median(steps)) if len(steps) else 0.0
        is_whole = span == Span()
        within = sum(self._is_within(one.stamp_ns) for one in self._judged)
        # Pictures without a line come at the last stamp; how many there are only the container can say.
        count = None if shown.count is None else within
        if is_whole and shown.count is not None:
            count = max(len(self._judged), shown.count)
        elif self._is_within(self._judged[-1].stamp_ns) and shown.count is not None:
            count = within + max(0, shown.count - len(self._judged))
        rate_hz = 1e9 / period_ns if period_ns else None
        sensor = SensorInfo(name, "camera", rate_hz, count, shown.width, shown.height)
        self._info = SourceInfo(uri=str(path), sensors=(sensor,), live=False)

    @property
    def info(self) -> SourceInfo:
        """Count and rate as the stamps tell them."""
        return self._info

    def __enter__(self) -> StampedVideo:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration at its next packet. Any thread, any number of times."""
        self._closed.set()
        self._video.close()

    def __iter__(self) -> Iterator[Item]:
        given = shown = 0
        arrival_ns = 0
        last_ns = self._judged[-1].stamp_ns
        for item in self._video:
            number, shown = shown, shown + 1
            arrival_ns = item.arrival_ns
            one = self._judged[number] if number < len(self._judged) else None
            stamp_ns = last_ns if one is None else one.stamp_ns
            if not self._is_within(stamp_ns):
                continue
            fault = NO_STAMP if one is None else one.fault
            if fault and not isinstance(item, Fault):
                item.release()  # type: ignore[union-attr]  # a video gives frames and faults
                yield Fault(self._name, given, stamp_ns, arrival_ns, f"picture {number}: {fault}")
            else:
                yield restamped(item, sequence=given, stamp_ns=stamp_ns)
            given += 1
            if self._closed.is_set():
                return
        for number in range(shown, len(self._judged)):
            if self._closed.is_set():
                return
            stamp_ns = self._judged[number].stamp_ns
            if self._is_within(stamp_ns):
                reason = f"line {number + 1} of the stamps has no picture: the video has {shown}"
                yield Fault(self._name, given, stamp_ns, arrival_ns or 1, reason)
                given += 1

    def survey(self) -> Survey:
        """The file's stamps, and the video's own times beside them."""
        own = self._video.survey()
        times = own.sensors[0].stamps_ns
        stamps = np.array(self._raw, np.int64)
        other = np.full(len(stamps), -1, np.int64)
        shared = min(len(stamps), len(times))
        other[:shared] = times[:shared]
        sensor = SensorSurvey(
            self._name,
            "camera",
            stamps,
            np.arange(len(stamps)),
            without_file=np.arange(len(times), len(stamps)),
            without_stamp=np.arange(len(stamps), len(times)),
            other_clocks_ns=(("the video's own time", other),),
        )
        return Survey((sensor,), own.size_bytes, own.notes, own.is_damaged)

    def _is_within(self, stamp_ns: int) -> bool:
        return self._start_ns <= stamp_ns and (self._end_ns is None or stamp_ns < self._end_ns)


def read_stamps(path: Path) -> list[int]:
    """The stamps of a file, in ns. Raises `RequestError`."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RequestError(str(path), f"has more than {_MOST_BYTES} bytes", "one stamp a line is enough")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(str(path), f"cannot be read ({error})", "write it again, one stamp a line") from None
    stamps = []
    for number, line in enumerate(lines, 1):
        words = [word for word in line.replace(",", " ").replace(";", " ").split() if word]
        if not words or line.startswith("#"):
            continue
        stamp_ns = _stamp_ns(words[-1])
        if stamp_ns is None:
            if number == 1:
                continue  # a heading
            what = f"line {number} is no stamp: {line[:40]!r}"
            raise RequestError(str(path), what, "write ns as a whole number, or seconds with a decimal point")
        stamps.append(stamp_ns)
    return stamps


def _stamp_ns(word: str) -> int | None:
    try:
        value = Decimal(word)
        stamp = value * 1_000_000_000 if "." in word or "e" in word.lower() else value
        return int(stamp.to_integral_value()) if abs(stamp) < _LARGEST_NS else None
    except (ArithmeticError, ValueError):  # no number, or none that is one
        return None
