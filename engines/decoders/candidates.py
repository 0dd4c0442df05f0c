"""What every family does with the boxes it has read: best first, suppression, source pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.decoders.decoder import NonFiniteOutputError, Outputs
from engines.decoders.nms import survivors
from engines.letterbox import Geometry
from engines.reduction import CANDIDATES, FAULTS
from engines.results import Detections, Thresholds

# Suppression compares every pair. A sound network gives some hundred candidates at most, even on a crowded
# frame; a broken one gives thousands: 8,400 would take most of a second and a gigabyte, 1,000 take 10 ms.
MAX_CANDIDATES = 1000

# Input pixels. No input side is longer than 8,192, so a coordinate beyond this is nonsense; clipped to it,
# coordinates and areas stay finite in float32 whatever a network puts out.
MAX_COORDINATE = 100_000.0


def label(
    class_scores: NDArray[Any],
    thresholds: Thresholds,
    weights: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Name the boxes: (row, class, score) of what is above its threshold, `class_scores` (N, classes).

    A box is of its best class, or of every class that is above its threshold where `thresholds` says so, which
    costs a look at all scores. `weights` (N,), none negative, multiply a row's scores.
    """
    limits = thresholds.per_class(class_scores.shape[1])
    if thresholds.every_label:
        weighted = class_scores.astype(np.float32, copy=False)
        if weights is not None:
            weighted = weighted * weights[:, None]
        rows, classes = np.nonzero(weighted > limits)
        return rows, classes, weighted[rows, classes]
    best = class_scores.argmax(axis=1)
    scores = class_scores[np.arange(len(class_scores)), best].astype(np.float32, copy=False)
    if weights is not None:
        scores = scores * weights
    rows = np.flatnonzero(scores > limits[best])
    return rows, best[rows], scores[rows]


def to_detections(
    boxes_xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.integer[Any]],
    geometry: Geometry,
    thresholds: Thresholds,
) -> Detections:
    """Detections from candidates that are above their thresholds already, in any order.

    `boxes_xyxy` (N, 4) in pixels of the network's input, within `MAX_COORDINATE`. Equal scores keep the
    order in which they come. Boxes with nothing of them inside the source image are dropped.
    """
    scores = np.minimum(scores, 1)  # a quantised sigmoid may end a step above 1
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    boxes_xyxy, scores, kinds = boxes_xyxy[order], scores[order], classes[order].astype(np.int32)
    kept = survivors(boxes_xyxy, kinds, thresholds.nms_iou)
    boxes_xyxy, scores, kinds = geometry.to_source(boxes_xyxy[kept]), scores[kept], kinds[kept]
    has_area = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
    kept = np.flatnonzero(has_area)[: thresholds.max_detections]
    return Detections(boxes_xyxy[kept], scores[kept], kinds[kept])


def from_device(
    outputs: Outputs, roles: Sequence[str], class_count: int, geometry: Geometry, thresholds: Thresholds
) -> Detections | None:
    """Detections of outputs that the device has reduced to candidates already; None of raw outputs.

    `thresholds` may be higher than those on the device. Raises `NonFiniteOutputError`, and `ValueError` where every
    label is wanted, which a device has not kept.
    """
    candidates = outputs.get(CANDIDATES)
    if candidates is None:
        return None
    if thresholds.every_label:
        raise ValueError("every label is wanted of outputs that were reduced to the best ones")
    faults = int(outputs[FAULTS][0])
    if faults:
        first = next(role for bit, role in enumerate(roles) if faults >> bit & 1)
        raise NonFiniteOutputError(f"output {first!r} holds NaN or infinity")
    limits = thresholds.per_class(class_count)
    chosen = candidates[candidates["score"] > limits[candidates["class_index"]]]
    if not len(chosen):
        return Detections.empty()
    # Suppressing again what has been suppressed changes nothing.
    return to_detections(chosen["box_xyxy"], chosen["score"], chosen["class_index"], geometry, thresholds)


def corners(centres: NDArray[np.float32], sizes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes (N, 4) left, top, right, bottom from centres (N, 2) and sizes (N, 2), within `MAX_COORDINATE`."""
    centres = np.clip(centres, -MAX_COORDINATE, MAX_COORDINATE)
    halves = np.clip(sizes, 0, MAX_COORDINATE) / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    return np.clip(boxes, -MAX_COORDINATE, MAX_COORDINATE, out=boxes)
