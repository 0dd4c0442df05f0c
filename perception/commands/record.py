"""`perception record`: a vehicle's sensors to MCAP, without a network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from perception.record_run import RecordRun


def record(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The vehicle, as for `perception run`.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.mcap", help="The recording; OUT-0000.mcap, ... in parts.")],
    duration: Annotated[float | None, typer.Option(min=0.1, help="Seconds to record; default: until Ctrl-C.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="End with one JSON object of figures.")] = False,
) -> None:
    """Record what a vehicle's sensors give, as MCAP that opens in Foxglove.

    Everything is on the disk half a second after it was seen. The table `record` in CONFIG says how images are coded,
    when a new file begins and how much room all files may take. Ends with 1 where something could not be recorded.
    """
    import threading

    from perception.commands.signals import INTERRUPTED, EndedEarly, Signals
    from perception.config import Vehicle
    from perception.record_run import RecordRun
    from perception.summary import recording_figures, recording_in_words
    from sensors.errors import EXIT_ANSWER_IS_NO

    vehicle = Vehicle(config)
    timer = None
    try:
        with Signals() as caught, RecordRun(vehicle, out) as run:
            caught.then(run.stop)
            if duration is not None:
                timer = threading.Timer(duration, run.stop)
                timer.start()
            print(f"recording to {out}", file=sys.stderr, flush=True)
            run.run(_watch(run))
            figures = {**recording_figures(run.state), "broken": run.broken}
    except EndedEarly as ended:
        raise typer.Exit(ended.exit_code) from None
    finally:
        if timer is not None:
            timer.cancel()
    print(json.dumps(figures) if json_ else "\n".join(recording_in_words(figures)))
    if caught.interrupted:
        raise typer.Exit(INTERRUPTED)
    if figures["dropped"] or figures["broken"]:
        raise typer.Exit(EXIT_ANSWER_IS_NO)


def _watch(run: RecordRun) -> Callable[[], None]:
    """Say on stderr, once each, what broke."""
    told: set[str] = set()

    def watch() -> None:
        words = {f"lost: {camera}: {what}; the others go on" for camera, what in run.broken.items()}
        if failure := run.state.failure:
            words.add(f"not recorded: {failure}; what is missing is counted")
        for line in sorted(words - told):
            told.add(line)
            print(line, file=sys.stderr, flush=True)

    return watch
