"""Class-wise non-maximum suppression: of boxes that mean the same thing, the best one stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def survivors(boxes_xyxy: NDArray[np.float32], classes: NDArray[np.int32], nms_iou: float | None) -> NDArray[np.intp]:
    """Indices, ascending, of the boxes that no better box of their class suppresses.

    `boxes_xyxy` (N, 4) are in any one frame of reference, best first; `classes` (N,). A box goes when its
    IoU with a box of its class that stays is greater than `nms_iou`; `None` keeps all. Greedy, as in
    Dalal and Triggs 2005 and everywhere since: a box that was suppressed suppresses nothing itself.
    The whole (N, N) table is made at once, which is quickest for the usual few hundred candidates.
    """
    count = len(boxes_xyxy)
    if nms_iou is None or count < 2:
        return np.arange(count)
    left, top, right, bottom = np.ascontiguousarray(boxes_xyxy.T)
    overlap = np.minimum(right[:, None], right)
    overlap -= np.maximum(left[:, None], left)
    np.maximum(overlap, 0, out=overlap)
    heights = np.minimum(bottom[:, None], bottom)
    heights -= np.maximum(top[:, None], top)
    np.maximum(heights, 0, out=heights)
    overlap *= heights
    areas = (right - left) * (bottom - top)
    # Without the division an empty box (union 0) suppresses nothing and is not suppressed.
    union = areas[:, None] + areas - overlap
    suppresses = overlap > union * np.float32(nms_iou)
    suppresses &= classes[:, None] == classes
    np.fill_diagonal(suppresses, False)

    stays = np.ones(count, np.bool_)
    for index in np.flatnonzero(suppresses.any(axis=1)):
        if stays[index]:
            stays[index + 1 :] &= ~suppresses[index, index + 1 :]
    return np.flatnonzero(stays)
