"""What a segmenter is worth: intersection over union, what is taken for what, and pictures with what is wrong."""

from __future__ import annotations

from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.average_precision import mean_of
from engines.bundle import Bundle
from engines.class_accuracy import count_pixels, intersection_over_union
from engines.errors import BundleError
from engines.results import SegmentationMap, Thresholds
from engines.training.datasets import UNLABELLED, Example, Mixture
from engines.training.report.figures import confusion_matrix
from engines.training.report.looking import ENGINE, found_and_there
from engines.training.report.parts import SHOWN, Shown, Verdict, figure, pictures, plots, scaled, table

_WRONG = (60, 60, 235)  # BGR, as the class `red` of the page


def judged(bundle: Bundle, mixture: Mixture, threads: int) -> Verdict:
    """Judge a bundle by masks. Raises what `found_and_there` raises."""
    classes = len(mixture.classes)
    pixels: list[NDArray[np.int64]] = []
    wrong: list[float] = []
    taken_for = np.zeros((classes + 1, classes + 1), np.int64)
    maps: list[NDArray[np.uint8]] = []
    for example, found in found_and_there(bundle, mixture, Thresholds(), threads):
        if not isinstance(found, SegmentationMap):
            raise BundleError(str(bundle.folder), "gives no masks", "give labelled boxes, or images by class")
        maps.append(found.maps[0].classes)
        seen, there = compared(example, maps[-1])
        pixels.append(count_pixels(seen, there, classes))
        known = there >= 0
        np.add.at(taken_for, (there[known], seen[known]), 1)
        wrong.append(float((seen != there)[known].mean()) if known.any() else 0.0)
    counts = np.stack(pixels)
    order = np.argsort(wrong, kind="stable").tolist()
    worst = [index for index in order[::-1] if wrong[index]][:SHOWN]
    best = [index for index in order if index not in worst][:SHOWN]
    drawn_worst, drawn_best = (
        [_drawn(mixture, index, maps[index], counts[index], wrong[index]) for index in chosen]
        for chosen in (worst, best)
    )
    matrix = confusion_matrix(in_percent(taken_for), mixture.classes)
    details = (
        f"<h2>How good it is</h2>{plots([('What is taken for what, in % of what is there', matrix)])}"
        '<h2>The worst predictions</h2><p><span class="red">red</span>: wrong</p>'
        f"{pictures(drawn_worst, 'Nothing is wrong.')}"
        f"<h2>The best predictions</h2>{pictures(drawn_best, 'There are no others.')}"
    )
    return Verdict(_said(mixture, counts), details)


def _said(mixture: Mixture, pixels: NDArray[np.int64]) -> str:
    shares, wanted = intersection_over_union(pixels.sum(axis=0)), pixels[:, :, 2].sum(axis=0)
    rows = [
        (name, f"{count:,}", figure(share))
        for name, count, share in zip(mixture.classes, wanted.tolist(), shares.tolist(), strict=True)
        if count
    ]
    rows.append(("all classes", f"{int(wanted.sum()):,}", figure(mean_of(shares))))
    said = f"The averaged weights on {len(pixels)} images that were not learnt from, on {ENGINE}."
    return f"<p>{escape(said)}</p>{table(('class', 'pixels', 'IoU'), rows)}"


def compared(example: Example, found: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What was found, the nearest pixel each, and what is there, both at the mask's size; -1: nobody labelled it."""
    assert example.mask is not None
    size = example.mask.shape[1], example.mask.shape[0]
    seen = cv2.resize(found, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int64)
    return seen, np.where(example.mask == UNLABELLED, -1, example.mask.astype(np.int64))


def in_percent(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row's shares of a hundred."""
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray(shares.round().astype(np.int64))


def _drawn(mixture: Mixture, index: int, found: NDArray[np.uint8], pixels: NDArray[np.int64], wrong: float) -> Shown:
    example = mixture.read(index)
    seen, there = compared(example, found)
    canvas = scaled(example.image)
    is_wrong = ((seen != there) & (there >= 0)).astype(np.uint8)
    height, width = canvas.shape[:2]
    tinted = cv2.resize(is_wrong, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    canvas[tinted] = (0.45 * canvas[tinted] + 0.55 * np.array(_WRONG)).astype(np.uint8)
    said = f"mean IoU {figure(mean_of(intersection_over_union(pixels)))}, {wrong:.1%} of the pixels wrong"
    return Shown.of(canvas, f"{mixture.path_of(index).name}: {said}")
