"""Decoders as slow and plain as can be, written from the networks' descriptions alone (shared/data/models).

Every row is decoded, in Python floats, before anything is thrown away. The real decoders have to agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engines.letterbox import Geometry
from engines.results import Detections, Thresholds


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float
    score: float
    kind: int


def iou(one: Any, other: Any) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def suppress(boxes: list[Box], limit: float | None) -> list[Box]:
    """What stays of boxes that come best first."""
    kept: list[Box] = []
    for box in boxes:
        rivals = [better for better in kept if better.kind == box.kind]
        if limit is None or all(iou(better, box) <= limit for better in rivals):
            kept.append(box)
    return kept


def cells(width: int, height: int, strides: tuple[int, ...] = (8, 16, 32)) -> Iterator[tuple[int, int, int]]:
    for stride in strides:
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                yield stride, column, row


def yolox(outputs: Mapping[str, NDArray[Any]], width: int, height: int) -> list[list[Box]]:
    boxes = []
    rows = outputs["predictions"].tolist()
    for (stride, column, row), (x, y, w, h, objectness, *scores) in zip(cells(width, height), rows, strict=True):
        centre_x, centre_y = (x + column) * stride, (y + row) * stride
        half_w, half_h = math.exp(w) * stride / 2, math.exp(h) * stride / 2
        corners = centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h
        boxes.append([Box(*corners, objectness * score, kind) for kind, score in enumerate(scores)])
    return boxes


def yolov8(outputs: Mapping[str, NDArray[Any]], width: int, height: int) -> list[list[Box]]:
    boxes = []
    for x, y, w, h, *scores in outputs["predictions"].T.tolist():
        corners = x - w / 2, y - h / 2, x + w / 2, y + h / 2
        boxes.append([Box(*corners, score, kind) for kind, score in enumerate(scores)])
    return boxes


def nanodet(outputs: Mapping[str, NDArray[Any]], width: int, height: int) -> list[list[Box]]:
    boxes = []
    strides = tuple(sorted(int(role.split("_")[1]) for role in outputs if role.startswith("scores")))
    scores = [row for stride in strides for row in outputs[f"scores_{stride}"].tolist()]
    logits = [row for stride in strides for row in outputs[f"distances_{stride}"].tolist()]
    for (stride, column, row), scored, raw in zip(cells(width, height, strides), scores, logits, strict=True):
        bins = len(raw) // 4
        distances = []
        for side in range(4):
            weights = [math.exp(value) for value in raw[side * bins : (side + 1) * bins]]
            mean = sum(step * weight for step, weight in enumerate(weights)) / sum(weights)
            distances.append(mean * stride)
        x, y = (column + 0.5) * stride - 0.5, (row + 0.5) * stride - 0.5
        left, top, right, bottom = distances
        corners = x - left, y - top, x + right, y + bottom
        boxes.append([Box(*corners, score, kind) for kind, score in enumerate(scored)])
    return boxes


PLAIN = {"nanodet": nanodet, "yolov8": yolov8, "yolox": yolox}


def detect(name: str, outputs: Mapping[str, NDArray[Any]], place: Geometry, thresholds: Thresholds) -> list[Box]:
    """Decode, choose, suppress, and carry back into the source image."""
    limits = dict(thresholds.score_by_class)
    boxes = []
    for labelled in PLAIN[name](outputs, place.input_width, place.input_height):
        boxes += labelled if thresholds.every_label else [max(labelled, key=lambda box: box.score)]
    boxes = [box for box in boxes if box.score > limits.get(box.kind, thresholds.score)]
    boxes.sort(key=lambda box: -box.score)
    found = []
    for box in suppress(boxes, thresholds.nms_iou):
        left, right = (
            min(max((x - place.left) * place.source_width / place.width, 0), place.source_width)
            for x in (box.left, box.right)
        )
        top, bottom = (
            min(max((y - place.top) * place.source_height / place.height, 0), place.source_height)
            for y in (box.top, box.bottom)
        )
        if left < right and top < bottom:
            found.append(Box(left, top, right, bottom, box.score, box.kind))
    return found[: thresholds.max_detections]


def assert_same(detections: Detections, expected: list[Box]) -> None:
    """Same boxes in the same order: class equal, score to float32's precision, IoU over 0.99."""
    assert detections.classes.tolist() == [box.kind for box in expected]
    np.testing.assert_allclose(detections.scores, [box.score for box in expected], rtol=1e-5)
    overlaps = [iou(ours, box) for ours, box in zip(detections.boxes_xyxy.tolist(), expected, strict=True)]
    assert min(overlaps, default=1.0) > 0.99
