"""A RADIATE drive: stereo camera, scanning radar, lidar and GNSS/IMU, each a folder with a list of stamps beside it.

Format: Sheeny et al. 2021, "RADIATE: A radar dataset for automotive perception in bad weather", and the files. A stamp
is `Frame: 000001 Time: SECONDS.NANOSECONDS`, UNIX time; the frame's number is the file's name, from 1. The radar's
polar image has a row a range and a column a direction: column 0 ahead, clockwise, row 0 at the sensor. Resampled so it
is the Cartesian image beside it, which tells both scales: 0.9 degrees a column and 0.17361 m a row.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from sensors.calibration import Calibration, CameraCalibration
from sensors.drives.float32 import as_float32
from sensors.drives.image_file import UnreadableFileError, read_coded_image, read_file, read_image
from sensors.drives.indexed import Capture, Clocks, IndexedDrive, Picture, SensorIndex, Table
from sensors.errors import RequestError
from sensors.source import Kind, Span

# Folder: kind, suffix of its files, list of stamps.
SENSORS: dict[str, tuple[Kind, str]] = {
    "zed_left": ("camera", ".png"),
    "zed_right": ("camera", ".png"),
    "Navtech_Polar": ("radar", ".png"),
    "velo_lidar": ("lidar", ".csv"),
    "GPS_IMU_Twist": ("motion", ".txt"),
}
RADAR, LIDAR, MOTION = "Navtech_Polar", "velo_lidar", "GPS_IMU_Twist"
RANGE_RESOLUTION_M = 0.17361
TARGET_FIELDS = ("x", "y", "intensity")  # metres, right and ahead, as the lidar beside it; 0..255
POINT_FIELDS = ("x", "y", "z", "intensity", "ring")
# Of the 55 numbers of a file: position, orientation as a quaternion, IMU and twist; between them are covariances.
_MOTION = {
    **dict(zip(("latitude", "longitude", "altitude"), range(3), strict=True)),
    **dict(zip(("orientation_x", "orientation_y", "orientation_z", "orientation_w"), range(12, 16), strict=True)),
    **dict(zip(("wx", "wy", "wz", "ax", "ay", "az"), range(16, 22), strict=True)),
    **dict(
        zip(("twist_x", "twist_y", "twist_z", "twist_roll", "twist_pitch", "twist_yaw"), range(49, 55), strict=True)
    ),
}
MOTION_FIELDS = tuple(_MOTION)
_MOTION_NUMBERS = 55
CALIBRATION = "default-calib.yaml"
_CAMERAS = {"left_cam_calib": "zed_left", "right_cam_calib": "zed_right"}

_STAMP = re.compile(r"Frame:\s*(\d{1,9})\s+Time:\s*(\d{1,10})\.(\d{9})")
_MOST_CELLS = 1 << 24  # of a polar image: the radar has 230,400


def is_radiate_drive(path: Path) -> bool:
    """Whether a folder holds what a RADIATE drive holds."""
    return any((path / f"{sensor}.txt").is_file() for sensor in ("zed_left", "zed_right", RADAR, LIDAR))


class RadiateDrive(IndexedDrive):
    """Source of a RADIATE drive. A sensor is called `NAME-zed_left`, say; radar targets are all cells of its image."""

    def __init__(self, path: Path, name: str, span: Span | None = None, clocks: Clocks | None = None) -> None:
        sensors = {
            sensor: SensorIndex(kind, _captures(path, sensor, suffix), notes=partial(_notes, path, sensor))
            for sensor, (kind, suffix) in SENSORS.items()
            if (path / sensor).is_dir() or (path / f"{sensor}.txt").is_file()
        }
        super().__init__(path, name, sensors, span, clocks, read_calibration(path))


def _captures(path: Path, sensor: str, suffix: str) -> list[Capture]:
    files = {int(file.stem): file for file in (path / sensor).glob(f"*{suffix}") if file.stem.isdecimal()}
    stamps = _stamps_ns(path / f"{sensor}.txt")
    read = {RADAR: _read_polar, LIDAR: _read_scan, MOTION: _read_motion}.get(sensor, _read_picture)
    captures = []
    # In the order of the frames' numbers: those of the list, and files that it does not name in between.
    listed = dict(stamps)
    for number in sorted(listed.keys() | files.keys()):
        file = files.get(number, path / sensor / f"{number:06d}{suffix}")
        captures.append(Capture(number, listed.get(number), partial(read, file), file.name, number in files))
    return captures


def _stamps_ns(path: Path) -> list[tuple[int, int]]:
    """Frame and stamp of every line. Raises `RequestError`."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(str(path), f"cannot be read ({error})", "copy the drive again") from None
    stamps = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _STAMP.fullmatch(line.strip())
        if match is None:
            remedy = "copy the drive again; a line is `Frame: 000001 Time: SECONDS.NANOSECONDS`"
            raise RequestError(str(path), f"line {number} is no stamp: {line[:40]!r}", remedy)
        frame, seconds, fraction = map(int, match.groups())
        stamps.append((frame, seconds * 1_000_000_000 + fraction))
    return stamps


