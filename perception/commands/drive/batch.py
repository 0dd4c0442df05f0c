"""`perception drive batch`: many drives through networks, to one table and a recording each."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perception.commands.arguments import OR_DEFAULT

if TYPE_CHECKING:
    from perception.batch.batch import DriveOutcome, Progress


def batch(
    drives: Annotated[
        list[str],
        typer.Argument(metavar="DRIVE...", help="Recorded drives of any kind that is read; NAME=DRIVE names one."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the table and the recordings go.")],
    bundle: Annotated[
        list[Path] | None, typer.Option(metavar="BUNDLE", help=f"Bundle to run; may be given again. {OR_DEFAULT}")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Drives at a time. Default: as many as there are cores for.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Do them on a Ray cluster: local, auto or HOST:PORT. Its machines have to see the same paths.",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of each engine.")] = 1,
    score: Annotated[float, typer.Option(min=0, max=1, help="Smallest score of a detection.")] = 0.3,
    nms: Annotated[float, typer.Option(min=0, max=1, help="Overlap (IoU) above which one box goes.")] = 0.65,
    force: Annotated[bool, typer.Option("--force", help="Do all drives again, with other settings too.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="End with one JSON object of figures.")] = False,
) -> None:
    """Run a fleet's drives through networks, each in a process of its own.

    DIR gets one table, detections.parquet, with a row a detection, and DRIVE.mcap with what was recorded and found. A
    drive that fails is said, and the others go on; then the exit code is 1. After an end of any kind the same command
    goes on with what is not done.
    """
    from engines import default_bundle
    from engines.results import Thresholds
    from perception.batch import Batch, BatchRequest
    from perception.batch.batch import facts
    from perception.batch.folder import TABLE
    from perception.commands.signals import INTERRUPTED, TERMINATED, EndedEarly, Signals
    from perception.errors import UsageError
    from sensors.errors import EXIT_ANSWER_IS_NO

    if ray is not None and workers is not None:
        raise UsageError("--workers", "is of processes on this machine, and Ray has its own", "leave one of both away")
    cores = len(os.sched_getaffinity(0))
    bundles = bundle or [default_bundle()]
    request = BatchRequest(
        drives=drives,
        bundles=bundles,
        out=out,
        workers=workers or max(1, min(len(drives), cores // (threads * len(bundles)))),
        ray=ray,
        engine=engine,
        threads=threads,
        thresholds=Thresholds(score=score, nms_iou=nms),
        begin_anew=force,
    )
    try:
        with Signals() as caught:
            run = Batch(request)
            caught.then(run.stop)
            with _progress(len(run.jobs)) as (say, watch):
                outcomes = run.run(say, watch)
    except EndedEarly as ended:
        raise typer.Exit(ended.exit_code) from None
    failed = [outcome for outcome in outcomes if outcome.reason]
    done = len(outcomes) - len(failed)
    rows = sum(outcome.rows for outcome in outcomes)
    if run.is_stopped:
        print(f"ended early: {done} of {len(run.jobs)} drives are done; the same command goes on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED if caught.interrupted else TERMINATED)
    if json_:
        drives_ = [facts(outcome) for outcome in outcomes]
        print(json.dumps({"done": done, "failed": len(failed), "rows": rows, "drives": drives_}, ensure_ascii=False))
    else:
        lost = f", {len(failed)} failed" if failed else ""
        print(f"{done} of {len(outcomes)} drives done{lost}; wrote {out / TABLE}: {rows} rows")
    if failed:
        raise typer.Exit(EXIT_ANSWER_IS_NO)


def _in_words(outcome: DriveOutcome) -> str:
    figures = outcome.figures
    if figures is None:
        return f"{outcome.name}: failed: {outcome.reason}"
    if outcome.is_earlier:
        return f"{outcome.name}: done already"
    return (
        f"{outcome.name}: {figures['published']} of {figures['captured']} frames, {figures['detections']} detections, "
        f"{figures['wall_s']:.1f} s"
    )


@contextmanager
def _progress(drives: int) -> Iterator[tuple[Callable[[DriveOutcome], None], Callable[[Progress], None]]]:
    """A line a drive, and on a terminal a bar over all of them."""

    def say(outcome: DriveOutcome) -> None:
        print(_in_words(outcome), file=sys.stderr, flush=True)

    if not sys.stderr.isatty():
        yield say, lambda _progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("drives {task.fields[now]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("batch", total=drives, now="")

        def watch(told: object) -> None:
            from perception.batch.batch import Progress as Told

            assert isinstance(told, Told)
            parts = {name: (frames / total if total else 0.0) for name, (frames, total) in told.running.items()}
            now = ", ".join(f"{name} {share:.0%}" for name, share in list(parts.items())[:4])
            bar.update(task, completed=told.done + told.failed + sum(parts.values()), now=now)

        yield lambda outcome: console.print(_in_words(outcome), markup=False, highlight=False), watch
