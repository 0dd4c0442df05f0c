"""Which box is of which object at one score: what is right, missed or false, and what is taken for what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.average_precision import Truths
from engines.results import Detections

SCORE = 0.3  # at which a vehicle shows a box, unless it is told otherwise
MATCH_IOU = 0.5
_IN_CROWD = 0.5  # of a box's area: then it is neither right nor wrong


@dataclass(frozen=True, slots=True)
class Pairing:
    """One image. `truth_of` (N,) of each detection that counts its truth, -1: there is none; `rows` (N,) are those
    detections, `found_by` (M,) of each truth its detection, -1: missed; crowds are -2.
    """

    rows: NDArray[np.intp]
    truth_of: NDArray[np.intp]
    found_by: NDArray[np.intp]


def pair(found: Detections, truths: Truths, score: float = SCORE) -> Pairing:
    """Give each box, the best first, the free truth that it overlaps most, by IoU 0.5 at least, whatever its class.

    Of truths that a box overlaps alike one of its class comes first.
    """
    rows = np.flatnonzero(found.scores >= score)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    shared, areas, wanted = _overlaps(found.boxes_xyxy[rows].astype(np.float64), truths.boxes_xyxy)
    overlaps = shared / np.maximum(areas[:, None] + wanted[None] - shared, 1e-9)
    in_crowd = (shared / np.maximum(areas, 1e-9)[:, None] > _IN_CROWD) & truths.crowd
    found_by = np.where(truths.crowd, -2, -1).astype(np.intp)
    kept, truth_of = [], []
    for number, row in enumerate(rows.tolist()):
        free = (found_by == -1) & (overlaps[number] >= MATCH_IOU)
        if free.any():
            same = truths.classes == found.classes[row]
            best = int(np.where(free, overlaps[number] + 1e-6 * same, -1).argmax())
            found_by[best] = row
        elif in_crowd[number].any():
            continue
        else:
            best = -1
        kept.append(row)
        truth_of.append(best)
    return Pairing(np.array(kept, np.intp), np.array(truth_of, np.intp), found_by)


def _overlaps(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shared areas (N, M) of boxes (N, 4) and (M, 4), and the areas of both."""
    sides = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.clip(sides, 0, None).prod(axis=2), areas[0], areas[1]


def confusion(images: Iterable[tuple[Detections, Truths, Pairing]], classes: int) -> NDArray[np.int64]:
    """Count (classes + 1, classes + 1): rows what is there, columns what was found; the last of each is background."""
    table = np.zeros((classes + 1, classes + 1), np.int64)
    for found, truths, pairing in images:
        kinds = np.where(pairing.truth_of >= 0, truths.classes[pairing.truth_of] if len(truths.classes) else 0, classes)
        np.add.at(table, (kinds, found.classes[pairing.rows]), 1)
        missed = truths.classes[pairing.found_by == -1]
        np.add.at(table, (missed, np.full(len(missed), classes)), 1)
    return table
