"""`perception engine`: bundles made, looked at and measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perception.commands.build import build
from perception.commands.calibrate import calibrate
from perception.commands.pairs import class_pairs, split_pair
from perception.commands.prune import prune
from perception.commands.report import report
from perception.commands.train import export, train

if TYPE_CHECKING:
    from engines.bundle import Bundle
    from engines.class_accuracy import MaskAccuracy, TopAccuracy

app = typer.Typer(
    help="Networks as bundles: train, prune, report, import, inspect, bench, evaluate, calibrate, build.",
    no_args_is_help=True,
)
app.command(no_args_is_help=True)(train)
app.command(no_args_is_help=True)(export)
app.command(no_args_is_help=True)(report)
app.command(no_args_is_help=True)(prune)
app.command(no_args_is_help=True)(calibrate)
app.command(no_args_is_help=True)(build)

Vector = tuple[float, float, float]
OR_DEFAULT = "Default: the one that comes along."


@app.command("import", no_args_is_help=True)
def import_(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The network to import.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the new bundle.")],
    decoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="classification, nanodet, segmentation, yolov8 or yolox; default: recognised."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Class names, one a line (of several groups one after the other), or `coco`; "
            "default: the model's metadata, or for groups of two classes `background` and the role.",
        ),
    ] = None,
    colour: Annotated[str | None, typer.Option(metavar="BGR|RGB", help="Order of the input's channels.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="A pixel x of 0..255 goes in as (x * scale - mean) / std.")
    ] = None,
    mean: Annotated[Vector | None, typer.Option(help="In the order of the channels.")] = None,
    std: Annotated[Vector | None, typer.Option(help="In the order of the channels.")] = None,
    fit: Annotated[
        str | None, typer.Option(metavar="FIT", help="letterbox-top-left, letterbox-centred or stretch.")
    ] = None,
    pad: Annotated[int | None, typer.Option(min=0, max=255, help="Grey around a letterboxed image.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="For a network whose input size is free.")
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=NAME",
            help="A decoder's role and the output that plays it; may be given again. "
            "For segmentation a role is the name of a group of classes, for example drivable or lanes.",
        ),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Run it on this video or folder and say, or sketch, what it finds."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle of that name.")] = False,
) -> None:
    """Make a bundle of an ONNX file. What is not said is taken from the decoder's family.

    The finished bundle is run once before it takes its name: it is there and works, or it is not there.
    """
    from engines.importing import ImportOptions, import_network
    from sensors.opening import open_source

    options = ImportOptions(
        decoder=decoder,
        labels=labels,
        colour=one_of("--colour", colour, ("BGR", "RGB")),
        mean=mean,
        std=std,
        scale=scale,
        fit=_fit(fit),
        pad=pad,
        size=parse_size(size),
        outputs=_roles(outputs) if outputs else None,
    )
    if probe:
        open_source(probe).close()  # a wrong name is said before anything is written
    bundle = import_network(model, output, options, replace_existing=force)
    settings = bundle.settings
    print(
        f"{output}: {settings.decoder}, {settings.input.width}x{settings.input.height} {settings.input.colour}, "
        f"{settings.fit.value}, {len(bundle.labels)} classes"
    )
    if probe:
        _probe(bundle, probe)
    unnamed = [role for role in settings.outputs if role.startswith("group_")]
    if settings.decoder == "segmentation" and not outputs and unnamed:
        roles = " ".join(f"--outputs NAME={output}" for output in settings.outputs.values())
        where = "the sketches" if probe else "a sketch of each (--probe SOURCE)"
        print(f"  its groups have no names yet; what they are, {where} may show. Name them: {roles} --force")


def _probe(bundle: Bundle, uri: str) -> None:
    from engines.probe import advice, probe
    from sensors.opening import open_source

    with open_source(uri) as source:
        findings = probe(bundle, source)
    for seen in findings[0].groups:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in list(seen.shares.items())[:6])
        print(f"  {seen.group}, from the output {seen.output!r}: {shares}")
        print("\n".join(f"    {line}" for line in seen.sketch))
    things = "frames" if bundle.settings.decoder == "classification" else "boxes"
    for finding in findings:
        if finding.groups:
            continue
        classes = ", ".join(f"{name} {count}" for name, count in list(finding.classes.items())[:6])
        print(f"  {finding.how:<14} {finding.boxes:>4} {things}, mean score {finding.mean_score:.2f}  {classes}")
    if hint := advice(findings):
        print(f"  {hint}")


@app.command()
def inspect(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help=OR_DEFAULT)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print what a bundle is: input, outputs, classes, hash and passport."""
    from engines import default_bundle
    from engines.bundle import load_bundle
    from engines.passport import read_passport
    from engines.runtime.onnxruntime import open_session, signature_of

    loaded = load_bundle(bundle or default_bundle())
    settings = loaded.settings
    signature = signature_of(open_session(loaded.model, threads=1))
    facts: dict[str, Any] = {
        "bundle": loaded.name,
        "sha256": loaded.sha256,
        "model_bytes": loaded.model.stat().st_size,
        **settings.model_dump(mode="json"),
        "onnx_inputs": [str(tensor) for tensor in signature.inputs],
        "onnx_outputs": [str(tensor) for tensor in signature.outputs],
        "labels": list(loaded.labels),
        "passport": read_passport(loaded.folder),
    }
    if json_:
        print(json.dumps(facts))
        return
    imported = facts["passport"].get("imported", {})
    size = settings.input
    rows = {
        "bundle": f"{loaded.name}  ({facts['model_bytes'] / 1e6:.1f} MB)",
        "sha256": loaded.sha256,
        "decoder": settings.decoder,
        "input": f"{size.width}x{size.height} {size.layout} {size.colour}, {settings.fit.value}, pad {settings.pad}",
        "pixels": f"(x * {settings.scale:g} - {list(settings.mean)}) / {list(settings.std)}",
        "roles": ", ".join(f"{role} = {name}" for role, name in settings.outputs.items()),
        "onnx in": "; ".join(facts["onnx_inputs"]),
        "onnx out": "; ".join(facts["onnx_outputs"]),
        "classes": f"{len(loaded.labels)}: {', '.join(loaded.labels[:12])}{', ...' if len(loaded.labels) > 12 else ''}",
        "imported": f"from {imported.get('from', '?')} at {imported.get('at', '?')} by {imported.get('by', '?')}",
    }
    if calibrated := facts["passport"].get("calibrated"):
        in_int8 = calibrated["layers"] - len(calibrated["left_in_float"])
        frames = calibrated["frames"]
        rows["int8"] = (
            f"of {calibrated['from']}, {in_int8} of {calibrated['layers']} layers, {calibrated['method']}, "
            f"by {frames['calibrated_on']} frames of {', '.join(frames['sources'])} at {calibrated['at']}"
        )
    for name, value in rows.items():
        print(f"{name:<9} {value}")


