"""Low confidence: boxes that the model shows, though it is not sure of them."""

from __future__ import annotations

import numpy as np

from perception.mining.looked import Finding, Looked
from perception.tracking.tracker import iou

LOW_CONFIDENCE = "low confidence"
_ONE_OBJECT_IOU = 0.6


def unsure(frame: Looked, score: float, sure: float) -> list[Finding]:
    """Boxes whose score lies between `score`, at which a box is shown, and `sure`; the nearer to `score`, the more.

    Not what lies on a sure box: small detectors call most vehicles a car and, less surely, a truck as well.
    """
    scores, boxes = frame.found.scores, frame.found.boxes_xyxy.astype(np.float64)
    is_second = (iou(boxes, boxes[scores >= sure]) > _ONE_OBJECT_IOU).any(axis=1)
    return [
        Finding(
            LOW_CONFIDENCE,
            "unsure",
            (sure - float(scores[row])) / (sure - score),
            frame.found.boxes_xyxy[row],
            int(frame.found.classes[row]),
            float(scores[row]),
        )
        for row in np.flatnonzero((scores < sure) & ~is_second).tolist()
    ]
