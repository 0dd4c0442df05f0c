"""`perception drive info`: what a drive holds, and what is wrong with it."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def info(
    drive: Annotated[str, typer.Argument(metavar="DRIVE", help="A recorded drive of any kind that is read.")],
    read: Annotated[bool, typer.Option("--read", help="Read every item too, for damage that no index shows.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell a drive's sensors, counts, rates, gaps, clock faults, calibration and size.

    From its index and its stamps; frames are opened only with --read.
    """
    from perception.drives.report import as_json, in_lines, report_on
    from perception.errors import UsageError
    from sensors.opening import open_source, recorded_name

    name, uri = recorded_name(drive)
    with open_source(uri, name=name) as source:
        if source.info.live:
            raise UsageError(source.info.uri, "is live, and no recording", "record it first: `perception record`")
        report = report_on(source, read=read)
    print(json.dumps(as_json(report)) if json_ else "\n".join(in_lines(report)))
