"""What a detector is worth: average precision, what is taken for what, and pictures with their boxes."""

from __future__ import annotations

from html import escape

from engines.bundle import Bundle
from engines.training.datasets import Mixture
from engines.training.report.confusion import SCORE, confusion, pair
from engines.training.report.figures import confusion_matrix, precision_recall
from engines.training.report.judging import Judged, judge
from engines.training.report.parts import Verdict, figure, pictures, plots, table
from engines.training.report.pictures import best_and_worst


def judged(bundle: Bundle, mixture: Mixture, threads: int) -> Verdict:
    """Judge a bundle by boxes. Raises what `judge` raises."""
    found = judge(bundle, mixture, threads=threads)
    return Verdict(_said(found), _details(found))


def _said(judged: Judged) -> str:
    names = judged.mixture.classes
    figures = [(figure(row[0]), figure(row.mean())) for row in judged.ap]
    rows = [(name, boxes, *two) for name, boxes, two in zip(names, judged.boxes(), figures, strict=True) if boxes]
    rows.append(("all classes", sum(judged.boxes()), figure(judged.ap50), figure(judged.map)))
    said = f"The averaged weights on {len(judged.truths)} images that were not learnt from, on {judged.engine}."
    return f"<p>{escape(said)}</p>{table(('class', 'boxes', 'AP50', 'AP50-95'), rows)}"


def _details(judged: Judged) -> str:
    pairings = [pair(found, truths) for found, truths in zip(judged.detections, judged.truths, strict=True)]
    names = judged.mixture.classes
    counts = confusion(zip(judged.detections, judged.truths, pairings, strict=True), len(names))
    best, worst = best_and_worst(judged, pairings)
    shown = (
        ("Precision and recall by class, at IoU 0.5", precision_recall(dict(zip(names, judged.curves, strict=True)))),
        (f"What is taken for what, at a score of {SCORE:g}", confusion_matrix(counts, names)),
    )
    legend = (
        '<p><span class="green">green</span>: right; <span class="orange">orange</span>: false, or of another class; '
        '<span class="red">red</span>: missed</p>'
    )
    return (
        f"<h2>How good it is</h2>{plots(shown)}"
        f"<h2>The worst predictions</h2>{legend}{pictures(worst, 'Nothing is missed and nothing is false.')}"
        f"<h2>The best predictions</h2>{pictures(best, 'Nothing is right.')}"
    )
