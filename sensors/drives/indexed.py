"""A drive of many small files as a source: each format says what was captured and how it is read, and no more.

What is the same for all of them is here: the order of all sensors by their stamps, spans, Faults, the clocks' policies,
and what a survey tells.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from threading import Event
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sensors.calibration import Calibration
from sensors.clock_policy import ClockPolicy, Judged, judge
from sensors.drives.image_file import UnreadableFileError
from sensors.errors import RequestError
from sensors.frame import CodedImage, Fault, Frame, Item, PointCloud, RadarScan, Reading
from sensors.source import Kind, SensorInfo, SourceInfo, Span
from sensors.survey import SensorSurvey, Survey

Clocks: TypeAlias = Mapping[str, ClockPolicy]  # by sensor, as the drive calls it
NO_POLICY = ClockPolicy()


@dataclass(frozen=True, slots=True)
class Picture:
    """What a camera's file holds: (H, W, 3) BGR, and the file itself."""

    image: NDArray[np.uint8]
    coded: CodedImage | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """What another sensor's file holds: rows (N, fields) float32, or of a reading one row (fields,) float64."""

    values: NDArray[np.float32] | NDArray[np.float64]
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Capture:
    """One thing that a sensor captured, not read yet."""

    number: int  # the drive's own
    stamp_ns: int | None  # as the drive tells it; None: it tells none
    read: Callable[[], Picture | Table]  # raises UnreadableFileError
    name: str = ""  # of its file, for Faults
    is_there: bool = True


@dataclass(frozen=True, slots=True)
class SensorIndex:
    """One sensor's captures, in the order in which they were made."""

    kind: Kind
    captures: Sequence[Capture]
    width: int | None = None
    height: int | None = None
    other_clocks: Mapping[str, Sequence[int]] = field(default_factory=dict)  # ns by name, one a capture
    notes: Callable[[], tuple[str, ...]] = tuple  # what is to be known of it, for people; asked for by a survey


