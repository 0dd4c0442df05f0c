"""A page of HTML that needs nothing beside it: its style, and pictures that stand in it."""

from __future__ import annotations

import base64
from html import escape

STYLE = """
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
.pictures { display: grid; grid-template-columns: repeat(4, 1fr); gap: 10px }
.pair img, .pictures img { width: 100%; display: block }
figure { margin: 0 } figcaption { color: var(--soft); font-size: 13px }
svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: var(--ink) }
svg .small { font-size: 10.5px; fill: var(--soft) } svg .end { text-anchor: end } svg .middle { text-anchor: middle }
svg .grid { stroke: var(--line) } svg .limit { stroke: var(--ink); stroke-dasharray: 4 3 }
svg .recall, svg .baseline { fill: var(--one) } svg .precision { fill: #8fb1dd } svg .candidate { fill: var(--two) }
svg .bad { fill: var(--bad) } svg .point { fill: var(--one); fill-opacity: .35 }
svg .curve { fill: none; stroke-width: 2 } svg .curve.baseline { stroke: var(--one) }
svg .curve.candidate { stroke: var(--two) }
.green { color: #4a9e3c; font-weight: 600 } .red { color: #e03030; font-weight: 600 }
.dashed { border: 2px dashed #e03030; padding: 0 4px }
.orange { color: #c97a00; font-weight: 600 }
"""


def whole_page(title: str, body: str) -> str:
    """The page; `body` is HTML."""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{STYLE}</style></head><body>
{body}</body></html>
"""


def picture(jpeg: bytes, caption: str) -> str:
    """A picture that is part of the page, and what it shows, below it."""
    data = base64.b64encode(jpeg).decode()
    said = escape(caption)
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt="{said}"><figcaption>{said}</figcaption></figure>'
