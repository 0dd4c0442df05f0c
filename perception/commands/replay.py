"""`perception replay`: a recorded drive goes in, a stream of detections comes out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from perception.replay import Replay

SLOWEST_RATE = 1e-6  # times real time; a frame of a 25 Hz drive then takes 11 hours
LONGEST_S = 1e9  # some 30 years; keeps a stamp in 64 bits


def replay(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Videos, folders of images, MCAP files, recorded drives, bags, or demo:bikes; "
            "NAME=SOURCE names the sensor in messages.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="BUNDLE", help="Bundle to run; may be given again. Default: the one that comes along."),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or tensorrt_rtx.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="max|1.0|N",
            help="Times real time, or max. Default: 1.0 when publishing, max otherwise.",
        ),
    ] = None,
    start: Annotated[float, typer.Option(min=0, help="Seconds of the drive to leave out.")] = 0.0,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds of the drive to play.")] = None,
    loop: Annotated[int, typer.Option(min=0, help="Times to play it; 0: until stopped.")] = 1,
    second: Annotated[
        list[str] | None,
        typer.Option(metavar="BUNDLE", help="Classifier that looks at each thing the first detector finds; again."),
    ] = None,
    second_classes: Annotated[
        list[str] | None,
        typer.Option("--second-class", metavar="CLASS", help="Of the detector, that --second looks at; again."),
    ] = None,
    second_min_px: Annotated[
        float, typer.Option(min=1, help="Shorter side of a box, in pixels of the frame, that --second looks at.")
    ] = 16,
    second_most: Annotated[
        int, typer.Option(min=1, max=300, help="Boxes of a frame that --second looks at, best first.")
    ] = 16,
    score: Annotated[float, typer.Option(min=0, max=1, help="Smallest score of a detection.")] = 0.3,
    nms: Annotated[float, typer.Option(min=0, max=1, help="Overlap (IoU) above which one box goes.")] = 0.65,
    publish: Annotated[
        str | None,
        typer.Option(metavar="ENDPOINT", help="Publish here, for example tcp://127.0.0.1:5555 or ipc:///tmp/road."),
    ] = None,
    wait_readers: Annotated[int, typer.Option(min=0, help="Start only when so many readers are there.")] = 0,
    keys: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Publish only to the readers in FOLDER/readers: `keys new`.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Publish to the network without keys.")] = False,
    jsonl: Annotated[Path | None, typer.Option(metavar="FILE", help="Write each message as a line of JSON.")] = None,
    render: Annotated[
        Path | None, typer.Option(metavar="FILE.mp4", help="Write the drive with boxes and masks.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="OUT.mcap", help="Record what is read, and what is found on it.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Write which stage worked on which frame when, for ui.perfetto.dev."),
    ] = None,
    rerun: Annotated[
        str | None, typer.Option(metavar="live|FILE.rrd", help="Show it in Rerun while it goes, or save it for Rerun.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="End with one JSON object of figures.")] = False,
) -> None:
    """Replay recorded drives through networks; publish, write or draw what they find.

    Nothing is dropped: every frame is published or counted as failed. Ends with 0 when the drive was played
    (failed frames are counted), 130 after Ctrl-C, once all that was captured is handed on.
    """
    from engines import default_bundle
    from engines.results import Thresholds
    from perception.commands.signals import INTERRUPTED, EndedEarly, Signals
    from perception.errors import UsageError
    from perception.network import Crops
    from perception.replay import Replay, ReplayRequest
    from perception.summary import in_words
    from sensors.errors import EXIT_ANSWER_IS_NO
    from sensors.source import Span

    if second_classes and not second:
        raise UsageError("--second-class", "there is no network that looks at it", "give --second BUNDLE")
    if wait_readers and not publish:
        raise UsageError("--wait-readers", "there is nothing to read", "say where with --publish ENDPOINT")
    if (keys or insecure) and not publish:
        raise UsageError(
            "--keys" if keys else "--insecure", "nothing is published", "say where with --publish ENDPOINT"
        )
    for option, seconds in (("--start", start), ("--duration", duration or 0.0)):
        if not seconds < LONGEST_S:
            raise UsageError(f"{option} {seconds}", "is no time in a drive", f"give seconds below {LONGEST_S:.0e}")
    request = ReplayRequest(
        sources=sources,
        models=model or [str(default_bundle())],
        second=second or (),
        crops=Crops("", tuple(second_classes or ()), second_min_px, second_most),
        engine=engine,
        threads=threads,
        rate=_rate(rate, bool(publish)),
        span=Span(round(start * 1e9), None if duration is None else round(duration * 1e9)),
        loop=loop,
        thresholds=Thresholds(score=score, nms_iou=nms),
        publish=publish,
        wait_readers=wait_readers,
        keys=keys,
        insecure=insecure,
        jsonl=jsonl,
        render=render,
        record=record,
        trace=trace,
        rerun=rerun,
    )
    try:
        with Signals() as caught, Replay(request) as run:
            caught.then(run.stop)
            if run.endpoint:
                readers = f", waiting for {wait_readers} of them" if wait_readers else ""
                print(f"readers connect to {run.endpoint}{readers}", file=sys.stderr, flush=True)
            with _progress(run, loop) as watch:
                run.run(watch)
            summary = run.summary()
    except EndedEarly as ended:
        raise typer.Exit(ended.exit_code) from None
    if run.behind_s > 1:
        print(f"fell {run.behind_s:.1f} s behind rate {rate or 1.0}: the networks are slower", file=sys.stderr)
    if json_:
        print(json.dumps(summary))
    else:
        print("\n".join([*in_words(summary), *(f"wrote {path}" for path in run.files)]))
    if caught.interrupted:
        raise typer.Exit(INTERRUPTED)
    if summary.get("recording", {}).get("dropped"):
        raise typer.Exit(EXIT_ANSWER_IS_NO)


def _rate(text: str | None, publishing: bool) -> float | None:
    """Times real time; None is as fast as possible."""
    from math import isfinite

    from perception.errors import UsageError

    if text is None:
        return 1.0 if publishing else None
    if text == "max":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not (rate >= SLOWEST_RATE and isfinite(rate)):
        raise UsageError(f"--rate {text}", "is no rate", "use max, 1.0 or another number above 0")
    return rate


def _progress(run: Replay, loop: int) -> Any:
    """A progress bar on a terminal, nothing in a pipe. Gives a function to call now and then."""
    from contextlib import contextmanager

    @contextmanager
    def none() -> Iterator[None]:
        yield None

    @contextmanager
    def bar() -> Iterator[Callable[[], None]]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        counts = [sensor.count for sensor in run.sensors]
        total = sum(count for count in counts if count) if all(counts) and loop else None
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[fps]:.0f} fps"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("replay", total=total, fps=0.0)

            def watch() -> None:
                account = run.ledger.total()
                progress.update(
                    task, completed=account.captured - account.in_flight, fps=progress.tasks[0].speed or 0.0
                )

            yield watch

    return bar() if sys.stderr.isatty() else none()
