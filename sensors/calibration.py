"""Where a drive's sensors are and how its cameras see: what a recording is told once, and holds beside its frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sensors.projection import Projection


@dataclass(frozen=True, slots=True)
class CameraCalibration:
    """One camera's pinhole model, in the words of ROS's CameraInfo and Foxglove's CameraCalibration.

    `projection` (3, 4) takes metres in the axes of the camera (x right, y down, z ahead) to pixels of the images that
    the drive holds. `distortion` are OpenCV's coefficients of `distortion_model`: ("plumb_bob", k1, k2, p1, p2, k3);
    none where the images are rectified. `axes` names the coordinate system; by default the sensor's own.
    """

    sensor: str
    projection: NDArray[np.float64]
    width: int = 0  # 0: not told
    height: int = 0
    distortion: tuple[float, ...] = ()
    distortion_model: str = ""
    rectification: NDArray[np.float64] | None = None  # (3, 3), already in the images where they are rectified

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """K (3, 3)."""
        return self.projection[:, :3]


@dataclass(frozen=True, slots=True)
class Transform:
    """Where the axes `child` lie in the axes `parent`: point_parent = `matrix` (4, 4) point_child, in metres."""

    parent: str
    child: str
    matrix: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """All that a drive tells. Axes carry the sensors' names; others may stand between (the vehicle's)."""

    cameras: tuple[CameraCalibration, ...] = ()
    transforms: tuple[Transform, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.cameras or self.transforms)

    def camera(self, sensor: str) -> CameraCalibration | None:
        """The calibration of one camera."""
        return next((camera for camera in self.cameras if camera.sensor == sensor), None)

    def between(self, source: str, target: str) -> NDArray[np.float64] | None:
        """Give the matrix (4, 4) from the axes `source` to the axes `target`; None where no chain leads there."""
        reached: dict[str, NDArray[np.float64]] = {source: np.eye(4)}
        waiting = [source]
        while waiting:
            here = waiting.pop(0)
            if here == target:
                return reached[here]
            for transform in self.transforms:
                if transform.child == here and transform.parent not in reached:
                    reached[transform.parent] = transform.matrix @ reached[here]
                    waiting.append(transform.parent)
                elif transform.parent == here and transform.child not in reached:
                    reached[transform.child] = np.linalg.inv(transform.matrix) @ reached[here]
                    waiting.append(transform.child)
        return None

    def into(self, points_sensor: str, camera: str) -> Projection | None:
        """The projection of one sensor's points into a camera's images; None where the drive does not tell it."""
        seen, moved = self.camera(camera), self.between(points_sensor, camera)
        return None if seen is None or moved is None else Projection(seen.projection @ moved)

    def renamed(self, names: dict[str, str]) -> Calibration:
        """The same with other names of sensors; axes that are no sensor's keep theirs."""
        return Calibration(
            tuple(replace(camera, sensor=names.get(camera.sensor, camera.sensor)) for camera in self.cameras),
            tuple(
                Transform(names.get(one.parent, one.parent), names.get(one.child, one.child), one.matrix)
                for one in self.transforms
            ),
        )
