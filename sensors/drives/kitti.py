"""A KITTI raw drive: a folder with `image_00` to `image_03`, `velodyne_points` and `oxts`, each with its own stamps.

Layout and formats: Geiger et al. 2013, "Vision meets robotics: The KITTI dataset", and the development kit's readme.
Line n of a sensor's `timestamps.txt` belongs to file n of its `data`. The stamps are local times without a zone; here
they are ns since 1970 as if they were UTC. Sensors at one index are 10 to 24 ms apart: pair by stamp. Where a sensor
has no `timestamps.txt`, its files are 10 a second from 0.
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from sensors.drives.image_file import UnreadableFileError, read_coded_image, read_file
from sensors.drives.indexed import Capture, Clocks, IndexedDrive, Picture, SensorIndex, Table
from sensors.drives.kitti_calibration import read_calibration
from sensors.errors import RequestError
from sensors.source import Span

CAMERAS = ("image_00", "image_01", "image_02", "image_03")
LIDAR = "velodyne_points"
MOTION = "oxts"
POINT_FIELDS = ("x", "y", "z", "reflectance")  # metres, forward, left, up; 0..1
# The development kit's dataformat.txt: degrees, metres, radians, m/s, m/s^2, rad/s; modes of the receiver.
MOTION_FIELDS = (
    *("latitude", "longitude", "altitude", "roll", "pitch", "yaw", "vn", "ve", "vf", "vl", "vu", "ax", "ay", "az"),
    *("af", "al", "au", "wx", "wy", "wz", "wf", "wl", "wu", "pos_accuracy", "vel_accuracy"),
    *("navstat", "numsats", "posmode", "velmode", "orimode"),
)

_SUFFIXES = {LIDAR: ".bin", MOTION: ".txt"}  # others .png
_WITHOUT_STAMPS_NS = 100_000_000  # the period of the sensors, nearly: they turn at 9.7 Hz
_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{9})")
_POINT_BYTES = 4 * len(POINT_FIELDS)


def is_kitti_drive(path: Path) -> bool:
    """Whether a folder holds what a KITTI raw drive holds."""
    return any((path / sensor / part).exists() for sensor in (*CAMERAS, LIDAR) for part in ("data", "timestamps.txt"))


class KittiDrive(IndexedDrive):
    """Source of a KITTI raw drive's cameras, lidar and GNSS/IMU. A sensor is called `NAME-image_02`, say.

    A file that the stamps tell of and that is missing is a Fault, and so is a file without a stamp.
    """

    def __init__(self, path: Path, name: str, span: Span | None = None, clocks: Clocks | None = None) -> None:
        sensors = {
            sensor: SensorIndex(_kind(sensor), _captures(path / sensor))  # type: ignore[arg-type]
            for sensor in (*CAMERAS, LIDAR, MOTION)
            if (path / sensor).is_dir()
        }
        super().__init__(path, name, sensors, span, clocks, read_calibration(path))


def _captures(folder: Path) -> list[Capture]:
    """What a sensor captured. Raises `RequestError` where the stamps cannot be read."""
    suffix = _SUFFIXES.get(folder.name, ".png")
    files = {int(file.stem): file for file in folder.glob(f"data/*{suffix}") if file.stem.isdecimal()}
    read = {LIDAR: _read_scan, MOTION: _read_motion}.get(folder.name, _read_picture)

    def capture(number: int, stamp_ns: int | None) -> Capture:
        file = files.get(number, folder / "data" / f"{number:010d}{suffix}")
        return Capture(number, stamp_ns, partial(read, file), file.name, number in files)

    stamps = folder / "timestamps.txt"
    if not stamps.exists():
        return [capture(number, number * _WITHOUT_STAMPS_NS) for number in range(max(files, default=-1) + 1)]
    captures = [capture(number, stamp_ns) for number, stamp_ns in enumerate(_stamps_ns(stamps))]
    return captures + [capture(number, None) for number in sorted(files) if number >= len(captures)]


def _read_picture(file: Path) -> Picture:
    return Picture(*read_coded_image(file))


def _read_scan(file: Path) -> Table:
    """Read (N, 4) float32. Raises `UnreadableFileError`."""
    data = read_file(file)
    if len(data) % _POINT_BYTES:
        whole = len(data) // _POINT_BYTES
        raise UnreadableFileError(f"{file.name}: is cut short: {len(data)} bytes are {whole} points and a part of one")
    return Table(np.frombuffer(data, "<f4").astype(np.float32).reshape(-1, len(POINT_FIELDS)), POINT_FIELDS)


def _read_motion(file: Path) -> Table:
    words = read_file(file).split()
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.empty(0)
    if len(values) != len(MOTION_FIELDS):
        raise UnreadableFileError(f"{file.name}: is not {len(MOTION_FIELDS)} numbers")
    return Table(values, MOTION_FIELDS)


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


def _kind(sensor: str) -> str:
    return {LIDAR: "lidar", MOTION: "motion"}.get(sensor, "camera")