@app.command()
def bench(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help=OR_DEFAULT)] = None,
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or tensorrt_rtx.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    in_flight: Annotated[int, typer.Option(min=1, max=16, help="Inferences at once; what a run has is 2.")] = 2,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long to measure.")] = 3.0,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the raw engine: inference alone, with its slots kept full.

    On a GPU each query has its copies (H2D, D2H) and preprocessing in it, in trtexec's sense of the words.
    """
    from engines import default_bundle
    from engines.bench import measure
    from engines.bundle import load_bundle
    from engines.runtime import open_engine

    with open_engine(load_bundle(bundle or default_bundle()), engine, slots=in_flight, threads=threads) as opened:
        speed = measure(opened, seconds)
        name, device, notes = opened.name, opened.device, (*opened.notes, *speed.remarks)
    latency = {key: round(value, 4) for key, value in speed.latency_ms.items()}
    if json_:
        facts = {
            "fps": round(speed.fps, 3),
            "latency_ms": latency,
            "engine": name,
            "device": device,
            "threads": threads,
            "in_flight": speed.in_flight,
            "gpu_ms": {
                stage: {key: round(value, 4) for key, value in of_stage.items()}
                for stage, of_stage in speed.gpu_ms.items()
            },
            "notes": notes,
        }
        print(json.dumps(facts))
        return
    how = f"{threads} thread{'s' if threads > 1 else ''}" if not speed.gpu_ms else "a GPU"
    print(f"{name} on {device}, {how}, {speed.in_flight} in flight, {speed.inferences} inferences")
    print(f"{speed.fps:.1f} fps, latency p50 {latency['p50']:.2f} ms, p99 {latency['p99']:.2f} ms")
    for stage, of_stage in speed.gpu_ms.items():
        figures = ", ".join(f"{key} {value:.3f}" for key, value in of_stage.items())
        print(f"  {stage:<10} {figures} ms")
    for note in notes:
        print(f"note: {note}")


@app.command(no_args_is_help=True)
def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="A folder: of boxes (YOLO, COCO, KITTI object), masks, or images by class; or a data.yaml, COCO JSON.",
        ),
    ],
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: val, else test, else the only one.")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="BUNDLE_CLASS=DATASET_CLASS",
            help="Classes that are the same; may be given again, several for one of the other side too. "
            "Classes not named here are the same where their names are.",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or tensorrt_rtx.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    score: Annotated[float, typer.Option(min=0, max=1, help="Boxes above it count.")] = 0.01,
    nms: Annotated[float, typer.Option(min=0, max=1, help="IoU above which the better box of a class stays.")] = 0.65,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure accuracy on labelled images, through a real engine.

    Of a detector COCO's average precision, of a classifier the share of images that it names rightly (top-1), of a
    segmenter each class's intersection over union (IoU).
    """
    from engines.accuracy import measure
    from engines.bundle import load_bundle
    from engines.datasets import open_dataset
    from engines.evaluate import Evaluation

    loaded = load_bundle(bundle)
    pairs = class_pairs(map_)
    labelled = open_dataset(dataset, split)
    found = measure(loaded, labelled, engine=engine, threads=threads, class_map=pairs, score=score, nms_iou=nms)
    if not isinstance(found, Evaluation):
        _print_classes(found, json_)
        return
    if json_:
        facts = {
            "map": round(found.map, 6),
            "ap50": round(found.ap50, 6),
            "per_class": {
                name: {"ap": _rounded(of_class.ap), "ap50": _rounded(of_class.ap50)}
                for name, of_class in found.per_class.items()
            },
            "images": found.images,
            "engine": found.engine,
            "bundle": found.bundle,
            "score": score,
            "nms": nms,
        }
        print(json.dumps(facts))
        return
    print(f"{found.bundle} on {found.engine}, {found.images} images, score > {score:g}, NMS {nms:g}")
    width = max(len(name) for name in ("all classes", *found.classes))
    print(f"{'':<{width}}  {'AP50':>6}  {'AP50-95':>7}  {'boxes':>6}")
    for position, (name, of_class) in enumerate(found.per_class.items()):
        boxes = sum(int(((truths.classes == position) & ~truths.crowd).sum()) for truths in found.truths)
        print(f"{name:<{width}}  {_figure(of_class.ap50):>6}  {_figure(of_class.ap):>7}  {boxes:>6}")
    boxes = sum(int((~truths.crowd).sum()) for truths in found.truths)
    print(f"{'all classes':<{width}}  {found.ap50:>6.3f}  {found.map:>7.3f}  {boxes:>6}")
    if found.unjudged:
        print(f"not judged, for they are no class of the bundle: {', '.join(found.unjudged)} (see --map)")


