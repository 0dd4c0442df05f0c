"""An examination for a person, and for a program."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from perception.doctor import Examination, Finding, Verdict

COLOURS = {Verdict.OK: "green", Verdict.MISSING: "yellow", Verdict.NOT_NEEDED: "dim", Verdict.PROBLEM: "bold red"}
NARROW = 72  # columns; below, what was found stands under the names
UNWRAPPED = 10_000  # columns, where nobody looks at a terminal: a line stays a line


def as_json(examination: Examination) -> dict[str, Any]:
    """For scripts: `healthy` is what the exit code says."""
    kind = examination.kind
    return {
        "healthy": not examination.problems,
        "machine": {
            "kind": kind.in_words,
            "jetpack": kind.jetpack.version if kind.jetpack and kind.is_jetson else None,
            "gpus": [gpu.facts() for gpu in kind.cuda.gpus],
        },
        "engines": examination.engines,
        "findings": [
            {
                "group": finding.group,
                "name": finding.name,
                "verdict": finding.verdict.value,
                "found": finding.found,
                "remedy": finding.remedy,
            }
            for finding in examination.findings
        ],
    }


def show(examination: Examination, console: Console) -> None:
    """Print it, with colours and wrapped where there is a terminal."""
    if not console.is_terminal:
        console.width = UNWRAPPED
    console.print(Text(examination.kind.in_words))
    narrow = console.width < NARROW
    widths = [max(len(finding.name) for finding in examination.findings), max(len(v.value) for v in Verdict)]
    for group, findings in groupby(examination.findings, key=lambda finding: finding.group):
        console.print()
        console.print(Text(group[:1].upper() + group[1:], style="bold"))
        table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        if not narrow:
            table.add_column(width=widths[1])
            table.add_column(width=widths[0])
        table.add_column(overflow="fold")
        for finding in findings:
            cells = _narrow(finding) if narrow else _wide(finding)
            for row in cells:
                table.add_row(*row)
        _print_without_trailing_blanks(table, console)
    console.print()
    console.print(_sum(examination))


def _wide(finding: Finding) -> list[tuple[RenderableType, ...]]:
    dim = "dim" if finding.verdict is Verdict.NOT_NEEDED else ""
    first = (_verdict(finding), Text(finding.name, style=dim), Text(finding.found, style=dim))
    return [first, (Text(), Text(), _remedy(finding))] if finding.remedy else [first]


def _narrow(finding: Finding) -> list[tuple[RenderableType, ...]]:
    dim = "dim" if finding.verdict is Verdict.NOT_NEEDED else ""
    below = [Text(finding.found, style=dim), *([_remedy(finding)] if finding.remedy else [])]
    head = Text.assemble((finding.name, dim), "  ", _verdict(finding))
    return [(head,), *((Padding(text, (0, 0, 0, 2)),) for text in below)]


def _verdict(finding: Finding) -> Text:
    return Text(finding.verdict.value, style=COLOURS[finding.verdict])


def _remedy(finding: Finding) -> Text:
    return Text(f"-> {finding.remedy}")


def _print_without_trailing_blanks(table: Table, console: Console) -> None:
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")


def _sum(examination: Examination) -> Text:
    count = len(examination.problems)
    if not count:
        return Text("Nothing that is here is broken.", style="green")
    names = ", ".join(finding.name for finding in examination.problems)
    return Text(f"{count} problem{'' if count == 1 else 's'}: {names}.", style="bold red")
