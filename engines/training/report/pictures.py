"""The best and the worst predictions, drawn: what a network is good at, and what it still has to learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.average_precision import Truths
from engines.drawing import Colour, draw_box
from engines.results import Detections
from engines.training.report.confusion import SCORE, Pairing
from engines.training.report.judging import Judged
from engines.training.report.parts import SHOWN, Shown, scaled

_TEXT_PIXELS = 12.0
_RIGHT: Colour = (110, 190, 90)  # green
_FALSE: Colour = (0, 150, 240)  # orange: there is no such thing
_MISSED: Colour = (50, 50, 240)  # red


def best_and_worst(judged: Judged, pairings: Sequence[Pairing]) -> tuple[list[Shown], list[Shown]]:
    """Pictures on which most was found without an error, and those with the most errors; none is both.

    An error is a missed object, or the score of a box that is false or of another class.
    """
    errors, rights = [], []
    for found, truths, pairing in zip(judged.detections, judged.truths, pairings, strict=True):
        is_right = _is_right(found, truths, pairing)
        errors.append(float(found.scores[pairing.rows[~is_right]].sum() + (pairing.found_by == -1).sum()))
        rights.append(int(is_right.sum()))
    order = range(len(errors))
    worst = [index for index in sorted(order, key=lambda index: (-errors[index], index)) if errors[index]][:SHOWN]
    best = sorted(order, key=lambda index: (errors[index], -rights[index], index))
    best = [index for index in best if rights[index] and index not in worst][:SHOWN]
    shown_best, shown_worst = ([_drawn(judged, index, pairings[index]) for index in chosen] for chosen in (best, worst))
    return shown_best, shown_worst


def _is_right(found: Detections, truths: Truths, pairing: Pairing) -> NDArray[np.bool_]:
    """Of the boxes that count, (N,)."""
    right = pairing.truth_of >= 0
    right[right] = truths.classes[pairing.truth_of[right]] == found.classes[pairing.rows[right]]
    return right


def _drawn(judged: Judged, index: int, pairing: Pairing) -> Shown:
    names = judged.mixture.classes
    found, truths = judged.detections[index], judged.truths[index]
    image = judged.mixture.read(index).image
    canvas = scaled(image)
    scale = canvas.shape[1] / image.shape[1]
    missed = np.flatnonzero(pairing.found_by == -1)
    for row in missed.tolist():
        draw_box(canvas, truths.boxes_xyxy[row] * scale, names[truths.classes[row]], _MISSED, _TEXT_PIXELS)
    is_right = _is_right(found, truths, pairing)
    for row, right in reversed(list(zip(pairing.rows.tolist(), is_right.tolist(), strict=True))):  # the best on top
        text = f"{names[found.classes[row]]} {found.scores[row]:.2f}"
        draw_box(canvas, found.boxes_xyxy[row] * scale, text, _RIGHT if right else _FALSE, _TEXT_PIXELS)
    words = f"{int(is_right.sum())} found, {len(missed)} missed, {int((~is_right).sum())} false at a score of {SCORE:g}"
    return Shown.of(canvas, f"{judged.mixture.path_of(index).name}: {words}")
