"""What is asked of one camera: which of its frames are inferred, and where in the image nothing counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.results import Detections

Polygon = tuple[tuple[float, float], ...]  # corners (x, y) in shares of the image's width and height, 0..1


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera's settings; the default takes every frame and all of it."""

    every: int = 1  # infers each so-manieth frame; the others are dropped, and counted as "skipped"
    ignore: tuple[Polygon, ...] = ()

    def kept(self, found: Detections, width: int, height: int) -> Detections:
        """Leave out the boxes whose centre lies in a region to ignore."""
        if not self.ignore or not len(found):
            return found
        boxes = found.boxes_xyxy
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array([width, height], np.float32)
        ignored = np.zeros(len(found), np.bool_)
        for polygon in self.ignore:
            ignored |= inside(centres, polygon)
        if not ignored.any():
            return found
        kept = ~ignored
        return Detections(boxes[kept], found.scores[kept], found.classes[kept], found.track_ids[kept])


def inside(points: NDArray[np.floating], polygon: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Whether points (N, 2) lie in a polygon, (N,): a ray to the right crosses its outline an odd number of times.

    Shimrat 1962, "Algorithm 112: Position of point relative to polygon". A polygon that crosses itself is taken
    by the even-odd rule; of points right on the outline some are inside.
    """
    x, y = points[:, 0, None], points[:, 1, None]
    x1, y1 = np.array(polygon, np.float64).T
    x2, y2 = np.roll(x1, -1), np.roll(y1, -1)
    straddles = (y1 > y) != (y2 > y)
    rise = np.where(y1 == y2, 1, y2 - y1)  # of a level edge nothing straddles
    crosses = straddles & (x < x1 + (y - y1) * (x2 - x1) / rise)
    odd: NDArray[np.bool_] = crosses.sum(axis=1) % 2 == 1
    return odd
