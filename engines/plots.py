"""The parts of plots, drawn as SVG that stands in a page: axes, curves, a legend. `page.STYLE` has their colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40  # around the axes

_NAMES_ACROSS, _NAME_HEIGHT = 4, 16  # of the names below curves

Place = Callable[[float], float]
Range = tuple[float, float]


def axes(across: Range, up: Range, name_x: str, name_y: str) -> tuple[Place, Place, list[str]]:
    """Place values between both ends of two axes; the axes, with five ticks each. An empty range is widened."""
    across, up = _wide(across), _wide(up)

    def x(value: float) -> float:
        return LEFT + (value - across[0]) / (across[1] - across[0]) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - up[0]) / (up[1] - up[0]) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for number, value in enumerate(np.linspace(*across, 5)):
        where = "end" if number == 4 else "middle"  # the last one would stand half outside
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 14}" class="{where} small">{_tick(value)}</text>')
    for value in np.linspace(*up, 5):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y(value) + 4:.1f}" class="end small">{_tick(abs(value))}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" class="middle">{escape(name_x)}</text>')
    turned = f'transform="rotate(-90 12 {middle})"'
    parts.append(f'<text x="12" y="{middle}" class="middle" {turned}>{escape(name_y)}</text>')
    return x, y, parts


def _tick(value: float) -> str:
    """Three digits, in no more letters than there is room for."""
    if 1000 <= abs(value) < 1_000_000:
        return f"{value:,.0f}"  # 3,750 steps
    text = f"{value:.3g}"
    return text if len(text) <= 6 else f"{value:.1e}".replace("e-0", "e-")


def _wide(ends: Range) -> Range:
    return ends if ends[1] > ends[0] else (ends[0], ends[0] + 1)


def legend(entries: Sequence[tuple[str, str]]) -> list[str]:
    """In the lower right corner, a patch and a name each: (class of the style, name)."""
    parts = []
    for index, (kind, name) in enumerate(entries):
        top = HEIGHT - BOTTOM - 12 - 14 * (len(entries) - 1 - index)
        parts.append(f'<rect x="{WIDTH - 140}" y="{top - 8}" width="9" height="9" class="{kind}"/>')
        parts.append(f'<text x="{WIDTH - 126}" y="{top}" class="small">{escape(name)}</text>')
    return parts


def svg(parts: Sequence[str], height: int = HEIGHT, width: int = WIDTH) -> str:
    """The parts as a picture of that size, scaled to the room that the page gives it."""
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def colour(index: int) -> str:
    """One of many, far from its neighbours, dark enough for white paper."""
    golden_angle = 137.508  # degrees
    return f"hsl({(215 + index * golden_angle) % 360:.0f} 65% 42%)"


def curves(
    lines: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    name_x: str,
    name_y: str,
    *,
    across: Range | None = None,
    up: Range | None = None,
) -> str:
    """Lines by name, each of x (N,) and y (N,); what is no number is left out. The ranges fit what is there.

    Where there are several, their names stand below.
    """
    there = {name: (x[ok], y[ok]) for name, (x, y) in lines.items() for ok in [np.isfinite(x) & np.isfinite(y)]}
    all_x, all_y = (np.concatenate([*(line[axis] for line in there.values()), np.empty(0)]) for axis in (0, 1))
    across = across or (float(all_x.min(initial=np.inf)), float(all_x.max(initial=-np.inf)))
    up = up or (min(0.0, float(all_y.min(initial=0))), float(all_y.max(initial=-np.inf)))
    if not (np.isfinite(across).all() and np.isfinite(up).all()):
        across = up = (0.0, 1.0)
    place_x, place_y, parts = axes(across, up, name_x, name_y)
    for index, (x, y) in enumerate(there.values()):
        points = " ".join(f"{place_x(a):.1f},{place_y(b):.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<polyline points="{points}" class="curve" style="stroke:{colour(index)}"/>')
        if len(x) == 1:  # a line of one point is not seen
            dot = f'cx="{place_x(x[0]):.1f}" cy="{place_y(y[0]):.1f}" r="3"'
            parts.append(f'<circle {dot} style="fill:{colour(index)}"/>')
    names = list(there) if len(there) > 1 else []
    for index, name in enumerate(names):
        left, low = LEFT + index % _NAMES_ACROSS * 100, HEIGHT + _NAME_HEIGHT * (index // _NAMES_ACROSS + 1) - 4
        parts.append(f'<rect x="{left}" y="{low - 8}" width="9" height="9" style="fill:{colour(index)}"/>')
        parts.append(f'<text x="{left + 14}" y="{low}" class="small">{escape(name[:16])}</text>')
    return svg(parts, HEIGHT + _NAME_HEIGHT * -(-len(names) // _NAMES_ACROSS))
