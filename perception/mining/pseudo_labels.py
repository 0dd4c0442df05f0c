"""The boxes that a mined frame is handed to a labeller with, and that a training can take as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.decoders.nms import survivors
from engines.results import Detections
from perception.mining.disagreement import PARTNER_IOU
from perception.mining.flicker import FLICKER
from perception.mining.looked import Finding, Looked
from perception.tracking.partners import partners

_ONE_OBJECT_IOU = 0.6  # above it two boxes are one object, whatever each is called
_LEAST_PX = 1.0  # of a box's side


def pseudo_labels(frame: Looked, findings: Sequence[Finding], known: NDArray[np.bool_], sure: float) -> Detections:
    """What is most likely on a frame: boxes inside it, one an object.

    Of the classes that the teacher knows (`known`) its boxes count, and of the model's those that it is `sure` of;
    of the others the model's. A box that was missed for a frame or two is there too.
    """
    sides = [frame.found]
    if frame.taught is not None:
        rows, columns, *_ = partners(frame.found, frame.taught, PARTNER_IOU)
        is_alone = np.ones(len(frame.found), np.bool_)
        is_alone[rows] = False
        scores = frame.taught.scores.copy()
        scores[columns] = np.maximum(scores[columns], frame.found.scores[rows])
        counts = is_alone & (~known[frame.found.classes] | (frame.found.scores >= sure))
        sides = [
            Detections(frame.taught.boxes_xyxy, scores, frame.taught.classes),
            Detections(frame.found.boxes_xyxy[counts], frame.found.scores[counts], frame.found.classes[counts]),
        ]
    missed = [finding for finding in findings if finding.reason == FLICKER]
    sides.append(
        Detections(
            np.array([finding.box_xyxy for finding in missed], np.float32).reshape(-1, 4),
            np.array([finding.score for finding in missed], np.float32),
            np.array([finding.kind for finding in missed], np.int32),
        )
    )
    boxes = np.concatenate([side.boxes_xyxy[np.argsort(-side.scores, kind="stable")] for side in sides])
    scores = np.concatenate([np.sort(side.scores)[::-1] for side in sides])
    classes = np.concatenate([side.classes[np.argsort(-side.scores, kind="stable")] for side in sides])
    boxes = np.clip(boxes, 0, [*frame.size, *frame.size]).astype(np.float32)
    large = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= _LEAST_PX).all(axis=1))
    boxes, scores, classes = boxes[large], scores[large], classes[large]
    kept = survivors(boxes, np.zeros(len(boxes), np.int32), _ONE_OBJECT_IOU)
    return Detections(boxes[kept], scores[kept], classes[kept])
