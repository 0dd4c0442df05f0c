"""Masks of two segmenters, pixel by pixel: intersections over unions by class, and the share that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.results import ClassMap, SegmentationMap

Groups: TypeAlias = Mapping[str, Sequence[str]]  # class names by group
ClassIndexes = NDArray[np.uint8]  # (h, w)
_WORST = 99  # percentile of frames


@dataclass(frozen=True, slots=True)
class SeenMasks:
    """What one side found on a frame. Classes are indexes into the names that both sides share, group by group."""

    found: SegmentationMap

    def of(self, group: str) -> ClassIndexes | None:
        """One group's classes, (h, w); None where this side has no such group."""
        return next((one.classes for one in self.found.maps if one.group == group), None)


@dataclass(frozen=True, slots=True)
class MaskClassFigures:
    """One class of a group over all frames, in pixels of the baseline's masks."""

    baseline: int
    candidate: int
    both: int

    @property
    def iou(self) -> float:
        """Intersection over union; 1 where neither side has any."""
        either = self.baseline + self.candidate - self.both
        return self.both / either if either else 1.0


@dataclass(slots=True)
class GroupFigures:
    """One group over all frames. `changed`: of each frame, the share of pixels whose class differs."""

    names: Sequence[str]
    changed: list[float] = field(default_factory=list)
    _pixels: NDArray[np.int64] = field(init=False)  # (classes, classes): the baseline's by the candidate's

    def __post_init__(self) -> None:
        self._pixels = np.zeros((len(self.names), len(self.names)), np.int64)

    def add(self, baseline: ClassIndexes, candidate: ClassIndexes) -> float:
        """Take in one frame, masks of one size; the share that changed."""
        count = len(self.names)
        together = baseline.astype(np.intp) * count + candidate
        table = np.bincount(together.ravel(), minlength=count * count).reshape(count, count)
        self._pixels += table
        share = 1 - float(np.trace(table)) / baseline.size
        self.changed.append(share)
        return share

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return int(self._pixels.sum())

    @property
    def changed_share(self) -> float:
        """Of all pixels of all frames."""
        return 1 - float(np.trace(self._pixels)) / self.pixels if self.pixels else 0.0

    @property
    def changed_on_the_worst(self) -> float:
        """Share of pixels that changed on a frame, the 99th percentile of frames."""
        return float(np.percentile(self.changed, _WORST)) if self.changed else 0.0

    def per_class(self) -> dict[str, MaskClassFigures]:
        """By name: the classes of which either side found a pixel."""
        figures = {
            name: MaskClassFigures(
                int(self._pixels[index].sum()), int(self._pixels[:, index].sum()), int(self._pixels[index, index])
            )
            for index, name in enumerate(self.names)
        }
        return {name: one for name, one in figures.items() if one.baseline or one.candidate}


def shared_masks(found: SegmentationMap, labels: Sequence[str], groups: Groups) -> SeenMasks:
    """A side's masks in the classes that both sides share."""
    maps, first_of_group = [], _firsts(groups)
    for one in found.maps:
        names = groups[one.group]
        own = labels[one.first_label : one.first_label + one.class_count]
        shared = np.array([names.index(name) for name in own], np.uint8)
        maps.append(ClassMap(one.group, shared[one.classes], first_of_group[one.group], len(names)))
    return SeenMasks(SegmentationMap(tuple(maps)))


def in_one_size(baseline: ClassIndexes, candidate: ClassIndexes) -> ClassIndexes:
    """The candidate's mask at the resolution of the baseline's; both cover exactly the image."""
    if baseline.shape == candidate.shape:
        return candidate
    size = (baseline.shape[1], baseline.shape[0])
    return np.asarray(cv2.resize(candidate, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _firsts(groups: Groups) -> dict[str, int]:
    firsts, first = {}, 0
    for group, names in groups.items():
        firsts[group] = first
        first += len(names)
    return firsts
