"""A report's folder: `index.html` for people and `gate.json` for `run` and scripts, there whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engines.passport import read_passport
from perception.clearance import GATE_FILE
from perception.gate.judging import Judgement
from perception.gate.page import page
from perception.whole_folder import check_folder_place, whole_folder

PAGE_FILE = "index.html"
FORMAT = 1  # of gate.json; keys are only ever added


def check_report_place(folder: Path, *, replace_existing: bool) -> None:
    """Raise `UsageError` where a report cannot take this place. Call it before what takes long."""
    check_folder_place(folder, "gate report", GATE_FILE, replace_existing=replace_existing)


def write_report(judgement: Judgement, folder: Path, *, replace_existing: bool = False) -> None:
    """Write a judgement's report. Raises `UsageError`; `folder` is then as it was."""
    check_report_place(folder, replace_existing=replace_existing)
    made = _made()
    texts = {
        PAGE_FILE: page(judgement, f"{made['at']}, {made['by']}"),
        GATE_FILE: json.dumps({**facts(judgement), **made}, indent=2, ensure_ascii=False) + "\n",
    }
    with whole_folder(folder) as draft:
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")


def facts(judgement: Judgement) -> dict[str, Any]:
    """All that was measured, as `--json` prints it and `gate.json` holds it."""
    measured, request = judgement.measured, judgement.request
    sides = {
        side: {
            "name": bundle.name,
            "sha256": bundle.sha256,
            "postprocessing": post.model_dump(),
            "passport": read_passport(bundle.folder),
        }
        for side, bundle, post in zip(
            ("baseline", "candidate"), judgement.bundles, measured.postprocessing, strict=True
        )
    }
    slowdowns = (
        {f"p{percent}": asdict(measured.latencies.slowdown(percent)) for percent in (50, 99)}
        if measured.latencies.baseline_ns
        else None
    )
    accuracy = measured.accuracy
    return {
        "format": FORMAT,
        "passed": judgement.passed,
        **sides,
        "engine": judgement.engine,
        "threads": request.threads,
        "drives": list(request.drives),
        "start_s": request.span.start_ns / 1e9,
        "duration_s": None if request.span.duration_ns is None else request.span.duration_ns / 1e9,
        "frames": judgement.frames,
        "faults": judgement.faults,
        "rows": [asdict(row) for row in judgement.rows],
        **measured.comparison.facts(),
        "failures": asdict(measured.failures),
        "latency": slowdowns,
        "ap50": None
        if accuracy is None
        else {
            "baseline": accuracy.before.value,
            "candidate": accuracy.after.value,
            "loss_bounds": accuracy.loss_bounds,
            "images": accuracy.before.images,
        },
        "thresholds": request.thresholds.model_dump(),
    }


def _made() -> dict[str, str]:
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"at": at, "by": f"edge-perception {version('edge-perception')}"}
