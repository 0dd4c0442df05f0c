"""The report as one page of HTML that needs nothing beside it."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from engines.page import picture, whole_page
from engines.passport import read_passport
from perception.gate.comparison import Comparison
from perception.gate.judging import Judgement
from perception.gate.plots import latency_curves
from perception.gate.row import Row
from perception.gate.thresholds import to_toml


def page(judgement: Judgement, made: str) -> str:
    """The whole page; `made`: when and by what."""
    candidate, baseline = judgement.bundles[1], judgement.bundles[0]
    refused = sum(not row.passed for row in judgement.rows)
    verdict = "passed" if judgement.passed else "refused"
    why = "" if judgement.passed else f" {refused} of {len(judgement.rows)} figures are beyond their limit."
    drives = ", ".join(judgement.request.drives)
    title = f"{candidate.name} {verdict} against {baseline.name}"
    faults = f", {judgement.faults} damaged ones that neither side saw" if judgement.faults else ""
    names = escape(candidate.name), escape(baseline.name)
    body = f"""<h1>{names[0]} <span class="{verdict}">{verdict}</span> against {names[1]}</h1>
<p>{judgement.frames} frames of {escape(drives)}{faults}, on {escape(judgement.engine)}.{why}
<span class="soft">{escape(made)}</span></p>
<h2>Verdict</h2>
<table><tr><th>figure</th><th>measured</th><th>limit</th><th></th><th>threshold</th></tr>
{"".join(_row(row) for row in sorted(judgement.rows, key=lambda row: row.passed))}</table>
{_plots(judgement)}
{_worst(judgement.measured.comparison)}
<h2>What was judged</h2>
{_bundles(judgement)}
<h2>Thresholds</h2>
<pre>{escape(to_toml(judgement.request.thresholds))}</pre>
"""
    return whole_page(title, body)


def _row(row: Row) -> str:
    words = ("passed", "passed") if row.passed else ("refused", "beyond")
    cells = "".join(f"<td>{escape(text)}</td>" for text in (row.figure, row.measured, row.limit))
    verdict = f'<td class="verdict {words[0]}">{words[1]}</td>'
    return f'<tr class="{"yes" if row.passed else "no"}">{cells}{verdict}<td><code>{escape(row.key)}</code></td></tr>\n'


def _plots(judgement: Judgement) -> str:
    measured = judgement.measured
    if not measured.latencies.baseline_ns:
        return ""
    plots = (*measured.comparison.plots(), ("Time for a frame", latency_curves(measured.latencies)))
    figures = "".join(f"<figure><h3>{escape(name)}</h3>{plot}</figure>" for name, plot in plots)
    return f'<h2>Figures</h2><div class="plots">{figures}</div>'


def _worst(comparison: Comparison) -> str:
    frames = comparison.worst()
    if not frames:
        return "<h2>The worst frames</h2><p>No frame differs: both sides found the same on each.</p>"
    parts = []
    for frame in frames:
        parts.append(f"<h3>{escape(frame.where)}</h3><p class='soft'>{escape(frame.what)}</p>")
        for pair in frame.pairs:
            name = f", {pair.name}" if pair.name else ""
            both = picture(pair.baseline, f"baseline{name}") + picture(pair.candidate, f"candidate{name}")
            parts.append(f"<div class='pair'>{both}</div>")
    legend = "; ".join(
        f'<span class="{style}">{escape(word)}</span>: {escape(meaning)}' for style, word, meaning in comparison.legend
    )
    pairs = "".join(parts)
    return f"<h2>The {len(frames)} worst frames</h2><p>{legend}. Baseline left, candidate right.</p>{pairs}"


def _bundles(judgement: Judgement) -> str:
    parts = []
    for side, bundle, post in zip(
        ("Baseline", "Candidate"), judgement.bundles, judgement.measured.postprocessing, strict=True
    ):
        passport: dict[str, Any] = read_passport(bundle.folder)
        parts.append(
            f"<h3>{side}: {escape(bundle.name)}</h3><p>hash <code>{bundle.sha256}</code><br>"
            f"{escape(str(bundle.folder))}; {escape(str(post))}</p>"
            f"<details><summary>passport</summary><pre>{escape(json.dumps(passport, indent=2))}</pre></details>"
        )
    return "".join(parts)
