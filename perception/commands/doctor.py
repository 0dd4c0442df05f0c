"""`perception doctor`: what this machine has, lacks, and would use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def doctor(
    recordings: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where recordings go: its disk is looked at.")
    ] = Path(),
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what this machine has, lacks and would use, and how to get what is missing.

    Changes nothing. A desk without a GPU is fine: ends with 1 only where
    something that is here is broken.
    """
    from rich.console import Console

    from perception.doctor import examine
    from perception.doctor.report import as_json, show
    from perception.doctor.this_machine import ThisMachine
    from sensors.errors import EXIT_ANSWER_IS_NO

    examination = examine(ThisMachine(), str(recordings.resolve()))
    if json_:
        print(json.dumps(as_json(examination)))
    else:
        show(examination, Console(highlight=False))
    if examination.problems:
        raise typer.Exit(EXIT_ANSWER_IS_NO)
