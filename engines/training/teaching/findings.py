"""Boxes that several looks at one picture gave, fused into one set.

After Solovyev et al. 2021, "Weighted boxes fusion". A fused box's confidence, the mean over the passes of the scale
that finds it best, is what a student learns to give it (Hinton et al. 2015, "Distilling the knowledge in a neural
network").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAINTEST = 0.05  # confidence below which nothing is taught: what is fainter is background to the teacher too
SAME_OBJECT_IOU = 0.55  # of two boxes of one class


@dataclass(frozen=True, slots=True)
class Findings:
    """N boxes on one picture: `boxes_xyxy` (N, 4) float32 in its pixels, `classes` (N,) int64, `confidences` (N,)."""

    boxes_xyxy: NDArray[np.float32]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float32]

    @staticmethod
    def of(boxes: Sequence[NDArray[np.float32]], classes: Sequence[int], confidences: Sequence[float]) -> Findings:
        """Make it of lists."""
        return Findings(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64), np.array(confidences, np.float32)
        )


def fuse(passes: Sequence[tuple[int, NDArray[np.bool_], Findings]]) -> Findings:
    """One set of boxes of several passes (scale, classes (C,) that its teacher knows, what was found).

    Boxes of one class that overlap are one object: their mean, weighted by confidence. Its confidence is the mean over
    the passes of a scale by teachers who know the class (0 where such a pass missed it), of the scale where that is
    highest.
    """
    scales = np.array([scale for scale, _, _ in passes])
    boxes = np.concatenate([found.boxes_xyxy for *_, found in passes])
    classes = np.concatenate([found.classes for *_, found in passes])
    scores = np.concatenate([found.confidences for *_, found in passes])
    origin = np.repeat(np.arange(len(passes)), [len(found.classes) for *_, found in passes])
    fused: tuple[list[NDArray[np.float32]], list[int], list[float]] = ([], [], [])
    for our in np.unique(classes):
        of_class = np.flatnonzero(classes == our)
        asked = np.array([bool(knows[our]) for _, knows, _ in passes])
        for group in groups_of(boxes[of_class], scores[of_class]):
            members = of_class[group]
            best = np.zeros(len(passes), np.float32)
            np.maximum.at(best, origin[members], scores[members])
            confidence = max(float(best[asked & (scales == scale)].mean()) for scale in np.unique(scales[asked]))
            if confidence >= FAINTEST:
                fused[0].append(np.average(boxes[members], axis=0, weights=scores[members]).astype(np.float32))
                fused[1].append(int(our))
                fused[2].append(confidence)
    return Findings.of(*fused)


def groups_of(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> list[NDArray[np.intp]]:
    """Indices of the boxes that overlap a better one, with it, which comes first; best group first."""
    order = np.argsort(-scores, kind="stable")
    overlaps = overlap(boxes, boxes)
    free = np.ones(len(boxes), np.bool_)
    groups = []
    for leader in order:
        if free[leader]:
            group = order[free[order] & (overlaps[leader, order] > SAME_OBJECT_IOU)]
            group = np.concatenate([[leader], group[group != leader]])
            free[group] = False
            groups.append(group)
    return groups


def overlap(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU (N, M) of boxes (N, 4) and (M, 4) xyxy."""
    sides = np.minimum(left[:, None, 2:], right[None, :, 2:]) - np.maximum(left[:, None, :2], right[None, :, :2])
    shared = np.clip(sides, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (left, right)]
    ious: NDArray[np.float32] = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6)
    return ious


def share_inside(boxes: NDArray[np.float32], places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Which share (N, M) of each box (N, 4) lies in each place (M, 4), xyxy."""
    sides = np.minimum(boxes[:, None, 2:], places[None, :, 2:]) - np.maximum(boxes[:, None, :2], places[None, :, :2])
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    shares: NDArray[np.float32] = np.clip(sides, 0, None).prod(axis=2) / np.maximum(areas, 1e-6)[:, None]
    return shares
