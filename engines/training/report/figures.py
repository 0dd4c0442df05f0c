"""The plots of a training: how it went step by step, and how good what came of it is."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.plots import curves, svg

_MOST_POINTS = 400  # of a curve; means of as many stretches as that
_NOT_LOSSES = ("step", "rate", "gradient", "images_per_s", "waiting")
_MOST_CLASSES = 12  # whose curves are told apart

Columns = dict[str, NDArray[np.float64]]


def read_columns(file: Path) -> Columns:
    """A CSV file's columns by name; none of one that is not there, and a last line that was cut off is left out."""
    if not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8", errors="replace")
    lines = text[: text.rfind("\n") + 1].splitlines()
    rows = [row for row in csv.reader(lines[1:]) if lines and len(row) == len(lines[0].split(","))]
    if not rows:
        return {}
    table = np.array([[_number(cell) for cell in row] for row in rows])
    return dict(zip(lines[0].split(","), table.T, strict=True))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def course(curve: Columns, validation: Columns) -> list[tuple[str, str]]:
    """Plots of a training's steps with their titles: losses, learning rate, gradient, and what it was worth."""
    plots = []
    if curve:
        losses = [name for name in curve if name not in _NOT_LOSSES]
        plots.append(("Loss", _over_steps(curve, losses, "loss")))
        plots.append(("Learning rate", _over_steps(curve, ["rate"], "")))
        plots.append(("Length of the gradient", _over_steps(curve, ["gradient"], "L2")))
    if validation:
        names = [name for name in validation if name != "step"]
        steps = validation["step"]
        plots.append(
            (
                "On the validation split",
                curves({name: (steps, validation[name]) for name in names[: _MOST_CLASSES + 1]}, "step", "", up=(0, 1)),
            )
        )
    return plots


def _over_steps(columns: Columns, names: Sequence[str], name_y: str) -> str:
    there = [name for name in names if name in columns]
    stretches = np.array_split(np.arange(len(columns["step"])), min(_MOST_POINTS, len(columns["step"])))
    steps = _means(columns["step"], stretches)
    lines = {name: (steps, _means(columns[name], stretches)) for name in there}
    return curves(lines, "step", name_y)


def _means(values: NDArray[np.float64], stretches: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
    return np.array([values[stretch].mean() for stretch in stretches])


def precision_recall(by_class: Mapping[str, NDArray[np.float64]]) -> str:
    """Precision (101,) over recall of each class that has boxes, at IoU 0.5."""
    recalls = np.linspace(0, 1, 101)
    lines = {}
    for name, precision in list(by_class.items())[:_MOST_CLASSES]:
        if not np.isnan(precision).any():
            reached = int(np.flatnonzero(precision).max(initial=0)) + 1  # beyond, a line along the bottom says nothing
            lines[name] = (recalls[:reached], precision[:reached])
    return curves(lines, "recall", "precision", across=(0, 1), up=(0, 1))


def confusion_matrix(table: NDArray[np.int64], names: Sequence[str]) -> str:
    """Rows what is there, columns what was found, shaded by the share of their row; only classes that occur."""
    occurring = np.flatnonzero((table.sum(axis=0) + table.sum(axis=1)) > 0)
    shown = table[np.ix_(occurring, occurring)]
    labels = [[*names, "background"][index] for index in occurring]
    cell, left, top = 46, 120, 74
    parts = []
    for row, (label, counts) in enumerate(zip(labels, shown, strict=True)):
        y = top + row * cell
        parts.append(f'<text x="{left - 8}" y="{y + cell / 2 + 4}" class="end">{escape(label[:16])}</text>')
        x = left + row * cell + cell / 2
        turned = f'transform="rotate(-40 {x} {top - 8})"'
        parts.append(f'<text x="{x}" y="{top - 8}" {turned}>{escape(label[:16])}</text>')
        for column, count in enumerate(counts.tolist()):
            is_nothing = labels[row] == labels[column] == "background"  # nothing, and nothing found, is not counted
            share = count / max(1, int(counts.sum()))
            lightness = 97 - 50 * share
            hue = 145 if row == column else 12
            place = f'x="{left + column * cell}" y="{y}" width="{cell - 2}" height="{cell - 2}"'
            parts.append(f'<rect {place} style="fill:hsl({hue} 45% {lightness:.0f}%)"/>')
            text = "" if is_nothing else str(count)
            parts.append(
                f'<text x="{left + column * cell + cell / 2 - 1}" y="{y + cell / 2 + 4}" class="middle">{text}</text>'
            )
    side = len(labels) * cell
    parts.append('<text x="6" y="16" class="small">rows: what is there; columns: what was found</text>')
    return svg(parts, top + side + 6, max(left + side + 60, 300))
