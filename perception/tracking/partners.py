"""Boxes of two networks on one frame: which are of one object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.results import Detections
from perception.tracking.assignment import assign
from perception.tracking.tracker import iou

_TIE = 1e-6  # of IoU: of boxes that lie alike, those of like scores are partners


def partners(
    one: Detections, other: Detections, least_iou: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64], NDArray[np.bool_]]:
    """Pair boxes of one class that overlap by `least_iou` or more, one to one, with the greatest sum of IoU.

    Exact (an assignment), so that it does not matter which side is asked first. Gives rows of both, (M,) each, their
    IoU (M,), and who could be paired: of one class with enough overlap (boxes of one, of the other).
    """
    overlaps = iou(one.boxes_xyxy.astype(np.float64), other.boxes_xyxy.astype(np.float64))
    closeness = 1 - np.abs(one.scores[:, None] - other.scores[None])
    is_same = (overlaps >= least_iou) & (one.classes[:, None] == other.classes[None])
    rows, columns = assign(np.where(is_same, overlaps + _TIE * closeness, 0))
    return rows, columns, overlaps[rows, columns], is_same
