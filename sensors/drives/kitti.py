"""A KITTI raw drive: a folder with `image_00` to `image_03` and `velodyne_points`, each with its own stamps.

Layout and formats: Geiger et al. 2013, "Vision meets robotics: The KITTI dataset", and the development kit's readme.
Line n of a sensor's `timestamps.txt` belongs to file n of its `data`. The stamps are local times without a zone; here
they are ns since 1970 as if they were UTC. Sensors at one index are 10 to 24 ms apart: pair by stamp. Where a sensor
has no `timestamps.txt`, its files are 10 a second from 0.
"""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Event
from typing import Literal

import numpy as np

from sensors.drives.image_file import UnreadableFileError, read_file, read_image
from sensors.errors import RequestError
from sensors.frame import Fault, Frame, Item, PointCloud
from sensors.source import SensorInfo, SourceInfo, Span

CAMERAS = ("image_00", "image_01", "image_02", "image_03")
LIDAR = "velodyne_points"
POINT_FIELDS = ("x", "y", "z", "reflectance")  # metres, forward, left, up; 0..1

_WITHOUT_STAMPS_NS = 100_000_000  # the period of the sensors, nearly: they turn at 9.7 Hz
_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{9})")
_POINT_BYTES = 4 * len(POINT_FIELDS)


def is_kitti_drive(path: Path) -> bool:
    """Whether a folder holds what a KITTI raw drive holds."""
    return any((path / sensor / part).exists() for sensor in (*CAMERAS, LIDAR) for part in ("data", "timestamps.txt"))


@dataclass(frozen=True, slots=True)
class _Record:
    """One file that a sensor captured; perhaps it is not there."""

    stamp_ns: int
    file: Path
    reason: str = ""  # why it is a Fault whatever the file holds


class KittiDrive:
    """Source of a KITTI raw drive's cameras and lidar, in the order of their stamps.

    A sensor is called `NAME-image_02`. A file that the stamps tell of and that is missing, empty, cut short or damaged
    is a Fault, and so is a file without a stamp. Images and scans are fresh memory each: nothing to release.
    """

    def __init__(self, path: Path, name: str, span: Span | None = None) -> None:
        self._closed = Event()
        found = {sensor: _records(path / sensor) for sensor in (*CAMERAS, LIDAR) if (path / sensor).is_dir()}
        records = {sensor: of_sensor for sensor, of_sensor in found.items() if of_sensor}
        if not records:
            raise RequestError(str(path), "has no images and no scans in it", "give the folder of a whole drive")
        first_ns = min(of_sensor[0].stamp_ns for of_sensor in records.values())
        self._records = {sensor: _within(span or Span(), first_ns, of_sensor) for sensor, of_sensor in records.items()}
        self._names = {sensor: f"{name}-{sensor}" for sensor in records}
        sensors = tuple(
            SensorInfo(self._names[sensor], _kind(sensor), _rate_hz(records[sensor]), count=len(found))
            for sensor, found in self._records.items()
        )
        self._info = SourceInfo(uri=str(path), sensors=sensors, live=False)

    @property
    def info(self) -> SourceInfo:
        """Counts and rates as the stamps tell them, also of what is missing."""
        return self._info

    def __enter__(self) -> KittiDrive:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration at its next file. Any thread, any number of times."""
        self._closed.set()

    def __iter__(self) -> Iterator[Item]:
        in_order = merge(
            *(
                [(record.stamp_ns, sensor, number, record) for number, record in enumerate(found)]
                for sensor, found in self._records.items()
            ),
            key=lambda entry: entry[:3],
        )
        for _, sensor, sequence, record in in_order:
            if self._closed.is_set():
                return
            yield self._read(sensor, sequence, record)

    def _read(self, sensor: str, sequence: int, record: _Record) -> Item:
        name, stamp_ns, arrival_ns = self._names[sensor], record.stamp_ns, time.monotonic_ns()
        try:
            if record.reason:
                raise UnreadableFileError(record.reason)
            if sensor == LIDAR:
                points = _read_scan(record.file)
                return PointCloud(name, sequence, stamp_ns, arrival_ns, time.monotonic_ns(), points, POINT_FIELDS)
            image = read_image(record.file)
        except UnreadableFileError as reason:
            return Fault(name, sequence, stamp_ns, arrival_ns, str(reason))
        return Frame(name, sequence, stamp_ns, arrival_ns, time.monotonic_ns(), image)


def _read_scan(file: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Read (N, 4) float32. Raises `UnreadableFileError`."""
    data = read_file(file)
    if len(data) % _POINT_BYTES:
        whole = len(data) // _POINT_BYTES
        raise UnreadableFileError(f"{file.name}: is cut short: {len(data)} bytes are {whole} points and a part of one")
    return np.frombuffer(data, "<f4").astype(np.float32).reshape(-1, len(POINT_FIELDS))


def _records(folder: Path) -> list[_Record]:
    """What a sensor captured, in the order of its stamps. Raises `RequestError` where the stamps cannot be read."""
    suffix = ".bin" if folder.name == LIDAR else ".png"
    files = {int(file.stem): file for file in folder.glob(f"data/*{suffix}") if file.stem.isdecimal()}

    def file(number: int) -> Path:
        return files.get(number, folder / "data" / f"{number:010d}{suffix}")

    stamps = folder / "timestamps.txt"
    if not stamps.exists():
        return [_Record(number * _WITHOUT_STAMPS_NS, file(number)) for number in range(max(files, default=-1) + 1)]
    records: list[_Record] = []
    for number, stamp_ns in enumerate(_stamps_ns(stamps)):
        last_ns = records[-1].stamp_ns if records else stamp_ns
        reason = f"{file(number).name}: its stamp is before that of the file before it" if stamp_ns < last_ns else ""
        records.append(_Record(max(stamp_ns, last_ns), file(number), reason))
    for number in sorted(number for number in files if number >= len(records)):
        last_ns = records[-1].stamp_ns if records else 0
        records.append(_Record(last_ns, files[number], f"{files[number].name}: has no stamp"))
    return records


def _stamps_ns(path: Path) -> list[int]:
    """The stamps of a `timestamps.txt`, in ns since 1970."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(str(path), f"cannot be read ({error})", "copy the drive again") from None
    stamps = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        stamp_ns = _stamp_ns(line.strip())
        if stamp_ns is None:
            what = f"line {number} is no stamp: {line[:40]!r}"
            raise RequestError(str(path), what, "copy the drive again; a stamp is YYYY-MM-DD hh:mm:ss.nnnnnnnnn")
        stamps.append(stamp_ns)
    return stamps


def _stamp_ns(text: str) -> int | None:
    match = _STAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction = (int(part) for part in match.groups())
    try:
        seconds = timegm(datetime(year, month, day, hour, minute, second).timetuple())
    except ValueError:  # a 13th month
        return None
    return seconds * 1_000_000_000 + fraction


def _within(span: Span, first_ns: int, records: list[_Record]) -> list[_Record]:
    start_ns = first_ns + span.start_ns
    end_ns = None if span.end_ns is None else first_ns + span.end_ns
    return [
        record for record in records if start_ns <= record.stamp_ns and (end_ns is None or record.stamp_ns < end_ns)
    ]


def _kind(sensor: str) -> Literal["camera", "lidar"]:
    return "lidar" if sensor == LIDAR else "camera"


def _rate_hz(records: list[_Record]) -> float | None:
    steps = [later.stamp_ns - earlier.stamp_ns for earlier, later in pairwise(records)]
    period_ns = median(steps) if steps else 0
    return 1e9 / period_ns if period_ns else None
