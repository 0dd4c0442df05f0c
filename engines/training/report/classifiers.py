"""What a classifier is worth: top-1, how sure it is when it is right, what is taken for what, and pictures."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import BundleError
from engines.plots import curves
from engines.results import Classification, Thresholds
from engines.training.datasets import Mixture
from engines.training.report.figures import confusion_matrix
from engines.training.report.looking import ENGINE, found_and_there
from engines.training.report.parts import SHOWN, Shown, Verdict, figure, pictures, plots, scaled, table

_MOST_CLASSES = 20  # of which it is shown what they are taken for: those that are mixed up most
_SURE = np.linspace(0, 1, 51)  # scores at which it is told how much is left, and how much of that is right


def judged(bundle: Bundle, mixture: Mixture, threads: int) -> Verdict:
    """Judge a bundle by the class of whole pictures. Raises what `found_and_there` raises."""
    truth: list[int] = []
    named: list[tuple[int, float]] = []
    for example, found in found_and_there(bundle, mixture, Thresholds(), threads):
        if not isinstance(found, Classification):
            raise BundleError(str(bundle.folder), "names no whole pictures", "give labelled boxes, or masks")
        truth.append(int(example.category or 0))
        named.append((int(found.classes[0]), float(found.scores[0])))
    there, best = np.array(truth), np.array([kind for kind, _ in named])
    scores = np.array([score for _, score in named])
    return Verdict(_said(mixture, there, best), _details(mixture, there, best, scores))


def _said(mixture: Mixture, truth: NDArray[np.int64], found: NDArray[np.int64]) -> str:
    is_right = truth == found
    rows = [
        (name, int((truth == kind).sum()), figure(float(is_right[truth == kind].mean())))
        for kind, name in enumerate(mixture.classes)
        if (truth == kind).any()
    ]
    rows.append(("all classes", len(truth), figure(float(is_right.mean()))))
    said = f"The averaged weights on {len(truth)} images that were not learnt from, on {ENGINE}."
    return f"<p>{escape(said)}</p>{table(('class', 'images', 'top-1'), rows)}"


def _details(mixture: Mixture, truth: NDArray[np.int64], found: NDArray[np.int64], scores: NDArray[np.float64]) -> str:
    is_right = truth == found
    title = "What is taken for what"
    counts = mixed_up(truth, found, len(mixture.classes))
    if len(mixture.classes) > _MOST_CLASSES:
        title += f": the {_MOST_CLASSES} classes that are mixed up most"
    shown = (
        (title, confusion_matrix(counts, mixture.classes)),
        ("How much is right, and how much is left, of what has this score or more", _by_score(is_right, scores)),
    )
    by_score = np.argsort(-scores, kind="stable")
    worst = [_drawn(mixture, index, truth, found, scores) for index in by_score[~is_right[by_score]][:SHOWN].tolist()]
    best = [_drawn(mixture, index, truth, found, scores) for index in by_score[is_right[by_score]][:SHOWN].tolist()]
    return (
        f"<h2>How good it is</h2>{plots(shown)}"
        f"<h2>The worst predictions</h2><p>Wrong, and surest of it.</p>{pictures(worst, 'Nothing is wrong.')}"
        f"<h2>The best predictions</h2>{pictures(best, 'Nothing is right.')}"
    )


def mixed_up(truth: NDArray[np.int64], found: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts (classes + 1, classes + 1): rows what is there, columns what was found; the last, background, is empty.

    Of more classes than can be shown only those that are mixed up most are counted.
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(counts, (truth, found), 1)
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    left_out = np.argsort(-wrong, kind="stable")[_MOST_CLASSES:]
    counts[left_out], counts[:, left_out] = 0, 0
    return counts


def _by_score(is_right: NDArray[np.bool_], scores: NDArray[np.float64]) -> str:
    left = np.array([scores >= sure for sure in _SURE])
    share_left = left.mean(axis=1)
    right = np.array([is_right[one].mean() if one.any() else np.nan for one in left])
    some = ~np.isnan(right)
    return curves(
        {"right": (_SURE[some], right[some]), "left": (_SURE, share_left)}, "score", "share", across=(0, 1), up=(0, 1)
    )


def _drawn(
    mixture: Mixture,
    index: int,
    truth: NDArray[np.int64],
    found: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> Shown:
    name, there = mixture.classes[found[index]], mixture.classes[truth[index]]
    is_so = "rightly" if name == there else f"is {there}"
    said = f"{mixture.path_of(index).name}: {name} {scores[index]:.2f}, {is_so}"
    return Shown.of(scaled(mixture.read(index).image), said)
