"""KITTI's calibration files: the projection of lidar points into a rectified camera's image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensors.calibration import Calibration, CameraCalibration, Transform
from sensors.errors import RequestError
from sensors.projection import Projection

_CAMERAS, _LIDAR = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt"
_MOTION = "calib_imu_to_velo.txt"
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


def read_calibration(drive: Path) -> Calibration:
    """All cameras that the day's files tell of, rectified, and where the lidar and the GNSS/IMU are.

    Nothing where there are no such files beside the drive. All rectified cameras share the axes of camera 0; where
    each one is stands in its projection.
    """
    day = drive.resolve().parent
    if not (day / _CAMERAS).is_file() or not (day / _LIDAR).is_file():
        return Calibration()
    rectifying = _homogeneous(_matrix(day / _CAMERAS, "R_rect_00", (3, 3)))
    cameras = []
    for number in ("00", "01", "02", "03"):
        width, height = _matrix(day / _CAMERAS, f"S_rect_{number}", (1, 2))[0]
        projection = _matrix(day / _CAMERAS, f"P_rect_{number}", (3, 4))
        cameras.append(CameraCalibration(f"image_{number}", projection, int(width), int(height)))
    from_lidar = rectifying @ _homogeneous(
        np.hstack([_matrix(day / _LIDAR, "R", (3, 3)), _matrix(day / _LIDAR, "T", (3, 1))])
    )
    transforms = [Transform("velodyne_points", camera.sensor, _inverse(from_lidar)) for camera in cameras]
    if (day / _MOTION).is_file():
        rotation, translation = _matrix(day / _MOTION, "R", (3, 3)), _matrix(day / _MOTION, "T", (3, 1))
        to_lidar = _homogeneous(np.hstack([rotation, translation]))
        transforms.append(Transform("oxts", "velodyne_points", _inverse(to_lidar)))
    return Calibration(tuple(cameras), tuple(transforms))


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        return np.asarray(np.linalg.inv(matrix), np.float64)
    except np.linalg.LinAlgError:
        raise RequestError(_LIDAR, "R is no rotation: it has no inverse", _REMEDY) from None


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
