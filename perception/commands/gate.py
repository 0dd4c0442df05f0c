"""`perception gate`: one bundle judged against another over recorded drives."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perception.commands.arguments import class_pairs, split_pair

if TYPE_CHECKING:
    from perception.gate import Judgement


def gate(
    drives: Annotated[
        list[str] | None,
        typer.Argument(metavar="DRIVE...", help="Recorded drives like those that the candidate will see."),
    ] = None,
    baseline: Annotated[Path | None, typer.Option(metavar="BUNDLE", help="What is trusted now.")] = None,
    candidate: Annotated[Path | None, typer.Option(metavar="BUNDLE", help="What is to take its place.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page with the worst frames, and gate.json, here.")
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="What may differ, and by how much.")
    ] = None,
    show_thresholds: Annotated[
        bool, typer.Option("--show-thresholds", help="Print the thresholds in force, each explained, and end.")
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(metavar="DATASET", help="Labelled images: accuracy is judged too. As for `evaluate`.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Of --labels; default: val, else test.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="BUNDLE_CLASS=DATASET_CLASS", help="Of --labels; as for `evaluate`."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="auto, onnxruntime, openvino, tensorrt or tensorrt_rtx; auto: both run on what the candidate would."
        ),
    ] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    start: Annotated[float, typer.Option(min=0, max=1e9, help="Seconds of each drive to leave out.")] = 0.0,
    duration: Annotated[float | None, typer.Option(min=0, max=1e9, help="Seconds of each drive to judge.")] = None,
    score: Annotated[float, typer.Option(min=0, max=1, help="Smallest score of a detection.")] = 0.3,
    class_score: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS=SCORE", help="Smallest score of one class, for example person=0.2."),
    ] = None,
    nms: Annotated[float, typer.Option(min=0, max=1, help="Overlap (IoU) above which one box goes.")] = 0.65,
    candidate_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the candidate, where it is to differ.")
    ] = None,
    candidate_nms: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the candidate, where it is to differ.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a report in --report.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="End with one JSON object of figures.")] = False,
) -> None:
    """Judge one bundle against another: may the candidate go where the baseline is?

    Both see the same frames on one engine, with the thresholds that the vehicle will run them with. Exit code 0: it
    passes; 1: it is refused; 2: the request is wrong; 3: it could not be judged. `require_gate` in a vehicle's TOML
    lets `run` load only what a report passed.
    """
    from engines.bundle import load_bundle
    from engines.datasets import open_dataset
    from perception.commands.signals import INTERRUPTED, EndedEarly, Signals
    from perception.errors import UsageError
    from perception.gate import (
        GateRequest,
        Judging,
        SideRequest,
        check_report_place,
        facts,
        read_thresholds,
        to_toml,
        write_report,
    )
    from sensors.errors import EXIT_ANSWER_IS_NO
    from sensors.source import Span

    limits = read_thresholds(thresholds)
    if show_thresholds:
        print(to_toml(limits), end="")
        return
    for given, option in ((baseline, "--baseline BUNDLE"), (candidate, "--candidate BUNDLE"), (drives, "DRIVE")):
        if not given:
            raise UsageError("perception gate", f"{option} is missing", "see `perception gate --help`")
    assert baseline is not None
    assert candidate is not None
    assert drives is not None
    if labels is None and (split or map_):
        raise UsageError("--split, --map", "are about labelled images", "give --labels DATASET too")
    for bundle in (baseline, candidate):
        load_bundle(bundle)  # what is wrong is said before labels are read
    if report is not None:
        check_report_place(report, replace_existing=force)
    by_class = tuple(_class_scores(class_score))
    request = GateRequest(
        baseline=SideRequest(baseline, score, nms, by_class),
        candidate=SideRequest(
            candidate,
            score if candidate_score is None else candidate_score,
            nms if candidate_nms is None else candidate_nms,
            by_class,
        ),
        drives=drives,
        engine=engine,
        threads=threads,
        span=Span(round(start * 1e9), None if duration is None else round(duration * 1e9)),
        thresholds=limits,
        dataset=open_dataset(labels, split) if labels is not None else None,
        class_map=class_pairs(map_),
    )
    try:
        with Signals() as caught, Judging(request) as judging:
            caught.then(judging.stop)
            judgement = judging.run(_say)
    except EndedEarly as ended:
        raise typer.Exit(ended.exit_code or _NOT_JUDGED) from None
    if judgement is None:
        print("ended early: there is no verdict, and nothing was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED if caught.interrupted else _NOT_JUDGED)
    if report is not None:
        write_report(judgement, report, replace_existing=force)
    print(json.dumps(facts(judgement), ensure_ascii=False) if json_ else "\n".join(_in_words(judgement, report)))
    if not judgement.passed:
        raise typer.Exit(EXIT_ANSWER_IS_NO)


_NOT_JUDGED = 3  # SIGTERM: 0 would say that the candidate passes


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _class_scores(texts: list[str] | None) -> list[tuple[str, float]]:
    from perception.errors import UsageError

    scores = []
    for text in texts or ():
        name, number = split_pair("--class-score", text, "CLASS=SCORE", "person=0.2")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise UsageError(f"--class-score {text}", f"{number} is no score", "give a number from 0 to 1")
        scores.append((name, value))
    return scores


def _in_words(judgement: Judgement, report: Path | None) -> list[str]:
    width = max(len(row.figure) for row in judgement.rows)
    lines = [
        f"{'  ' if row.passed else 'x '}{row.figure:<{width}}  {row.measured}; {row.limit}" for row in judgement.rows
    ]
    baseline, candidate = judgement.bundles
    refused = sum(not row.passed for row in judgement.rows)
    verdict = (
        "passed" if judgement.passed else f"refused, {refused} of {len(judgement.rows)} figures beyond their limit"
    )
    faults = f" ({judgement.faults} damaged)" if judgement.faults else ""
    where = f"; see {report / 'index.html'}" if report else ""
    lines.append(
        f"{candidate.name} against {baseline.name}, {judgement.frames} frames{faults} on {judgement.engine}: "
        f"{verdict}{where}"
    )
    return lines
