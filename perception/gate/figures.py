"""What two networks agree in, class by class, summed up over all frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perception.gate.matching import FrameMatch

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class, or all of them. Shares are 1 and means None where there is nothing to take them of."""

    baseline: int  # sure boxes of the baseline
    candidate: int
    found: int  # of the baseline's, those that the candidate finds
    known: int  # of the candidate's, those that the baseline finds
    score_shift: float | None
    mean_iou: float | None

    @property
    def recall(self) -> float:
        """Share of the baseline's boxes that the candidate finds."""
        return self.found / self.baseline if self.baseline else 1.0

    @property
    def precision(self) -> float:
        """Share of the candidate's boxes that the baseline finds."""
        return self.known / self.candidate if self.candidate else 1.0

    @property
    def match_rate(self) -> float:
        """Share of both sides' boxes that have a partner."""
        total = self.baseline + self.candidate
        return (self.found + self.known) / total if total else 1.0


@dataclass(slots=True)
class Figures:
    """Sums over frames, by class; `names` are the classes of both sides."""

    names: Sequence[str]
    boxes: list[int] = field(default_factory=lambda: [0, 0])  # all of them, of the baseline and the candidate
    doubles: list[int] = field(default_factory=lambda: [0, 0])
    _counts: Counts = field(init=False)  # (4, classes): baseline, candidate, found, known
    _partners: list[NDArray[np.float64]] = field(default_factory=list)  # (M, 4): class, both scores, IoU

    def __post_init__(self) -> None:
        self._counts = np.zeros((4, len(self.names)), np.int64)

    def add(self, frame: FrameMatch) -> None:
        """Take in one frame on which both sides answered."""
        one, other = frame.baseline, frame.candidate
        for row, (seen, chosen) in enumerate(
            (
                (one, one.sure),
                (other, other.sure),
                (one, one.sure & ~frame.only_baseline),
                (other, other.sure & ~frame.only_candidate),
            )
        ):
            self._counts[row] += np.bincount(seen.found.classes[chosen], minlength=len(self.names))
        for side, seen in enumerate((one, other)):
            self.boxes[side] += len(seen.found)
            self.doubles[side] += int(seen.doubles.sum())
        self._partners.append(
            np.column_stack(
                (
                    one.found.classes[frame.baseline_rows],
                    one.found.scores[frame.baseline_rows],
                    other.found.scores[frame.candidate_rows],
                    frame.overlaps,
                )
            )
        )

    @property
    def partners(self) -> NDArray[np.float64]:
        """Every pair, (M, 4): class, the baseline's score, the candidate's, IoU."""
        return np.concatenate(self._partners) if self._partners else np.empty((0, 4))

    @property
    def all_classes(self) -> ClassFigures:
        """All classes together."""
        return _figures(self._counts.sum(axis=1), self.partners)

    def per_class(self) -> dict[str, ClassFigures]:
        """By name: the classes of which either side found anything."""
        partners = self.partners
        return {
            name: _figures(self._counts[:, index], partners[partners[:, 0] == index])
            for index, name in enumerate(self.names)
            if self._counts[:, index].any()
        }

    def share_of_doubles(self) -> tuple[float, float]:
        """Of all boxes of the baseline, and of the candidate."""
        one, other = (
            doubles / boxes if boxes else 0.0 for doubles, boxes in zip(self.doubles, self.boxes, strict=True)
        )
        return one, other


def _figures(counts: Counts, partners: NDArray[np.float64]) -> ClassFigures:
    baseline, candidate, found, known = (int(count) for count in counts)
    shift = float((partners[:, 2] - partners[:, 1]).mean()) if len(partners) else None
    closeness = float(partners[:, 3].mean()) if len(partners) else None
    return ClassFigures(baseline, candidate, found, known, shift, closeness)
