"""Disagreement: boxes of the model, or of the teacher, that have no partner on the other side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.results import Detections
from perception.mining.looked import Finding, Looked
from perception.tracking.partners import partners
from perception.tracking.tracker import iou

DISAGREEMENT = "disagreement"
PARTNER_IOU = 0.5  # as in COCO's AP50


def disagreements(frame: Looked, labels: Sequence[str], known: NDArray[np.bool_], sure: float) -> list[Finding]:
    """Sure boxes of one side that the other does not have at all, of classes that both know.

    `known` (classes,): which of the model's classes the teacher has.
    """
    if frame.taught is None:
        return []
    rows, columns, *_ = partners(frame.found, frame.taught, PARTNER_IOU)
    found = []
    for side, other, paired, whose in (
        (frame.found, frame.taught, rows, "only the model"),
        (frame.taught, frame.found, columns, "only the teacher"),
    ):
        is_alone = np.ones(len(side), np.bool_)
        is_alone[paired] = False
        for row in np.flatnonzero(is_alone & (side.scores >= sure) & known[side.classes]).tolist():
            score = float(side.scores[row])
            why = whose + _called(side.boxes_xyxy[row], other, labels)
            kind = int(side.classes[row])
            found.append(Finding(DISAGREEMENT, why, score, side.boxes_xyxy[row], kind, score))
    return found


def _called(box: NDArray[np.float32], other: Detections, labels: Sequence[str]) -> str:
    """What the other side calls what is in that place, if it sees anything."""
    overlaps = iou(box[None].astype(np.float64), other.boxes_xyxy.astype(np.float64))[0]
    if not len(overlaps) or overlaps.max() < PARTNER_IOU:
        return ""
    return f" (other: {labels[int(other.classes[overlaps.argmax()])]})"