def _print_classes(found: TopAccuracy | MaskAccuracy, as_json: bool) -> None:
    """Print what a classifier or a segmenter is worth."""
    if as_json:
        facts = {
            "measure": found.measure,
            "value": round(found.value, 6),
            "per_class": {name: _rounded(value) for name, value in found.per_class.items()},
            "images": found.images,
            "engine": found.engine,
            "bundle": found.bundle,
        }
        print(json.dumps(facts))
        return
    print(f"{found.bundle} on {found.engine}, {found.images} images")
    width = max(len(name) for name in ("all classes", *found.classes))
    of_class, counted = ("top-1", "images") if found.measure == "top-1" else ("IoU", "pixels")
    print(f"{'':<{width}}  {of_class:>6}  {counted:>11}")
    for name, value in found.per_class.items():
        print(f"{name:<{width}}  {_figure(value):>6}  {found.counts[name]:>11,}")
    print(f"{'all classes':<{width}}  {found.value:>6.3f}  {sum(found.counts.values()):>11,}")
    if found.unjudged:
        print(f"not judged, for they are no class of the bundle: {', '.join(found.unjudged)} (see --map)")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def one_of(option: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    """The value, or None. Raises `UsageError` where it is none of those allowed."""
    from perception.errors import UsageError

    if value is None or value in allowed:
        return value
    raise UsageError(f"{option} {value}", "is unknown", f"use one of {', '.join(allowed)}")


def _fit(text: str | None) -> Any:
    from engines.letterbox import Fit

    name = one_of("--fit", text, tuple(fit.value for fit in Fit))
    return None if name is None else Fit(name)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Width and height of `640x384`, or None. Raises `UsageError`."""
    from perception.errors import UsageError

    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"--size {text}", "is no size", "write it as 640x384")
    return int(width), int(height)


def _roles(pairs: list[str]) -> dict[str, str]:
    from perception.errors import UsageError

    roles: dict[str, str] = {}
    for pair in pairs:
        role, name = split_pair("--outputs", pair, "ROLE=NAME", "predictions=output0")
        if role in roles:
            raise UsageError(f"--outputs {pair}", f"names the role {role} again", "give each output a role of its own")
        roles[role] = name
    return roles
