"""Files of nuScenes: cameras, LIDAR_TOP and radars, found by their names, which end in their stamps.

Format: Caesar et al. 2020, "nuScenes: A multimodal dataset for autonomous driving", and the development kit. A file is
called `SCENE__CHANNEL__STAMP.SUFFIX`, its stamp in UNIX microseconds, and lies in the folder itself, or in
`samples/CHANNEL` and `sweeps/CHANNEL` of it. The calibration is read where there is a `sample_info.json`, the sample's
entry of the info files that mmdetection3d makes. Axes: lidar x right, y ahead, z up; radar and ego x ahead, y left.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.calibration import Calibration, CameraCalibration, Transform
from sensors.drives.image_file import UnreadableFileError, read_coded_image, read_file
from sensors.drives.indexed import Capture, Clocks, IndexedDrive, Picture, SensorIndex, Table
from sensors.drives.pcd import read_pcd
from sensors.errors import RequestError
from sensors.source import Kind, Span

POINT_FIELDS = ("x", "y", "z", "intensity", "ring")
EGO = "ego"
CALIBRATION = "sample_info.json"
_LIDAR = "LIDAR_TOP"
_POINT_BYTES = 4 * len(POINT_FIELDS)
_NAME = re.compile(r".+__((?:CAM|LIDAR|RADAR)_[A-Z_]+)__(\d{16})(\.jpg|\.pcd\.bin|\.pcd)")
_KINDS: dict[str, Kind] = {"CAM": "camera", "LIDAR": "lidar", "RADAR": "radar"}
_MOST_LOOKED_INTO = 20  # radar files that a survey opens


def is_nuscenes(path: Path) -> bool:
    """Whether a folder holds files that are called as nuScenes calls them."""
    return any(_files(folder) for folder in _folders(path))


class NuScenesDrive(IndexedDrive):
    """Source of the files of nuScenes. A sensor is called `NAME-CAM_FRONT`, say."""

    def __init__(self, path: Path, name: str, span: Span | None = None, clocks: Clocks | None = None) -> None:
        by_channel: dict[str, list[tuple[int, Path]]] = defaultdict(list)
        for folder in _folders(path):
            for file, channel, stamp_us in _files(folder):
                by_channel[channel].append((stamp_us, file))
        sensors = {}
        for channel, found in sorted(by_channel.items()):
            kind = _KINDS[channel.split("_")[0]]
            read = _READERS[kind]
            captures = [
                Capture(number, stamp_us * 1000, partial(read, file), file.name)
                for number, (stamp_us, file) in enumerate(sorted(found))
            ]
            files = [file for _, file in sorted(found)]
            notes = partial(_radar_notes, files) if kind == "radar" else tuple
            sensors[channel] = SensorIndex(kind, captures, notes=notes)
        super().__init__(path, name, sensors, span, clocks, read_calibration(path))


def _folders(path: Path) -> list[Path]:
    kinds = [path / "samples", path / "sweeps"]
    return [path, *(folder for kind in kinds if kind.is_dir() for folder in sorted(kind.iterdir()) if folder.is_dir())]


def _files(folder: Path) -> list[tuple[Path, str, int]]:
    try:
        names = sorted(file for file in folder.iterdir() if "__" in file.name)
    except OSError:
        return []
    return [(file, match[1], int(match[2])) for file in names if (match := _NAME.fullmatch(file.name))]


def _read_picture(file: Path) -> Picture:
    return Picture(*read_coded_image(file))


def _read_scan(file: Path) -> Table:
    """Read (N, 5) float32; called .pcd.bin, and no PCD. Raises `UnreadableFileError`."""
    data = read_file(file)
    if len(data) % _POINT_BYTES:
        whole = len(data) // _POINT_BYTES
        raise UnreadableFileError(f"{file.name}: is cut short: {len(data)} bytes are {whole} points and a part of one")
    return Table(np.frombuffer(data, "<f4").astype(np.float32).reshape(-1, len(POINT_FIELDS)), POINT_FIELDS)


def _read_targets(file: Path) -> Table:
    cloud = read_pcd(file)
    return Table(cloud.table(), tuple(cloud.columns))


_READERS: dict[Kind, Callable[[Path], Picture | Table]] = {
    "camera": _read_picture,
    "lidar": _read_scan,
    "radar": _read_targets,
}


def _radar_notes(files: list[Path]) -> tuple[str, ...]:
    notes = []
    for file in files[:_MOST_LOOKED_INTO]:
        try:
            cloud = read_pcd(file)
        except UnreadableFileError as reason:
            notes.append(str(reason))
            continue
        if cloud.bytes_behind:
            notes.append(f"{file.name}: {cloud.bytes_behind} bytes after its last point")
        states = cloud.columns.get("invalid_state")
        if states is not None and states.any():
            notes.append(f"{file.name}: {int((states != 0).sum())} of {len(states)} targets have an invalid_state")
    return tuple(notes)


def read_calibration(path: Path) -> Calibration:
    """What `sample_info.json` tells; nothing where there is none. Raises `RequestError`."""
    file = path / CALIBRATION
    try:
        sample = json.loads(file.read_text(encoding="utf-8"))["sample"]
        cameras, transforms = [], []
        for channel, camera in sample["images"].items():
            projection = np.hstack([_matrix(camera["cam2img"], 3), np.zeros((3, 1))])
            cameras.append(CameraCalibration(channel, projection))
            transforms.append(Transform(_LIDAR, channel, _inverse(camera["lidar2cam"])))
        transforms.append(Transform(EGO, _LIDAR, _matrix(sample["lidar_points"]["lidar2ego"], 4)))
    except FileNotFoundError:
        return Calibration()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"is no sample's calibration ({type(error).__name__}: {error})"
        raise RequestError(str(file), what, "make it again, or leave it out") from None
    return Calibration(tuple(cameras), tuple(transforms))


def _inverse(rows: Any) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(_matrix(rows, 4)), np.float64)


def _matrix(rows: Any, size: int) -> NDArray[np.float64]:
    """A matrix (size, size). Raises ValueError; LinAlgError, where it is to be inverted, is one too."""
    matrix = np.array(rows, np.float64)
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(f"a matrix is not {size} by {size} numbers")
    return matrix
