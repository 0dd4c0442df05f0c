"""A segment of comma2k19: CAN, car radar, GNSS, IMU and the camera's pose, each as two arrays, times and values.

Format: Schafer et al. 2018, "A commute in data: The comma2k19 dataset". An array is a NumPy file without a suffix.
Times are seconds since the device's start. The radar gives one target a row, 20 bursts a second: the rows of a burst
are one scan. The road camera's picture n, of `video.hevc`, has the n-th time of `global_pose/frame_times`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.calibration import Calibration, CameraCalibration
from sensors.drives.float32 import as_float32
from sensors.drives.image_file import UnreadableFileError
from sensors.drives.indexed import Capture, Clocks, IndexedDrive, Picture, SensorIndex, Table
from sensors.errors import RequestError
from sensors.frame import Fault, Frame
from sensors.source import Span

VIDEO = "video.hevc"
_FRAME_TIMES = "global_pose/frame_times"
_RADAR = "processed_log/CAN/radar"
INTRINSICS = "camera_intrinsics.txt"
CAMERA_SIZE = (1164, 874)  # pixels
TARGET_FIELDS = ("x", "y", "radial_velocity", "address", "new")  # metres ahead and left, m/s
_TARGET_COLUMNS = [0, 1, 2, 5, 6]  # the two between are no numbers in any row
_NEW_BURST_S = 0.01  # rows of a burst follow each other within 3 ms, bursts within 50
_GNSS = ("latitude", "longitude", "speed", "utc", "altitude", "bearing")
_READINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "can-speed": ("processed_log/CAN/speed", ("speed",)),
    "can-wheel_speed": ("processed_log/CAN/wheel_speed", ("front_left", "front_right", "rear_left", "rear_right")),
    "can-steering_angle": ("processed_log/CAN/steering_angle", ("angle",)),
    "gnss-ublox": ("processed_log/GNSS/live_gnss_ublox", _GNSS),
    "gnss-qcom": ("processed_log/GNSS/live_gnss_qcom", _GNSS),
    "imu-accelerometer": ("processed_log/IMU/accelerometer", ("ax", "ay", "az")),
    "imu-gyro": ("processed_log/IMU/gyro", ("wx", "wy", "wz")),
}
_POSE = {  # file of global_pose: its fields; metres and m/s in ECEF, a quaternion from there to the camera
    "frame_positions": ("ecef_x", "ecef_y", "ecef_z"),
    "frame_velocities": ("ecef_vx", "ecef_vy", "ecef_vz"),
    "frame_orientations": ("orientation_w", "orientation_x", "orientation_y", "orientation_z"),
}
_MOST_BYTES = 1 << 28  # of an array; a minute has at most 1 MB
_MILLISECONDS_FROM = 1e11  # UTC above it cannot be in seconds


def is_comma_segment(path: Path) -> bool:
    """Whether a folder holds what a segment of comma2k19 holds."""
    return (path / "processed_log").is_dir() or (path / _FRAME_TIMES).is_file()


class CommaSegment(IndexedDrive):
    """Source of a segment. A sensor is called `NAME-radar`, say; what moves the car is readings."""

    def __init__(self, path: Path, name: str, span: Span | None = None, clocks: Clocks | None = None) -> None:
        sensors: dict[str, SensorIndex] = {}
        if (path / _FRAME_TIMES).is_file():
            times = _stamps_ns(path / _FRAME_TIMES)
            sensors["camera"] = _camera(path, times)
            sensors["pose"] = _pose(path, times)
        if (path / _RADAR).is_dir():
            sensors["radar"] = _radar(path / _RADAR)
        for sensor, (folder, fields) in _READINGS.items():
            if (path / folder).is_dir():
                sensors[sensor] = _readings(path / folder, fields)
        super().__init__(path, name, sensors, span, clocks, _calibration(path))


def _array(path: Path) -> NDArray[np.float64]:
    """One array of numbers. Raises `RequestError`."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        # As a map: a header that says more than there is takes no memory.
        found: Any = np.lib.format.open_memmap(path, mode="r")
        array = np.array(found, np.float64)
    except Exception as error:  # NumPy reads a header as Python does: a damaged one may raise anything
        raise RequestError(str(path), f"is no array of numbers ({error})", "copy the segment again") from None
    return array


def _stamps_ns(path: Path) -> list[int]:
    seconds = _array(path)
    if seconds.ndim != 1 or not np.isfinite(seconds).all() or (np.abs(seconds) > 1e9).any():
        raise RequestError(str(path), "is no list of times in seconds", "copy the segment again")
    stamps: list[int] = np.rint(seconds * 1e9).astype(np.int64).tolist()
    return stamps


def _values(folder: Path, columns: int, rows: int) -> NDArray[np.float64]:
    values = _array(folder)
    values = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    if values.shape != (rows, columns):
        what = f"has {values.shape} numbers, and there are {rows} times"
        raise RequestError(str(folder), what, "copy the segment again")
    return values


