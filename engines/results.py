"""What a network found on one frame: value types, as structs of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


def _no_ids() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Detections:
    """N boxes of one frame, best score first.

    `boxes_xyxy` (N, 4) float32, corners left, top, right, bottom in the pixels of the source image,
    clipped to it; `scores` (N,) float32 in 0..1; `classes` (N,) int32 indexes into the bundle's labels;
    `track_ids` (N,) int64, 0 where a box belongs to no track (a fresh decoder result: all 0).
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    track_ids: NDArray[np.int64] = field(default_factory=_no_ids)

    def __post_init__(self) -> None:
        if len(self.track_ids) != len(self.scores):
            object.__setattr__(self, "track_ids", np.zeros(len(self.scores), np.int64))

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def empty() -> Detections:
        """No boxes."""
        return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))


@dataclass(frozen=True, slots=True)
class ClassMap:
    """One group of classes over one frame, for example drivable or not.

    `classes` (h, w) uint8, at the network's resolution, covers exactly the image: its pixel (x, y) is the part from
    x / w to (x + 1) / w of the image's width, and likewise of its height. Class c is called
    `labels[first_label + c]` of the bundle; there are `class_count`.
    """

    group: str
    classes: NDArray[np.uint8]
    first_label: int
    class_count: int


@dataclass(frozen=True, slots=True)
class SegmentationMap:
    """A class for every pixel of one frame, in each of the network's groups."""

    maps: tuple[ClassMap, ...]


@dataclass(frozen=True, slots=True)
class Classification:
    """What a picture is as a whole: the K classes that are most likely, best first.

    `classes` (K,) int32 indexes into the bundle's labels; `scores` (K,) float32 in 0..1, of all classes together 1.
    """

    classes: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class CropClasses:
    """What a second network says of some detections of another one, looking at each by itself.

    `network`: place of the other one among the frame's networks. `rows` (K,) places of its detections, ascending;
    `classes` (K,) int32 indexes into the second network's labels; `scores` (K,) float32 in 0..1.
    """

    network: int
    rows: NDArray[np.int64]
    classes: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


Found: TypeAlias = Detections | SegmentationMap | Classification | CropClasses  # by one network on one frame


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a decoder keeps: boxes whose score is greater than `score` (or their class's own) and, of boxes of
    one class that overlap by more than `nms_iou`, the best. `nms_iou` None: no suppression.
    """

    score: float = 0.3
    nms_iou: float | None = 0.65
    score_by_class: tuple[tuple[int, float], ...] = ()  # (class index, threshold) where it differs
    max_detections: int = 300
    every_label: bool = False  # a box may be of several classes; else only of its best one

    @property
    def lowest_score(self) -> float:
        """The smallest threshold of any class: what can be thrown away before classes are looked at."""
        return min((self.score, *(score for _, score in self.score_by_class)))

    def per_class(self, count: int) -> NDArray[np.float32]:
        """Threshold of each of `count` classes, (count,) float32."""
        thresholds = np.full(count, self.score, np.float32)
        for index, score in self.score_by_class:
            thresholds[index] = score
        return thresholds
