"""Contact sheets of what was mined: each frame with its boxes and, below it, why it was taken."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.drawing import Colour, draw_box, draw_text
from perception.mining.disagreement import DISAGREEMENT
from perception.mining.flicker import FLICKER
from perception.mining.looked import Finding
from perception.mining.low_confidence import LOW_CONFIDENCE
from perception.mining.mining import Pick

CELLS = 48  # of a sheet; more frames make more sheets
_ACROSS = 4
_WIDTH = 480  # pixels of a picture
_LINE, _GAP = 20, 6  # pixels of a line below it, and between two
_MOST_LINES = 4
_TEXT_PIXELS = 10.0
_BACK, _PLATE = 24, (24, 24, 24)
_LABEL: Colour = (110, 190, 90)  # green
COLOURS: dict[str, Colour] = {  # B, G, R
    FLICKER: (0, 160, 255),  # orange
    LOW_CONFIDENCE: (80, 235, 255),  # yellow
    DISAGREEMENT: (70, 70, 250),  # red
}


def cell(image: NDArray[np.uint8], pick: Pick, names: Sequence[str]) -> NDArray[np.uint8]:
    """One frame (H, W, 3) BGR with its pseudo-labels in green and its findings in their reasons' colours."""
    scale = _WIDTH / image.shape[1]
    height = max(1, round(image.shape[0] * scale))
    canvas = np.full((height + _LINE * _MOST_LINES, _WIDTH, 3), _BACK, np.uint8)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    drawn = canvas[:height]
    drawn[:] = cv2.resize(image, (_WIDTH, height), interpolation=way)
    for box in pick.labels.boxes_xyxy * scale:
        left, top, right, bottom = np.rint(box).astype(int).tolist()
        cv2.rectangle(drawn, (left, top), (right, bottom), _LABEL, 1)
    for finding in sorted(pick.candidate.findings, key=lambda finding: finding.weight):
        left, top, right, bottom = np.rint(finding.box_xyxy * scale).astype(int).tolist()
        cv2.rectangle(drawn, (left, top), (right, bottom), COLOURS[finding.reason], 1)
    for reason in reversed(pick.candidate.reasons):  # names of all would cover what they name
        finding = _weightiest(pick, reason)
        text = f"{names[finding.kind]} {finding.score:.2f}"
        draw_box(drawn, finding.box_xyxy * scale, text, COLOURS[reason], _TEXT_PIXELS)
    lines = [(f"{pick.stem} ({pick.split}, {len(pick.labels)} labels)", _PLATE), *_reasons(pick, names)]
    for row, (text, colour) in enumerate(lines[:_MOST_LINES], 1):
        draw_text(canvas, text, 0, height + row * _LINE, colour, _TEXT_PIXELS)
    return canvas


def _reasons(pick: Pick, names: Sequence[str]) -> list[tuple[str, Colour]]:
    """A line a reason, in its colour, with its weightiest box in words."""
    lines = []
    for reason in pick.candidate.reasons:
        of_reason = [finding for finding in pick.candidate.findings if finding.reason == reason]
        first = _weightiest(pick, reason)
        more = f", and {len(of_reason) - 1} more" if len(of_reason) > 1 else ""
        lines.append((f"{reason}: {names[first.kind]} {first.score:.2f} {first.why}{more}", COLOURS[reason]))
    return lines


def _weightiest(pick: Pick, reason: str) -> Finding:
    of_reason = [finding for finding in pick.candidate.findings if finding.reason == reason]
    return max(of_reason, key=lambda finding: finding.weight)


def sheet(cells: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Cells beside and below each other (H, W, 3); rows are as high as their highest."""
    across = min(_ACROSS, len(cells))
    rows = [cells[first : first + across] for first in range(0, len(cells), across)]
    heights = [max(one.shape[0] for one in row) + _GAP for row in rows]
    canvas = np.full((sum(heights), across * (_WIDTH + _GAP), 3), _BACK, np.uint8)
    for top, row in zip(np.cumsum([0, *heights[:-1]]).tolist(), rows, strict=True):
        for column, one in enumerate(row):
            left = column * (_WIDTH + _GAP)
            canvas[top : top + one.shape[0], left : left + _WIDTH] = one
    return canvas
