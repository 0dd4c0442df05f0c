"""`perception run`: a vehicle's cameras, live."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from perception.live import LiveRun


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The vehicle: cameras, networks, stream.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only check the file, its bundles and keys; open nothing.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.mcap",
            help="Record what the cameras give and what is found on it, as the file's table `record` says.",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Write which stage worked on which frame when, for ui.perfetto.dev."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="End with one JSON object of figures.")] = False,
) -> None:
    """Run a vehicle's cameras through its networks, and publish what they find.

    The newest frame of each camera wins; what it replaces is dropped and
    counted. A camera that goes is waited for. deploy/vehicle.toml is an
    example with every key.

    Ends on Ctrl-C (130) or SIGTERM (0) once what was captured is handed on;
    with 1 if a camera was lost for good, with 3 if all were.
    """
    from perception.commands.signals import INTERRUPTED, EndedEarly, Signals
    from perception.config import Vehicle
    from perception.live import LiveRun
    from perception.live import check as check_rest
    from perception.summary import in_words

    vehicle = Vehicle(config)
    if check:
        check_rest(vehicle)
        cameras, networks = len(vehicle.settings.camera), len(vehicle.bundles)
        print(f"{config}: good. Cameras: {cameras}, networks: {networks}. Cameras and engines were not opened.")
        return
    try:
        with Signals() as caught, LiveRun(vehicle, record, trace) as live:
            caught.then(live.stop)
            if live.endpoint:
                print(f"readers connect to {live.endpoint}", file=sys.stderr, flush=True)
            live.run(_watch(live))
            figures = live.summary()
    except EndedEarly as ended:
        raise typer.Exit(ended.exit_code) from None
    print(json.dumps(figures) if json_ else "\n".join(in_words(figures)))
    if caught.interrupted:
        raise typer.Exit(INTERRUPTED)
    if figures["broken"] or figures.get("recording", {}).get("dropped"):
        raise typer.Exit(1)


def _watch(live: LiveRun) -> Callable[[], None]:
    """Say on stderr, once, that a source broke."""
    told: set[str] = set()

    def watch() -> None:
        for camera, what in live.broken.items():
            if camera not in told:
                told.add(camera)
                others = "; the other cameras go on" if len(live.broken) < len(live.sources) else ""
                print(f"lost: {camera}: {what}{others}", file=sys.stderr, flush=True)
        if (failure := live.recording_failure) and failure not in told:
            told.add(failure)
            print(f"not recorded: {failure}; perception goes on, and what is missing is counted", file=sys.stderr)

    return watch
