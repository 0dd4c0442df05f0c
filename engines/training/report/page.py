"""The page itself: `report.html` in a training's folder, there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from engines.bundle import Bundle
from engines.datasets.licences import licences_of
from engines.errors import TrainingError
from engines.page import whole_page
from engines.training import checkpoint
from engines.training.datasets import Labels, Mixture
from engines.training.log import CURVE, VALIDATION
from engines.training.report import classifiers, detectors, segmenters
from engines.training.report.figures import course, read_columns
from engines.training.report.parts import Verdict, plots, table
from engines.training.tasks import task_of
from sensors.errors import EdgePerceptionError

REPORT = "report.html"
_JUDGES = {Labels.BOXES: detectors.judged, Labels.CATEGORIES: classifiers.judged, Labels.MASKS: segmenters.judged}
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
    verdict: Verdict | None = None
    why = _NOT_JUDGED
    if validation is not None:
        try:
            verdict = _JUDGES[task_of(state["recipe"]["network"]).labels](bundle, validation, threads)
        except EdgePerceptionError as error:
            why = str(error)
    text = page(folder, state, verdict, why, learnt_from)
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


def page(folder: Path, state: Mapping[str, Any], verdict: Verdict | None, why: str, learnt_from: Mixture | None) -> str:
    """The whole page. `why`: what there is to say where nothing was judged."""
    recipe, trained = state["recipe"], state.get("trained", {})
    curve, validation = read_columns(folder / CURVE), read_columns(folder / VALIDATION)
    pictures = f", {trained['pictures']:,} pictures" if "pictures" in trained else ""
    how = f"{recipe['network']}, {recipe['width']}x{recipe['height']}, {state['step']:,} steps{pictures}"
    speed = f", {np.median(curve['images_per_s']):.0f} images/s" if "images_per_s" in curve else ""
    waiting = f", waiting for pictures {np.median(curve['waiting']):.0%} of the time" if "waiting" in curve else ""
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    name = folder.resolve().name
    body = f"""<h1>{escape(name)}</h1>
<p>{escape(how)}, {state["spent_s"] / 3600:.2f} h{speed}{waiting}.
<span class="soft">Report of {at}, edge-perception {version("edge-perception")}</span></p>
{f"<p>Not judged: {escape(why)}</p>" if verdict is None else verdict.said}
<h2>How it went</h2>{plots(course(curve, validation))}
{"" if verdict is None else verdict.details}
<h2>Settings</h2>{table(("setting", "value"), [*recipe.items(), *_pruned(state)])}
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
    return table(("dataset", "images", "weight", "labels", "licence"), rows) + (
        f"<h3>Teachers</h3>{table(('bundle', 'hash'), teachers)}" if teachers else ""
    )
