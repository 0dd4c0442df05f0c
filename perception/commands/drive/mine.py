"""`perception drive mine`: frames of recorded drives that are worth labelling, as a dataset."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perception.commands.arguments import OR_DEFAULT, split_pair

if TYPE_CHECKING:
    from perception.mining import Mined


def mine(
    drives: Annotated[
        list[str],
        typer.Argument(metavar="DRIVE...", help="Recorded drives of any kind that is read; NAME=DRIVE names one."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the new dataset.")],
    model: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help=f"The detector that is to get better. {OR_DEFAULT}")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="A better detector: where the two differ is worth a look.")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="TEACHER_CLASS=MODEL_CLASS",
            help="Classes that are the same; may be given again, several for one of the model too. Classes not named "
            "here are the same where their names are.",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Frames to take, at most.")] = 100,
    apart: Annotated[float, typer.Option(min=0, help="Seconds between two frames of one sensor, at least.")] = 0.5,
    score: Annotated[
        float, typer.Option(min=0, max=1, help="Smallest score of a detection, as the vehicle has it.")
    ] = 0.3,
    sure: Annotated[float, typer.Option(min=0, max=1, help="Score from which a detection is believed.")] = 0.5,
    nms: Annotated[float, typer.Option(min=0, max=1, help="Overlap (IoU) above which one box goes.")] = 0.65,
    val: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the frames, by whole drives, held back as val; 0: none.")
    ] = 0.2,
    engine: Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    start: Annotated[float, typer.Option(min=0, max=1e9, help="Seconds of each drive to leave out.")] = 0.0,
    duration: Annotated[float | None, typer.Option(min=0, max=1e9, help="Seconds of each drive to look at.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a mined dataset in DIR.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="End with one JSON object of figures.")] = False,
) -> None:
    """Find frames worth labelling, and write them as a YOLO and COCO dataset with pseudo-labels to review.

    Taken are frames on which a track is gone for a frame or two and comes back (flicker), on which the model is unsure
    (low confidence), and on which it and the teacher differ (disagreement): the best by each in turn, without
    near-duplicates. DIR trains as it is, and labelling tools read it; sheet.png shows every frame with its reasons,
    which reasons.csv and mined.json have too. Of several drives some are val as a whole. Ends with 1, and writes
    nothing, where no frame is worth it.
    """
    from engines import default_bundle
    from perception.commands.signals import INTERRUPTED, EndedEarly, Signals
    from perception.errors import UsageError
    from perception.mining import Mining, MiningRequest, check_place, facts, write_mined
    from sensors.source import Span

    if map_ and teacher is None:
        raise UsageError("--map", "is about the teacher's classes", "give --teacher BUNDLE too")
    check_place(output, replace_existing=force)
    request = MiningRequest(
        drives=drives,
        model=model or default_bundle(),
        teacher=teacher,
        class_map=[split_pair("--map", text, "TEACHER_CLASS=MODEL_CLASS", "truck=vehicle") for text in map_ or ()],
        engine=engine,
        threads=threads,
        span=Span(round(start * 1e9), None if duration is None else round(duration * 1e9)),
        score=score,
        sure=sure,
        nms=nms,
        count=count,
        apart_s=apart,
        val=val,
    )
    mined = None
    try:
        with Signals() as caught, Mining(request) as mining:
            caught.then(mining.stop)
            with _progress() as watch:
                mined = mining.run(watch)
            if mined is not None and not write_mined(mining, mined, output):
                mined = None
    except EndedEarly as ended:
        raise typer.Exit(ended.exit_code or _STOPPED) from None
    if mined is None:
        print("ended early: nothing was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED if caught.interrupted else _STOPPED)
    print(json.dumps(facts(mined), ensure_ascii=False) if json_ else "\n".join(_in_words(mined, output)))


_STOPPED = 143  # SIGTERM: 0 would say that there is a dataset


def _in_words(mined: Mined, output: Path) -> list[str]:
    from perception.mining import facts

    figures = facts(mined)
    lines = []
    for drive in mined.drives:
        reasons = ", ".join(f"{count} {reason}" for reason, count in drive.reasons.most_common()) or "nothing"
        lost = "".join(
            f", {number} {what}" for what, number in (("damaged", drive.faults), ("failed", drive.failed)) if number
        )
        lines.append(f"{drive.uri}: {drive.frames} frames{lost}; {reasons}")
    splits = ", ".join(f"{count} {split}" for split, count in figures["splits"].items())
    reasons = ", ".join(f"{reason} {count}" for reason, count in figures["reasons"].items())
    lines.append(
        f"{output}: {figures['picked']} frames ({splits}) with {figures['labels']} pseudo-labels; {reasons}; "
        f"{figures['left_out_as_alike']} left out as like one of them"
    )
    if "val" not in figures["splits"] and mined.request.val:
        lines.append("  all are train: a split takes two drives or more, for a drive is never divided")
    lines.append(f"  look at {output / 'sheet.png'}, and review the labels before you trust them")
    return lines


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on a terminal, nothing in a pipe. Gives a function to tell how far it is."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("mine", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