class IndexedDrive:
    """Source of a drive's sensors, in the order of their stamps; a sensor is called `NAME-SENSOR`, or as in the drive.

    A file that is missing, empty or damaged is a Fault, and so is one with a faulty stamp, unless `clocks` says
    otherwise. What is given is fresh memory: nothing to release. Raises RequestError where nothing is in it.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        sensors: Mapping[str, SensorIndex],
        span: Span | None = None,
        clocks: Clocks | None = None,
        calibration: Calibration | None = None,
        notes: Sequence[str] = (),
        *,
        may_be_empty: bool = False,
    ) -> None:
        self._closed = Event()
        self._path = path
        self._index = {sensor: index for sensor, index in sensors.items() if index.captures}
        self._notes = tuple(notes)
        if not self._index and not may_be_empty:
            raise RequestError(str(path), "has no images and no scans in it", "give the folder of a whole drive")
        _check_known(clocks or {}, self._index)
        self._names = {sensor: f"{name}-{sensor}" if name else sensor for sensor in self._index}
        self.clock_changes: dict[str, Counter[str]] = {}  # what a policy did, by the sensor's name, counted
        judged = {
            sensor: judge([capture.stamp_ns for capture in index.captures], (clocks or {}).get(sensor, NO_POLICY))
            for sensor, index in self._index.items()
        }
        self._items = self._within(span or Span(), judged)
        counts = Counter(sensor for _, sensor, _, _ in self._items)
        infos = tuple(
            SensorInfo(
                self._names[sensor],
                index.kind,
                _rate_hz([one.stamp_ns for one in judged[sensor]]),
                count=counts[sensor],
                width=index.width,
                height=index.height,
            )
            for sensor, index in self._index.items()
        )
        renamed = (calibration or Calibration()).renamed(self._names)
        self._info = SourceInfo(uri=str(path), sensors=infos, live=False, calibration=renamed)

    @property
    def info(self) -> SourceInfo:
        """Counts and rates as the stamps tell them, also of what is missing."""
        return self._info

    def __enter__(self) -> IndexedDrive:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration at its next file. Any thread, any number of times."""
        self._closed.set()

    def __iter__(self) -> Iterator[Item]:
        given: Counter[str] = Counter()
        for stamp_ns, sensor, place, fault in self._items:
            if self._closed.is_set():
                return
            yield self._read(sensor, given[sensor], stamp_ns, self._index[sensor].captures[place], fault)
            given[sensor] += 1

    def survey(self) -> Survey:
        """Every sensor's raw stamps, and which files are missing. Opens no file."""
        size = 0
        if self._path.is_dir():
            size = sum(file.stat().st_size for file in self._path.rglob("*") if file.is_file())
        elif self._path.is_file():
            size = self._path.stat().st_size
        return Survey(tuple(self._surveyed(sensor) for sensor in self._index), size, self._notes)

    def _surveyed(self, sensor: str) -> SensorSurvey:
        index = self._index[sensor]
        stamped = [place for place, capture in enumerate(index.captures) if capture.stamp_ns is not None]
        captures = [index.captures[place] for place in stamped]
        return SensorSurvey(
            self._names[sensor],
            index.kind,
            np.array([capture.stamp_ns for capture in captures], np.int64),
            np.array([capture.number for capture in captures], np.int64),
            without_file=np.array([c.number for c in captures if not c.is_there], np.int64),
            without_stamp=np.array([c.number for c in index.captures if c.stamp_ns is None], np.int64),
            other_clocks_ns=tuple(
                (name, np.array(values, np.int64)[stamped]) for name, values in index.other_clocks.items()
            ),
            notes=index.notes(),
        )

    def _within(self, span: Span, judged: Mapping[str, Sequence[Judged]]) -> list[tuple[int, str, int, str]]:
        """Stamp, sensor, place in its captures and fault of what will be read, in the order of the stamps."""
        first_ns = min((of_sensor[0].stamp_ns for of_sensor in judged.values()), default=0)
        start_ns = first_ns + span.start_ns
        end_ns = None if span.end_ns is None else first_ns + span.end_ns
        found = []
        for sensor, of_sensor in judged.items():
            changes = Counter(one.dropped or one.mended for one in of_sensor if one.dropped or one.mended)
            if changes:
                self.clock_changes[self._names[sensor]] = changes
            for place, one in enumerate(of_sensor):
                is_within = start_ns <= one.stamp_ns and (end_ns is None or one.stamp_ns < end_ns)
                if is_within and not one.dropped:
                    found.append((one.stamp_ns, sensor, place, one.fault))
        return sorted(found, key=lambda entry: entry[:3])

    def _read(self, sensor: str, sequence: int, stamp_ns: int, capture: Capture, fault: str) -> Item:
        name, arrival_ns = self._names[sensor], time.monotonic_ns()
        try:
            if fault:
                raise UnreadableFileError(f"{capture.name or capture.number}: {fault}")
            content = capture.read()
        except UnreadableFileError as reason:
            return Fault(name, sequence, stamp_ns, arrival_ns, str(reason))
        head = (name, sequence, stamp_ns, arrival_ns, time.monotonic_ns())
        if isinstance(content, Picture):
            return Frame(*head, content.image, coded=content.coded)
        kind = self._index[sensor].kind
        if kind == "motion":
            return Reading(*head, content.values.astype(np.float64, copy=False), content.fields)
        values = content.values.astype(np.float32, copy=False)
        return (RadarScan if kind == "radar" else PointCloud)(*head, values, content.fields)


def _check_known(clocks: Clocks, sensors: Mapping[str, SensorIndex]) -> None:
    for sensor in clocks.keys() - sensors.keys():
        near = get_close_matches(sensor, sensors, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(sensors)}"
        raise RequestError(f"--clock {sensor}=...", "the drive has no such sensor", remedy)


def _rate_hz(stamps_ns: Sequence[int]) -> float | None:
    steps = np.diff(np.array(stamps_ns, np.int64))
    ahead = steps[steps > 0]  # stamps that are there twice tell no rate
    period_ns = float(np.median(ahead)) if len(ahead) else 0.0
    return 1e9 / period_ns if period_ns else None
