"""KITTI's calibration files: the projection of lidar points into a rectified camera's image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensors.errors import RequestError
from sensors.projection import Projection

_CAMERAS, _LIDAR = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt"
_REMEDY = "copy the day's calibration beside the drive's folder again"


def read_projection(drive: Path, camera: str) -> Projection:
    """From `velodyne_points` to the rectified image of a camera, `image_00` to `image_03`, of a raw drive.

    The files lie beside the drive, in the day's folder. Pixel = P_rect_c R_rect_00 [R|T]velo_to_cam point (Geiger et
    al. 2013, "Vision meets robotics: The KITTI dataset", equation 8). Raises `RequestError`.
    """
    day = drive.resolve().parent
    rectified = _matrix(day / _CAMERAS, f"P_rect_{camera.removeprefix('image_')}", (3, 4))
    upright = _homogeneous(_matrix(day / _CAMERAS, "R_rect_00", (3, 3)))
    rotation, translation = _matrix(day / _LIDAR, "R", (3, 3)), _matrix(day / _LIDAR, "T", (3, 1))
    return Projection(rectified @ upright @ _homogeneous(np.hstack([rotation, translation])))


def _homogeneous(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A (3, 3) or (3, 4) transformation as (4, 4)."""
    whole = np.eye(4)
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    return whole


def _matrix(path: Path, key: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """One `key: numbers` line."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(str(path), f"cannot be read ({error})", _REMEDY) from None
    for line in lines:
        name, _, numbers = line.partition(":")
        if name.strip() != key:
            continue
        try:
            values = np.array([float(number) for number in numbers.split()])
        except ValueError:
            values = np.empty(0)
        if values.size != shape[0] * shape[1] or not np.isfinite(values).all():
            raise RequestError(str(path), f"{key} is not {shape[0] * shape[1]} numbers", _REMEDY)
        return values.reshape(shape)
    raise RequestError(str(path), f"has no {key}", _REMEDY)
