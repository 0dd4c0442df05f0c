"""The plots of a report, drawn as SVG that stands in the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from engines.plots import HEIGHT, WIDTH, axes, legend, svg
from perception.gate.figures import ClassFigures
from perception.gate.latency import Latencies
from perception.gate.thresholds import GateThresholds

_MOST_POINTS = 1500  # of a cloud; more only make the file larger
_MOST_BINS = 220  # of the timeline
_MOST_CLASSES = 24


def class_bars(per_class: Mapping[str, ClassFigures], thresholds: GateThresholds) -> str:
    """Recall and precision of each class, the most frequent first, with a line where each has its limit."""
    most = sorted(per_class.items(), key=lambda item: -max(item[1].baseline, item[1].candidate))[:_MOST_CLASSES]
    row, left = 34, 150
    height = row * len(most) + 30
    span = WIDTH - left - 50
    limits = {"recall": thresholds.min_class_recall, "precision": thresholds.min_class_precision}
    parts = []
    for index, (name, figures) in enumerate(most):
        top = row * index
        label = f"{name[:16]} ({figures.baseline})"
        parts.append(f'<text x="{left - 8}" y="{top + 20}" class="end">{escape(label)}</text>')
        shares = {"recall": figures.recall, "precision": figures.precision}
        counts = {"recall": figures.baseline, "precision": figures.candidate}
        for place, (kind, share) in enumerate(shares.items()):
            if not counts[kind]:
                continue
            is_bad = share < limits[kind] and counts[kind] >= thresholds.min_class_boxes
            y = top + 5 + 12 * place
            state = "bad" if is_bad else kind
            parts.append(f'<rect x="{left}" y="{y}" width="{span * share:.1f}" height="10" class="{state}"/>')
            parts.append(f'<text x="{left + span * share + 4:.1f}" y="{y + 9}" class="small">{share:.2f}</text>')
    for limit in sorted(set(limits.values())):
        x = left + span * limit
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{row * len(most)}" class="limit"/>')
    caption = f"recall above, precision below; dashed: limits; {len(most)} of {len(per_class)} classes"
    parts.append(f'<text x="{WIDTH - 20}" y="{height - 8}" class="small end">{caption}</text>')
    return svg(parts, height)


def mask_bars(per_class: Mapping[str, tuple[float, float]], least: float) -> str:
    """Intersection over union of each class, with its share of the pixels and a line where the limit is."""
    row, left = 24, 190
    height = row * len(per_class) + 30
    span = WIDTH - left - 50
    parts = []
    for index, (name, (iou, share)) in enumerate(per_class.items()):
        top = row * index
        label = f"{name[:24]} ({share:.1%})"
        state = "bad" if iou < least else "recall"
        parts.append(f'<text x="{left - 8}" y="{top + 16}" class="end">{escape(label)}</text>')
        parts.append(f'<rect x="{left}" y="{top + 4}" width="{span * iou:.1f}" height="14" class="{state}"/>')
        parts.append(f'<text x="{left + span * iou + 4:.1f}" y="{top + 15}" class="small">{iou:.3f}</text>')
    x = left + span * least
    parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{row * len(per_class)}" class="limit"/>')
    legend = "in brackets: share of the baseline's pixels; dashed: limit"
    parts.append(f'<text x="{WIDTH - 20}" y="{height - 8}" class="small end">{legend}</text>')
    return svg(parts, height)


def changed_pixels(by_group: Mapping[str, Sequence[float]]) -> str:
    """The share of pixels that changed, along the drives: a line a group, the largest of each stretch of frames."""
    most = max(max(shares) for shares in by_group.values()) or 1e-3
    frames = max(len(shares) for shares in by_group.values())
    x, y, parts = axes((0, frames), (0, most), "frame", "share of pixels")
    kinds = tuple(("baseline", "candidate")[number % 2] for number in range(len(by_group)))
    for shares, kind in zip(by_group.values(), kinds, strict=True):
        stretches = np.array_split(np.array(shares), min(_MOST_BINS, len(shares)))
        ends = np.cumsum([len(stretch) for stretch in stretches])
        points = zip(ends, (stretch.max() for stretch in stretches), strict=True)
        path = " ".join(f"{x(frame):.1f},{y(share):.1f}" for frame, share in points)
        parts.append(f'<polyline points="{path}" class="curve {kind}"/>')
    parts += legend(tuple(zip(kinds, by_group, strict=True)))
    return svg(parts, HEIGHT)


def score_cloud(partners: NDArray[np.float64]) -> str:
    """The scores of boxes that both sides found: the candidate's over the baseline's, with the diagonal."""
    x, y, parts = axes((0, 1), (0, 1), "score by the baseline", "by the candidate")
    parts.append(f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" class="limit"/>')
    step = max(1, -(-len(partners) // _MOST_POINTS))
    parts += [
        f'<circle cx="{x(one):.1f}" cy="{y(other):.1f}" r="2" class="point"/>' for _, one, other, _ in partners[::step]
    ]
    return svg(parts, HEIGHT)


def latency_curves(latencies: Latencies) -> str:
    """The share of frames that were done within a time, for either side."""
    sides = [np.sort(np.array(times)) / 1e6 for times in (latencies.baseline_ns, latencies.candidate_ns)]
    longest = max(float(np.percentile(times, 99.5)) for times in sides) * 1.15
    x, y, parts = axes((0, longest), (0, 1), "ms for a frame", "share of frames")
    for times, kind in zip(sides, ("baseline", "candidate"), strict=True):
        shares = np.linspace(0, 1, 101)
        points = zip(np.quantile(times, shares), shares, strict=True)
        path = " ".join(f"{x(min(time, longest)):.1f},{y(share):.1f}" for time, share in points)
        parts.append(f'<polyline points="{path}" class="curve {kind}"/>')
    parts += legend((("baseline", "baseline"), ("candidate", "candidate")))
    return svg(parts, HEIGHT)


def timeline(differences: Sequence[tuple[int, int]]) -> str:
    """Boxes a frame that only one side has, along the drives: the baseline's upwards, the candidate's downwards."""
    table = np.array(differences, np.float64).reshape(-1, 2)
    bins = np.array_split(table, min(_MOST_BINS, len(table)))
    means = np.array([part.mean(axis=0) for part in bins])
    most = max(1.0, float(means.max()))
    x, y, parts = axes((0, len(table)), (-most, most), "frame", "boxes alone")
    width = (x(len(table)) - x(0)) / len(bins)
    for index, (missed, added) in enumerate(means):
        left = x(0) + index * width
        for amount, kind in ((missed, "baseline"), (-added, "candidate")):
            top, bottom = sorted((y(0), y(amount)))
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(width, 0.8):.2f}" height="{bottom - top:.1f}" '
                f'class="{kind}"/>'
            )
    parts += legend((("baseline", "only the baseline"), ("candidate", "only the candidate")))
    return svg(parts, HEIGHT)
