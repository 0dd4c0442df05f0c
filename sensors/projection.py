"""Where points of one sensor lie in the image of another: pinhole projection with a calibrated matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Projection:
    """`matrix` (3, 4) float64: metres in the point sensor's axes, homogeneous, to pixels times depth.

    Hartley and Zisserman 2004, "Multiple View Geometry", section 6.1.
    """

    matrix: NDArray[np.float64]

    def to_pixels(self, points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project points (N, 3), metres; columns beyond the third are left out.

        Gives pixels (N, 2), x right and y down from the image's top left, and depths (N,), metres from the camera. A
        point that is not in front of the camera has no place in the image: its pixels are NaN, its depth is not
        above 0.
        """
        metres = np.asarray(points[:, :3], np.float64)
        projected = metres @ self.matrix[:, :3].T + self.matrix[:, 3]
        depths = projected[:, 2]
        is_ahead = depths > 0
        pixels = np.full((len(metres), 2), np.nan)
        pixels[is_ahead] = projected[is_ahead, :2] / depths[is_ahead, None]
        return pixels, depths
