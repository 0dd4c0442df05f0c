"""Whether two networks see the same on the same frames: shares of what one finds that the other finds too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.results import Classification, ClassMap, Detections, Found, SegmentationMap

_NOTHING_LEFT = -1.0


@dataclass(frozen=True, slots=True)
class Match:
    """When a box of one counts as found by the other: its own score, the other's and their IoU are above these."""

    score: float
    other_score: float
    iou: float


# A box that the float network would show, found again: the criterion of a calibration.
SHOWN = Match(score=0.3, other_score=0.3, iou=0.5)
# The same file on two engines has to give the same boxes: closer, and with room for a score near the threshold.
SAME = Match(score=0.35, other_score=0.25, iou=0.9)


@dataclass(frozen=True, slots=True)
class Agreement:
    """`found` of `count` things; the share is 1 where there was nothing to find."""

    found: float
    count: float

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.found / self.count if self.count else 1.0


def agreement(ours: Sequence[Found], theirs: Sequence[Found], match: Match = SHOWN) -> Agreement:
    """How much of what `ours` found on some frames `theirs` found on the same ones.

    Of boxes, each of `ours` above its score takes the closest free one of its class; of class maps it is the mean over
    the classes that `ours` has of the intersection over union of their pixels on all frames; of whole pictures the
    share that both call the same.
    """
    if any(isinstance(one, Classification) for one in ours):
        same = [_best(one) == _best(other) for one, other in zip(ours, theirs, strict=True)]
        return Agreement(sum(same), len(same))
    if any(isinstance(one, SegmentationMap) for one in ours):
        return _of_maps(ours, theirs)
    found = count = 0
    for one, other in zip(ours, theirs, strict=True):
        assert isinstance(one, Detections)
        assert isinstance(other, Detections)
        overlaps = _partners(one, other, match)
        found += int((overlaps > match.iou).sum())
        count += len(overlaps)
    return Agreement(found, count)


def damage(before: Sequence[Found], after: Sequence[Found]) -> float:
    """How much of `before` is gone, or covered by what was not there, from 0 to 1; no thresholds hide small harm.

    A box counts by its score; what stays of it is the IoU with its partner, times the smaller share of the two scores.
    A box of `after` without a partner counts by its score as one that is gone.
    Of a whole picture it is the score of its best class that stays, or goes.
    """
    if any(isinstance(one, Classification) for one in before):
        return 1 - sum(_kept(one, other) for one, other in zip(before, after, strict=True)) / len(before)
    if any(isinstance(one, SegmentationMap) for one in before):
        return 1 - agreement(before, after).share
    kept = total = 0.0
    match = Match(score=0.05, other_score=0.0, iou=0.0)
    for one, other in zip(before, after, strict=True):
        assert isinstance(one, Detections)
        assert isinstance(other, Detections)
        overlaps, partners = _matched(one, other, match)
        scores = one.scores[one.scores > match.score]
        theirs = np.where(partners >= 0, other.scores[partners] if len(other) else 0, 0)
        closeness = np.minimum(scores, theirs) / np.maximum(np.maximum(scores, theirs), 1e-9)
        has_partner = np.zeros(len(other), np.bool_)
        has_partner[partners[partners >= 0]] = True
        total += float(other.scores[~has_partner & (other.scores > match.score)].sum())
        kept += float((scores * np.maximum(overlaps, 0) * closeness).sum())
        total += float(scores.sum())
    return 1 - kept / total if total else 0.0


def _best(found: Found) -> int:
    assert isinstance(found, Classification)
    return int(found.classes[0])


def _kept(one: Found, other: Found) -> float:
    """The smaller share of two scores of the class that `one` holds for the best."""
    assert isinstance(one, Classification)
    assert isinstance(other, Classification)
    ours, theirs = float(one.scores[0]), float(other.scores[other.classes == one.classes[0]].sum())
    return min(ours, theirs) / max(ours, theirs, 1e-9)


def _partners(one: Detections, other: Detections, match: Match) -> NDArray[np.float64]:
    return _matched(one, other, match)[0]


def _matched(one: Detections, other: Detections, match: Match) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """IoU with its partner, and the partner's index, for each box of `one` above its score; -1 where there is none.

    Best scores choose first, and a partner is taken once.
    """
    rows = np.flatnonzero(one.scores > match.score)
    overlaps = np.full(len(rows), _NOTHING_LEFT)
    partners = np.full(len(rows), -1, np.intp)
    table = iou_table(one.boxes_xyxy[rows], other.boxes_xyxy)
    table[one.classes[rows][:, None] != other.classes[None]] = _NOTHING_LEFT
    table[:, other.scores <= match.other_score] = _NOTHING_LEFT
    for place in range(len(rows)):
        if not table.shape[1]:
            break
        best = int(table[place].argmax())
        if table[place, best] > 0:
            overlaps[place], partners[place] = table[place, best], best
            table[:, best] = _NOTHING_LEFT
    return overlaps, partners


def iou_table(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes, (N, 4) and (M, 4) -> (N, M)."""
    first, second = one.astype(np.float64)[:, None], other.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.clip(sides, 0, None).prod(axis=-1)
    areas = (first[..., 2:] - first[..., :2]).prod(axis=-1) + (second[..., 2:] - second[..., :2]).prod(axis=-1)
    return np.asarray(shared / np.maximum(areas - shared, 1e-9))


def _of_maps(ours: Sequence[Found], theirs: Sequence[Found]) -> Agreement:
    shares: list[float] = []
    for group in range(len(_maps(ours[0]))):
        one = np.concatenate([_maps(found)[group].classes.ravel() for found in ours])
        other = np.concatenate([_maps(found)[group].classes.ravel() for found in theirs])
        for kind in np.unique(one):
            both = np.count_nonzero((one == kind) & (other == kind))
            either = np.count_nonzero((one == kind) | (other == kind))
            shares.append(both / either)
    return Agreement(sum(shares), len(shares))


def _maps(found: Found) -> tuple[ClassMap, ...]:
    assert isinstance(found, SegmentationMap)
    return found.maps
