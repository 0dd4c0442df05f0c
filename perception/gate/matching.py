"""What two networks found on one frame, box by box: who has a partner on the other side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.results import Detections
from perception.tracking.partners import partners
from perception.tracking.tracker import iou

Mask = NDArray[np.bool_]

_EXCUSED_HARM = 0.1  # of a box's score: it counts for no figure, and a frame with nothing else comes last


@dataclass(frozen=True, slots=True)
class Seen:
    """What one side found on a frame. Classes are indexes into names that both sides share.

    `sure` (N,): boxes whose score is clear of the threshold; `doubles` (N,): those that overlap a better box of their
    class.
    """

    found: Detections
    sure: Mask
    doubles: Mask


@dataclass(frozen=True, slots=True)
class FrameMatch:
    """One frame's partners: rows of the baseline's boxes and of the candidate's, (M,) each, and their IoU.

    `could_match` (boxes of the baseline, of the candidate): who is of one class and overlaps enough.
    """

    baseline: Seen
    candidate: Seen
    baseline_rows: NDArray[np.intp]
    candidate_rows: NDArray[np.intp]
    overlaps: NDArray[np.float64]
    could_match: Mask

    @property
    def only_baseline(self) -> Mask:
        """Which of the baseline's boxes have no partner, (N,)."""
        return _without(len(self.baseline.found), self.baseline_rows)

    @property
    def only_candidate(self) -> Mask:
        """Which of the candidate's boxes have no partner, (M,)."""
        return _without(len(self.candidate.found), self.candidate_rows)

    @property
    def excused(self) -> tuple[Mask, Mask]:
        """Of each side, the boxes without a partner that count for nothing: their score is near the threshold."""
        return self.only_baseline & ~self.baseline.sure, self.only_candidate & ~self.candidate.sure

    @property
    def missed(self) -> int:
        """Sure boxes of the baseline that the candidate does not find."""
        return int((self.only_baseline & self.baseline.sure).sum())

    @property
    def added(self) -> int:
        """Sure boxes of the candidate that the baseline does not find."""
        return int((self.only_candidate & self.candidate.sure).sum())

    @property
    def harm(self) -> float:
        """How much the two differ: the scores of what only one has, and what the partners' boxes and scores moved."""
        one, other = self.baseline.found, self.candidate.found
        alone = sum(
            float(side.found.scores[only].sum() - (1 - _EXCUSED_HARM) * side.found.scores[only & ~side.sure].sum())
            for side, only in ((self.baseline, self.only_baseline), (self.candidate, self.only_candidate))
        )
        moved = (1 - self.overlaps).sum() + np.abs(
            one.scores[self.baseline_rows] - other.scores[self.candidate_rows]
        ).sum()
        return float(alone + moved)


def match(baseline: Seen, candidate: Seen, match_iou: float) -> FrameMatch:
    """Pair the boxes of both sides, as `partners` does."""
    return FrameMatch(baseline, candidate, *partners(baseline.found, candidate.found, match_iou))


def doubles(found: Detections, double_iou: float) -> Mask:
    """Which boxes overlap a better one of their class by more than `double_iou`, (N,). Best score first."""
    if not len(found):
        return np.zeros(0, np.bool_)
    boxes = found.boxes_xyxy.astype(np.float64)
    overlaps = np.tril(iou(boxes, boxes) * (found.classes[:, None] == found.classes[None]), -1)
    over: Mask = overlaps.max(axis=1) > double_iou
    return over


def _without(count: int, rows: NDArray[np.intp]) -> Mask:
    alone = np.ones(count, np.bool_)
    alone[rows] = False
    return alone