def _readings(folder: Path, fields: tuple[str, ...]) -> SensorIndex:
    stamps = _stamps_ns(folder / "t")
    values = _values(folder / "value", len(fields), len(stamps))
    clocks: dict[str, list[int]] = {}
    notes: tuple[str, ...] = ()
    if "utc" in fields and len(values):
        utc = values[:, fields.index("utc")]
        is_ms = bool(np.nanmedian(utc) > _MILLISECONDS_FROM)
        usable = np.isfinite(utc) & (np.abs(utc) < 4e12)
        clocks["utc"] = np.where(usable, np.nan_to_num(utc) * (1e6 if is_ms else 1e9), -1).astype(np.int64).tolist()
        notes = ("utc is in milliseconds, not in seconds as the format has it",) if is_ms else ()
    captures = [
        Capture(number, stamp_ns, partial(_row, values, number, fields)) for number, stamp_ns in enumerate(stamps)
    ]
    return SensorIndex("motion", captures, other_clocks=clocks, notes=lambda: notes)


def _row(values: NDArray[np.float64], number: int, fields: tuple[str, ...]) -> Table:
    return Table(values[number], fields)


def _pose(path: Path, times: list[int]) -> SensorIndex:
    parts: list[NDArray[np.float64]] = []
    fields: list[str] = []
    for file, names in _POSE.items():
        if (path / "global_pose" / file).is_file():
            parts.append(_values(path / "global_pose" / file, len(names), len(times)))
            fields += names
    if not parts:
        return SensorIndex("motion", [])
    values, named = np.hstack(parts), tuple(fields)
    return SensorIndex("motion", [Capture(n, t, partial(_row, values, n, named)) for n, t in enumerate(times)])


def _radar(folder: Path) -> SensorIndex:
    stamps = _stamps_ns(folder / "t")
    rows = _values(folder / "value", 7, len(stamps))
    times = np.array(stamps, np.int64)
    starts = [0, *(np.flatnonzero(np.diff(times) > _NEW_BURST_S * 1e9) + 1).tolist()] if stamps else []
    ends = [*starts[1:], len(stamps)]
    targets = as_float32(rows[:, _TARGET_COLUMNS])
    captures = [
        Capture(number, stamps[begin], partial(_targets, targets, begin, end))
        for number, (begin, end) in enumerate(zip(starts, ends, strict=False))
    ]
    repeats = int((np.diff(times) == 0).sum())
    notes = [
        f"{len(stamps)} targets in {len(captures)} bursts, each one scan with its first target's stamp; "
        f"{repeats} have the stamp of the one before"
    ]
    if len(rows) and np.isnan(rows[:, 3:5]).all():
        notes.append("columns 3 and 4 are no numbers in any row, and left out")
    return SensorIndex("radar", captures, notes=lambda: tuple(notes))


def _targets(targets: NDArray[np.float32], begin: int, end: int) -> Table:
    return Table(targets[begin:end], TARGET_FIELDS)


def _camera(path: Path, times: list[int]) -> SensorIndex:
    video = _Pictures(path / VIDEO)
    is_there = (path / VIDEO).is_file()
    captures = [
        Capture(n, t, partial(video.picture, n), f"picture {n} of {VIDEO}", is_there) for n, t in enumerate(times)
    ]
    notes = () if is_there else (f"{VIDEO} is not there",)
    return SensorIndex("camera", captures, notes=lambda: notes)


class _Pictures:
    """The pictures of a video by their number, read from the beginning on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._items: Iterator[Any] | None = None
        self._next = 0

    def picture(self, number: int) -> Picture:
        """Give a picture. Raises `UnreadableFileError`."""
        if not self._path.is_file():
            raise UnreadableFileError(f"{self._path.name}: is not there")
        if self._items is None or number < self._next:
            from sensors.drives.video import VideoFile

            self._items, self._next = iter(VideoFile(self._path, "video")), 0
        try:
            for item in self._items:
                self._next += 1
                if self._next <= number:
                    continue
                if isinstance(item, Fault):
                    raise UnreadableFileError(item.reason)
                assert isinstance(item, Frame)
                return Picture(item.image)
        except RequestError as error:
            raise UnreadableFileError(str(error)) from None
        raise UnreadableFileError(f"{self._path.name}: has no picture {number}")


def _calibration(path: Path) -> Calibration:
    """The road camera's lens, as `camera_intrinsics.txt` has it beside the segment or up to three folders above."""
    for folder in (path, *path.resolve().parents[:3]):
        file = folder / INTRINSICS
        if not file.is_file():
            continue
        try:
            numbers = file.read_text(encoding="ascii").translate(str.maketrans("[],", "   ")).split()
            matrix = np.array([float(number) for number in numbers]).reshape(3, 3)
        except (OSError, ValueError) as error:
            raise RequestError(str(file), f"is no matrix of 3 by 3 ({error})", "copy the data set again") from None
        projection = np.hstack([matrix, np.zeros((3, 1))])
        return Calibration((CameraCalibration("camera", projection, *CAMERA_SIZE),))
    return Calibration()
