"""Boxes and their names drawn on pictures: what people look at, in a video, on a sheet, in a report."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]  # B, G, R

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PIXELS = 21  # cap height of that font at scale 1


def draw_box(
    canvas: NDArray[np.uint8],
    box_xyxy: NDArray[np.floating],
    text: str,
    colour: Colour,
    text_pixels: float,
    *,
    is_dashed: bool = False,
) -> None:
    """Draw a frame around a box, in pixels of the canvas, and its name on top of it."""
    left, top, right, bottom = (round(float(edge)) for edge in box_xyxy)
    thickness = max(2, round(text_pixels / 8))
    if is_dashed:
        _dashed_rectangle(canvas, (left, top, right, bottom), colour, thickness, max(4, round(text_pixels / 2)))
    else:
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
    draw_text(canvas, text, left, top, colour, text_pixels)


def _dashed_rectangle(
    canvas: NDArray[np.uint8], corners: tuple[int, int, int, int], colour: Colour, thickness: int, dash: int
) -> None:
    """With dashes and spaces of `dash` pixels; each side begins with a dash, so that a small box is seen too."""
    left, top, right, bottom = corners
    for x in range(left, right + 1, 2 * dash):
        for y in (top, bottom):
            cv2.line(canvas, (x, y), (min(x + dash, right), y), colour, thickness, cv2.LINE_AA)
    for y in range(top, bottom + 1, 2 * dash):
        for x in (left, right):
            cv2.line(canvas, (x, y), (x, min(y + dash, bottom)), colour, thickness, cv2.LINE_AA)


def draw_text(canvas: NDArray[np.uint8], text: str, left: int, bottom: int, colour: Colour, text_pixels: float) -> None:
    """Write on a plate of `colour`, whose lower left corner is given; moved to lie inside the image."""
    scale = text_pixels / _FONT_PIXELS
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    plate_height, plate_width = height + baseline + 2, width + 6
    left = max(0, min(left, canvas.shape[1] - plate_width))
    bottom = min(max(bottom, plate_height), canvas.shape[0])
    cv2.rectangle(canvas, (left, bottom - plate_height), (left + plate_width, bottom), colour, cv2.FILLED)
    luminance = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    ink = (0, 0, 0) if luminance > 110 else (255, 255, 255)
    cv2.putText(canvas, text, (left + 3, bottom - baseline), _FONT, scale, ink, 1, cv2.LINE_AA)
