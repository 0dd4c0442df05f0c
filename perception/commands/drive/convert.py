"""`perception drive convert` and `cut`: any drive as MCAP, whole or a part of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sensors.source import Span

ClockOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SENSOR=POLICY",
        help="What to do with a sensor's stamps. Those that are missing or go back: drop or hold; all of them: "
        "restamp at even steps, or offset:SECONDS; both with a comma. May be given again. Default: each is a fault.",
    ),
]
ImagesOption = Annotated[
    str, typer.Option(metavar="keep|jpeg|png|h264", help="Images as they came where that can be (else JPEG), or so.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object of figures.")]


def convert(
    drive: Annotated[str, typer.Argument(metavar="DRIVE", help="A recorded drive of any kind that is read.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.mcap", help="The MCAP file to write.")],
    clock: ClockOption = None,
    images: ImagesOption = "keep",
    json_: JsonOption = False,
) -> None:
    """Write a drive as MCAP that opens in Foxglove: items and stamps as they are, faults too, and the calibration.

    No stamp is mended unless --clock says how; what was found wrong, and what was done, is written into the file.
    """
    _convert(drive, out, clock, images, json_)


def cut(
    drive: Annotated[str, typer.Argument(metavar="DRIVE", help="A recorded drive of any kind that is read.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.mcap", help="The MCAP file to write.")],
    start: Annotated[float, typer.Option(min=0, help="Seconds of the drive to leave out.")] = 0.0,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds of the drive to write.")] = None,
    clock: ClockOption = None,
    images: ImagesOption = "keep",
    json_: JsonOption = False,
) -> None:
    """Write a part of a drive as MCAP: items whose stamps lie in it, exactly."""
    from perception.errors import UsageError
    from sensors.source import Span

    longest_s = 1e9  # some 30 years; keeps a stamp in 64 bits
    for option, seconds in (("--start", start), ("--duration", duration or 0.0)):
        if not seconds < longest_s:
            raise UsageError(f"{option} {seconds}", "is no time in a drive", f"give seconds below {longest_s:.0e}")
    span = Span(round(start * 1e9), None if duration is None else round(duration * 1e9))
    _convert(drive, out, clock, images, json_, span)


def _convert(
    drive: str, out: Path, clock: list[str] | None, images: str, json_: bool, span: Span | None = None
) -> None:
    from perception.drives.conversion import convert as convert_drive
    from perception.errors import UsageError
    from sensors.clock_policy import parse_policies
    from sensors.drives.mcap.drive_writer import IMAGES

    if images not in IMAGES:
        raise UsageError(f"--images {images}", "is unknown", f"use one of {', '.join(IMAGES)}")
    if out.suffix.lower() != ".mcap":
        raise UsageError(str(out), "is no .mcap file", "give a name that ends in .mcap")
    source = Path(drive.partition("=")[2] or drive)
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise UsageError(str(out), "is in what is read, and would change it", "choose another place")
    policies = parse_policies(clock or [])
    with _progress() as watch:
        found = convert_drive(drive, out, images=images, clocks=policies, span=span, watch=watch)
    if json_:
        figures: dict[str, Any] = {
            "items": dict(sorted(found.items.items())),
            "faults": dict(sorted(found.faults.items())),
            "clock_faults": found.clock_faults,
            "clock_changes": found.clock_changes,
            "cut_off": found.cut_off,
            "bytes": found.size_bytes,
        }
        print(json.dumps(figures))
        return
    print(f"wrote {out}: {found.size_bytes / 1e6:.1f} MB")
    for sensor in sorted(found.items.keys() | found.faults.keys()):
        faults = f", {found.faults[sensor]} faults" if found.faults[sensor] else ""
        print(f"  {sensor}  {found.items[sensor]}{faults}")
    for sensor, changes in found.clock_changes.items():
        print(f"clock of {sensor}: " + ", ".join(f"{what} ({count})" for what, count in changes.items()))
    if found.cut_off:
        print(f"cut off: {found.cut_off}")
    if found.clock_faults:
        print(f"clocks: {found.clock_faults} kinds of faults, as `perception drive info` tells them")


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None] | None]:
    """A progress bar on a terminal, nothing in a pipe. Gives a function to tell how far it is."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("convert", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
