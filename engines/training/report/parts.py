"""What the page is put together of: tables, figures, rows of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.page import picture

SHOWN = 8  # pictures of each kind
_WIDTH = 440  # pixels of a picture on the page
_QUALITY = 82  # of JPEG


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a network is worth, as HTML: `said` at the top of the page, `details` further down."""

    said: str
    details: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as JPEG, and in words what is on it."""

    jpeg: bytes
    caption: str

    @staticmethod
    def of(canvas: NDArray[np.uint8], caption: str) -> Shown:
        """Of an image (H, W, 3) BGR."""
        return Shown(bytes(cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]), caption)


def scaled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 3) at the width that the page shows; a copy that may be drawn on."""
    factor = _WIDTH / image.shape[1]
    size = (_WIDTH, max(1, round(image.shape[0] * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.array(cv2.resize(image, size, interpolation=way), np.uint8)


def plots(titled: Iterable[tuple[str, str]]) -> str:
    """Plots (title, SVG) side by side."""
    figures = "".join(f"<figure><h3>{escape(name)}</h3>{plot}</figure>" for name, plot in titled)
    return f'<div class="plots">{figures}</div>'


def pictures(shown: Sequence[Shown], otherwise: str) -> str:
    """Pictures in rows, or why there are none."""
    if not shown:
        return f"<p>{otherwise}</p>"
    return f'<div class="pictures">{"".join(picture(one.jpeg, one.caption) for one in shown)}</div>'


def table(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A table of plain cells."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def figure(value: float) -> str:
    """A share to three digits; of what is not there a dash."""
    return "-" if np.isnan(value) else f"{value:.3f}"
