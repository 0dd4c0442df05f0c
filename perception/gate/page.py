"""The report as one page of HTML that needs nothing beside it."""

from __future__ import annotations

import base64
import json
from html import escape
from typing import Any

from engines.passport import read_passport
from perception.gate.comparison import Comparison
from perception.gate.judging import Judgement
from perception.gate.plots import latency_curves
from perception.gate.row import Row
from perception.gate.thresholds import to_toml

_STYLE = """
:root { --ink: #1d2329; --soft: #5f6b76; --line: #dde2e7; --good: #1a7f4b; --bad: #c62828;
  --one: #3b6fb6; --two: #e08a1e }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: #fff; max-width: 1240px; margin: 0 auto;
  padding: 24px }
h1 { font-size: 26px; margin: 0 } h2 { font-size: 18px; margin: 34px 0 10px } h3 { font-size: 14px; margin: 0 0 4px }
.passed { color: var(--good) } .refused { color: var(--bad) } .soft { color: var(--soft) }
table { border-collapse: collapse; width: 100% } th { text-align: left; color: var(--soft); font-weight: 500 }
td, th { padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: top }
tr.no td { background: #fdecea } td.verdict { font-weight: 600 }
code, pre { font: 12.5px/1.45 ui-monospace, monospace } code { overflow-wrap: anywhere }
pre { background: #f5f7f9; padding: 12px; overflow: auto }
.plots, .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 18px } .pair { gap: 8px; margin: 4px 0 14px }
.pair img { width: 100%; display: block } figure { margin: 0 } figcaption { color: var(--soft); font-size: 13px }
svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: var(--ink) }
svg .small { font-size: 10.5px; fill: var(--soft) } svg .end { text-anchor: end } svg .middle { text-anchor: middle }
svg .grid { stroke: var(--line) } svg .limit { stroke: var(--ink); stroke-dasharray: 4 3 }
svg .recall, svg .baseline { fill: var(--one) } svg .precision { fill: #8fb1dd } svg .candidate { fill: var(--two) }
svg .bad { fill: var(--bad) } svg .point { fill: var(--one); fill-opacity: .35 }
svg .curve { fill: none; stroke-width: 2 } svg .curve.baseline { stroke: var(--one) }
svg .curve.candidate { stroke: var(--two) }
.green { color: #4a9e3c; font-weight: 600 } .red { color: #e03030; font-weight: 600 }
.dashed { border: 2px dashed #e03030; padding: 0 4px }
"""


def page(judgement: Judgement, made: str) -> str:
    """The whole page; `made`: when and by what."""
    candidate, baseline = judgement.bundles[1], judgement.bundles[0]
    refused = sum(not row.passed for row in judgement.rows)
    verdict = "passed" if judgement.passed else "refused"
    why = "" if judgement.passed else f" {refused} of {len(judgement.rows)} figures are beyond their limit."
    drives = ", ".join(judgement.request.drives)
    title = f"{candidate.name} {verdict} against {baseline.name}"
    faults = f", {judgement.faults} damaged ones that neither side saw" if judgement.faults else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(candidate.name)} <span class="{verdict}">{verdict}</span> against {escape(baseline.name)}</h1>
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
</body></html>
"""


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
            both = _picture(pair.baseline, f"baseline{name}") + _picture(pair.candidate, f"candidate{name}")
            parts.append(f"<div class='pair'>{both}</div>")
    legend = "; ".join(
        f'<span class="{style}">{escape(word)}</span>: {escape(meaning)}' for style, word, meaning in comparison.legend
    )
    pairs = "".join(parts)
    return f"<h2>The {len(frames)} worst frames</h2><p>{legend}. Baseline left, candidate right.</p>{pairs}"


def _picture(jpeg: bytes, name: str) -> str:
    data = base64.b64encode(jpeg).decode()
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt="{name}"><figcaption>{name}</figcaption></figure>'


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