def _notes(path: Path, sensor: str) -> tuple[str, ...]:
    """Fixes that are there twice: a file like the one before it."""
    if sensor != MOTION:
        return ()
    files = sorted((path / sensor).glob("*.txt"))
    contents = [file.read_bytes() for file in files]
    twins = sum(one == other for one, other in pairwise(contents))
    return (f"{twins} of its {len(files)} files are the same as the one before",) if twins else ()


def _read_picture(file: Path) -> Picture:
    return Picture(*read_coded_image(file))


def _read_polar(file: Path) -> Table:
    """All cells (N, 3) of the polar image: where they are, and what came back. Raises `UnreadableFileError`."""
    grey = cv2.cvtColor(read_image(file), cv2.COLOR_BGR2GRAY)
    ranges, directions = grey.shape
    if grey.size > _MOST_CELLS:
        raise UnreadableFileError(f"{file.name}: has {grey.size} cells, which no radar image has")
    azimuth = np.arange(directions) * (2 * np.pi / directions)
    distance = np.arange(ranges)[:, None] * RANGE_RESOLUTION_M
    cells = [distance * np.sin(azimuth), distance * np.cos(azimuth), grey]
    return Table(np.stack([cell.ravel() for cell in cells], axis=1).astype(np.float32), TARGET_FIELDS)


def _read_scan(file: Path) -> Table:
    """Read (N, 5) float32. Raises `UnreadableFileError`."""
    rows = [line.split(b",") for line in read_file(file).splitlines() if line.strip()]
    try:
        values = as_float32(np.array(rows, np.float64)).reshape(-1, len(POINT_FIELDS))
    except ValueError:
        raise UnreadableFileError(f"{file.name}: is damaged: a line is not {len(POINT_FIELDS)} numbers") from None
    return Table(values, POINT_FIELDS)


def _read_motion(file: Path) -> Table:
    """Read one fix. Raises `UnreadableFileError`."""
    try:
        numbers = np.array([float(word) for word in read_file(file).replace(b",", b" ").split()])
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != _MOTION_NUMBERS:
        raise UnreadableFileError(f"{file.name}: is not {_MOTION_NUMBERS} numbers")
    return Table(numbers[list(_MOTION.values())], MOTION_FIELDS)


def read_calibration(path: Path) -> Calibration:
    """The cameras' lenses. Where the cameras are is left out: the file does not say in which unit it gives its angles.

    Nothing where there is no file. Raises `RequestError`.
    """
    file = path / CALIBRATION
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return Calibration()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(str(file), f"cannot be read ({error})", "copy the drive again") from None
    sections: dict[str, dict[str, str]] = {}
    for line in lines:  # `section:` and, indented, `key: value`, as far as is used here
        key, colon, value = line.partition(":")
        if colon and not key.startswith((" ", "#")):
            sections[key] = {}
        elif colon and sections:
            sections[list(sections)[-1]][key.strip()] = value.strip()
    return Calibration(tuple(_camera(file, name, sections[name]) for name in _CAMERAS if name in sections))


def _camera(file: Path, section: str, values: dict[str, str]) -> CameraCalibration:
    try:
        fx, fy, cx, cy, *distortion = (
            float(values[key]) for key in ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3")
        )
        width, height = (int(number) for number in values["res"].strip("[] ").split(","))
    except (KeyError, ValueError) as error:
        what = f"{section} is no calibration of a camera ({error})"
        raise RequestError(str(file), what, "copy the drive again") from None
    projection = np.array([[fx, 0, cx, 0], [0, fy, cy, 0], [0, 0, 1, 0]], np.float64)
    return CameraCalibration(_CAMERAS[section], projection, width, height, tuple(distortion), "plumb_bob")
