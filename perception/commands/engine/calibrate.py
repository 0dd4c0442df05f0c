"""`perception engine calibrate`: an INT8 bundle of a float one."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perception.commands.arguments import class_pairs

if TYPE_CHECKING:
    from engines.quantize.calibration import Calibration

_NOTHING = 0.0015  # of accuracy: with fewer than some hundred images not a box is worth so little


def calibrate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The float bundle.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the INT8 bundle.")],
    frames: Annotated[
        list[str],
        typer.Option(
            metavar="SOURCE",
            help="A recorded drive like those that it will see, or images by class (their split train); may be given "
            "again. Half of the frames that are taken are calibrated on, the other half judges.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="DATASET", help="Labelled images: accuracy is judged too. As for `evaluate`."),
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Of --labels; default: val, else test.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="BUNDLE_CLASS=DATASET_CLASS", help="Of --labels; as for `evaluate`."),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="AP50, top-1 or mean IoU that may be lost on --labels.")
    ] = 0.02,
    min_agreement: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of float's boxes above 0.3 (or of its masks) that is found again."),
    ] = 0.85,
    min_same: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of INT8 boxes that must lie in the same place on both CPU engines."),
    ] = 0.9,
    weight_bits: Annotated[
        int, typer.Option(min=7, max=8, help="7 is safe on x86 CPUs without VNNI, whose sums may saturate.")
    ] = 8,
    count: Annotated[int, typer.Option(min=8, max=4096, help="Frames to calibrate on, and as many to judge by.")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engines.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle of that name.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Quantise a bundle to INT8 and judge it on frames that it was not calibrated on.

    Layers that hurt stay in float, as few as possible. Where too much would be lost nothing is written, and the exit
    code is 1.
    """
    from engines.bundle import load_bundle
    from engines.datasets import open_dataset
    from engines.errors import EngineMissingError
    from perception.errors import UsageError
    from sensors.opening import open_sources

    try:
        from engines.quantize.calibration import CalibrationRequest
        from engines.quantize.calibration import calibrate as make
        from engines.quantize.judge import Limits
        from engines.quantize.labelled_source import open_labelled
    except ImportError as missing:
        what = f"the package {missing.name} is not installed"
        raise EngineMissingError("calibration", what, "pip install 'edge-perception[calibrate]'") from None
    if labels is None and (split or map_):
        raise UsageError("--split, --map", "are about labelled images", "give --labels DATASET too")
    loaded = load_bundle(bundle)
    dataset = open_dataset(labels, split) if labels is not None else None
    request = CalibrationRequest(
        limits=Limits(max_loss, min_agreement, min_same),
        weight_bits=weight_bits,
        frames=count,
        threads=threads,
        class_map=tuple(class_pairs(map_)),
    )
    began_s = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began_s:5.0f} s  {line}", file=sys.stderr, flush=True)

    with ExitStack() as opened:
        labelled = {uri: source for uri in frames if (source := open_labelled(uri)) is not None}
        drives = iter(open_sources([uri for uri in frames if uri not in labelled]))
        sources = [opened.enter_context(labelled.get(uri) or next(drives)) for uri in frames]
        result = make(loaded, sources, output, request, dataset, replace_existing=force, say=say)
    made = load_bundle(output)
    if json_:
        print(json.dumps(_facts(result, made.sha256, made.model.stat().st_size)))
        return
    before_mb, after_mb = loaded.model.stat().st_size / 1e6, made.model.stat().st_size / 1e6
    print(
        f"{output}: {result.layers - len(result.left_in_float)} of {result.layers} layers in INT8 "
        f"({result.int8_share:.1%} of the multiplications), {result.method}, {before_mb:.1f} to {after_mb:.1f} MB"
    )
    if result.left_in_float:
        print(f"  left in float: {', '.join(result.left_in_float)}")
    for judgement in result.verdict.judgements:
        before_ms, after_ms = result.cpu_ms[judgement.engine]
        line = (
            f"  {judgement.engine}: finds {judgement.agreement.share:.1%} of {judgement.agreement.count:g} that float "
            f"finds, and float {judgement.borne_out.share:.1%} of what it finds"
        )
        if (accuracy := judgement.accuracy) is not None:
            low, high = accuracy.loss_bounds
            line += (
                f"; {accuracy.before.measure} {accuracy.before.value:.3f} to {accuracy.after.value:.3f}, "
                f"lost {accuracy.loss:+.3f} ({low:+.3f} to {high:+.3f}, {_verdict(low, high)})"
            )
        print(f"{line}; float32 {before_ms:.1f} ms of CPU, INT8 {after_ms:.1f} ms ({before_ms / after_ms:.2f} x)")
    if (same := result.verdict.same) is not None:
        print(f"  the same on both engines: {same.share:.1%}")


def _verdict(low: float, high: float) -> str:
    """What a loss between two bounds is."""
    if low <= 0 <= high:
        return "may be chance"
    if max(abs(low), abs(high)) < _NOTHING:
        return "next to nothing"
    return "a real loss" if low > 0 else "a real gain"


def _facts(result: Calibration, sha256: str, size: int) -> dict[str, Any]:
    from engines.quantize.calibration import key_of

    engines: dict[str, Any] = {}
    for judgement in result.verdict.judgements:
        before_ms, after_ms = result.cpu_ms[judgement.engine]
        facts: dict[str, Any] = {
            "agreement": round(judgement.agreement.share, 6),
            "borne_out": round(judgement.borne_out.share, 6),
            "cpu_ms": {"float32": round(before_ms, 4), "int8": round(after_ms, 4)},
        }
        if (accuracy := judgement.accuracy) is not None:
            facts[key_of(accuracy)] = {
                "float32": round(accuracy.before.value, 6),
                "int8": round(accuracy.after.value, 6),
            }
            facts["loss_bounds"] = [round(bound, 6) for bound in accuracy.loss_bounds]
        engines[judgement.engine] = facts
    return {
        "sha256": sha256,
        "model_bytes": size,
        "method": result.method,
        "layers": result.layers,
        "left_in_float": list(result.left_in_float),
        "int8_share": round(result.int8_share, 6),
        "engines": engines,
        "same_on_both_engines": None if result.verdict.same is None else round(result.verdict.same.share, 6),
    }
