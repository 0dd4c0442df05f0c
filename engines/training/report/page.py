"""The page itself: `report.html` in a training's folder, there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from engines.bundle import Bundle
from engines.datasets.licences import licences_of
from engines.errors import TrainingError
from engines.page import picture, whole_page
from engines.training import checkpoint
from engines.training.datasets import Labels, Mixture
from engines.training.log import CURVE, VALIDATION
from engines.training.report.confusion import SCORE, confusion, pair
from engines.training.report.figures import confusion_matrix, course, precision_recall, read_columns
from engines.training.report.judging import Judged, judge
from engines.training.report.pictures import Shown, best_and_worst
from engines.training.tasks import task_of
from sensors.errors import EdgePerceptionError

REPORT = "report.html"
_NOT_JUDGED = "no images to judge by were named: `perception engine report RUN --data DATA --split val` judges it."


def write_report(
    folder: Path,
    bundle: Bundle,
    validation: Mixture | None,
    learnt_from: Mixture | None = None,
    *,
    threads: int = 1,
) -> Path:
    """Write the page of the training in `folder`, whose checkpoint `bundle` was made of; give its file.

    `validation`: the images that it is judged on; `learnt_from`: whose licences are told. What cannot be judged is
    told on the page. Raises `TrainingError` where there is no checkpoint or the page cannot be written.
    """
    state = checkpoint.load(folder / checkpoint.CHECKPOINT)
    judged: Judged | None = None
    why = _NOT_JUDGED
    task = task_of(state["recipe"]["network"])
    if task.labels is not Labels.BOXES:
        command = f"perception engine evaluate {folder}/bundle DATA"
        why = f"this page judges detectors; of a {task.name} `{command}` tells {task.measure}"
    elif validation is not None:
        try:
            judged = judge(bundle, validation, threads=threads)
        except EdgePerceptionError as error:
            why = str(error)
    text = page(folder, state, judged, why, learnt_from)
    file = folder / REPORT
    draft = folder / f".{REPORT}.{os.getpid()}.part"
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise TrainingError(
            str(file), f"cannot be written ({error.strerror})", "make room, and `report` again"
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    return file


def page(folder: Path, state: Mapping[str, Any], judged: Judged | None, why: str, learnt_from: Mixture | None) -> str:
    """The whole page. `why`: what there is to say where nothing was judged."""
    recipe, trained = state["recipe"], state.get("trained", {})
    curve, validation = read_columns(folder / CURVE), read_columns(folder / VALIDATION)
    pictures = f", {trained['pictures']:,} pictures" if "pictures" in trained else ""
    how = f"{recipe['network']}, {recipe['width']}x{recipe['height']}, {state['step']:,} steps{pictures}"
    speed = f", {np.median(curve['images_per_s']):.0f} images/s" if "images_per_s" in curve else ""
    waiting = f", waiting for pictures {np.median(curve['waiting']):.0%} of the time" if "waiting" in curve else ""
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    plots = "".join(f"<figure><h3>{escape(name)}</h3>{plot}</figure>" for name, plot in course(curve, validation))
    name = folder.resolve().name
    body = f"""<h1>{escape(name)}</h1>
<p>{escape(how)}, {state["spent_s"] / 3600:.2f} h{speed}{waiting}.
<span class="soft">Report of {at}, edge-perception {version("edge-perception")}</span></p>
{_verdict(judged, why)}
<h2>How it went</h2><div class="plots">{plots}</div>
{"" if judged is None else _judged(judged)}
<h2>Settings</h2>{_table(("setting", "value"), [*recipe.items(), *_pruned(state)])}
<h2>What it learnt from</h2>{_data(trained, learnt_from)}
"""
    return whole_page(f"{name}: {how}", body)


def _pruned(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The row of a network that was pruned."""
    facts = state.get("pruned")
    if facts is None:
        return []
    before, gone = facts["from"], 1 - facts["flops"] / facts["from"]["flops"]
    return [("pruned", f"from {before['run']}: {gone:.0%} of its FLOPs, by {facts['importance']}")]


def _verdict(judged: Judged | None, why: str) -> str:
    if judged is None:
        return f"<p>Not judged: {escape(why)}</p>"
    names = judged.mixture.classes
    figures = [(_figure(row[0]), _figure(row.mean())) for row in judged.ap]
    rows = [(name, boxes, *two) for name, boxes, two in zip(names, judged.boxes(), figures, strict=True) if boxes]
    rows.append(("all classes", sum(judged.boxes()), _figure(judged.ap50), _figure(judged.map)))
    said = f"The averaged weights on {len(judged.truths)} images that were not learnt from, on {judged.engine}."
    return f"<p>{escape(said)}</p>{_table(('class', 'boxes', 'AP50', 'AP50-95'), rows)}"


def _judged(judged: Judged) -> str:
    pairings = [pair(found, truths) for found, truths in zip(judged.detections, judged.truths, strict=True)]
    names = judged.mixture.classes
    table = confusion(zip(judged.detections, judged.truths, pairings, strict=True), len(names))
    best, worst = best_and_worst(judged, pairings)
    plots = (
        ("Precision and recall by class, at IoU 0.5", precision_recall(dict(zip(names, judged.curves, strict=True)))),
        (f"What is taken for what, at a score of {SCORE:g}", confusion_matrix(table, names)),
    )
    figures = "".join(f"<figure><h3>{escape(name)}</h3>{plot}</figure>" for name, plot in plots)
    legend = (
        '<p><span class="green">green</span>: right; <span class="orange">orange</span>: false, or of another class; '
        '<span class="red">red</span>: missed</p>'
    )
    return (
        f'<h2>How good it is</h2><div class="plots">{figures}</div>'
        f"<h2>The worst predictions</h2>{legend}{_pictures(worst, 'Nothing is missed and nothing is false.')}"
        f"<h2>The best predictions</h2>{_pictures(best, 'Nothing is right.')}"
    )


def _pictures(shown: Sequence[Shown], otherwise: str) -> str:
    if not shown:
        return f"<p>{otherwise}</p>"
    return f'<div class="pictures">{"".join(picture(one.jpeg, one.caption) for one in shown)}</div>'


def _data(trained: Mapping[str, Any], learnt_from: Mixture | None) -> str:
    parts = () if learnt_from is None else learnt_from.parts
    # By what it is, not by its place in the mixture: the data that is given may be other data.
    said = {(part.name, len(part.images)): licences_of([image.path for image in part.images]) for part in parts}
    rows = []
    for one in trained.get("data", ()):
        known = said.get((one["dataset"], one["images"]))
        unknown = "not looked for: give --data" if learnt_from is None else "the data that was given is not this"
        licence = unknown if known is None else "; ".join(known) or "none is stated beside the images"
        rows.append((one["dataset"], one["images"], one["weight"], ", ".join(one["labels"]) or "none", licence))
    teachers = [(one["bundle"], one["sha256"]) for one in trained.get("teachers", ())]
    return _table(("dataset", "images", "weight", "labels", "licence"), rows) + (
        f"<h3>Teachers</h3>{_table(('bundle', 'hash'), teachers)}" if teachers else ""
    )


def _table(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _figure(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"
