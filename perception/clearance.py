"""What the report of a gate says of a bundle: whether it may go on a vehicle, and with which thresholds.

`gate.json` in a report's folder is read by `run` and by scripts; `perception gate` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydantic
from pydantic import BaseModel, ConfigDict, StrictBool

from engines.results import Thresholds

GATE_FILE = "gate.json"
MOST_BYTES = 64 << 20  # of a file that is believed to be a report; passports are in it


class NotClearedError(ValueError):
    """Why a report does not let a bundle on the vehicle, in words."""


class Postprocessing(BaseModel):
    """With which thresholds a bundle was judged: smallest score of a box, by class where it differs, and NMS."""

    model_config = ConfigDict(frozen=True)

    score: float
    nms: float
    scores_by_class: dict[str, float] = {}

    @staticmethod
    def of(thresholds: Thresholds, labels: Sequence[str]) -> Postprocessing:
        """As people write it: by the classes' names, and only those that differ from the general score."""
        assert thresholds.nms_iou is not None
        by_class = {labels[index]: score for index, score in thresholds.score_by_class if score != thresholds.score}
        return Postprocessing(
            score=thresholds.score, nms=thresholds.nms_iou, scores_by_class=dict(sorted(by_class.items()))
        )

    def __str__(self) -> str:
        """For people."""
        by_class = "".join(f", {name} {score:g}" for name, score in self.scores_by_class.items())
        return f"score {self.score:g}{by_class}, NMS {self.nms:g}"


class _Judged(BaseModel):
    name: str
    sha256: str
    postprocessing: Postprocessing


class _Row(BaseModel):
    figure: str
    measured: str
    limit: str
    passed: StrictBool


class _Report(BaseModel):
    """The part of `gate.json` that is asked here."""

    passed: StrictBool
    candidate: _Judged
    rows: tuple[_Row, ...]


def check_cleared(report: Path, sha256: str, postprocessing: Postprocessing) -> None:
    """Raise `NotClearedError` unless the gate report in a folder passed this very bundle with these thresholds."""
    path = report / GATE_FILE
    try:
        if path.stat().st_size > MOST_BYTES:
            raise NotClearedError(f"{path} is too large for a gate report")
        found = _Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NotClearedError(f"{path} cannot be read ({error.strerror})") from None
    except pydantic.ValidationError:
        raise NotClearedError(f"{path} is no gate report") from None
    if found.candidate.sha256 != sha256:
        raise NotClearedError(
            f"{path} is about another bundle: {found.candidate.name}, hash {found.candidate.sha256[:12]}; "
            f"this one's is {sha256[:12]}"
        )
    failed = next((row for row in found.rows if not row.passed), None)
    if not found.passed or failed:
        why = f": {failed.figure} is {failed.measured}, and the limit is {failed.limit}" if failed else ""
        raise NotClearedError(f"{path} refused this bundle{why}")
    if found.candidate.postprocessing != postprocessing:
        raise NotClearedError(
            f"{path} judged this bundle with {found.candidate.postprocessing}, and here it has {postprocessing}"
        )
