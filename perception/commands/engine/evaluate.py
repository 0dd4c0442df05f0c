"""`perception engine evaluate`: how accurate a bundle is on labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perception.commands.arguments import class_pairs

if TYPE_CHECKING:
    from engines.class_accuracy import MaskAccuracy, TopAccuracy


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
    segmenter each class's intersection over union (IoU). Of a plan it goes into its passport.
    """
    from engines.accuracy import measure
    from engines.bundle import load_bundle
    from engines.datasets import open_dataset
    from engines.evaluate import Evaluation
    from engines.measured import note

    loaded = load_bundle(bundle)
    pairs = class_pairs(map_)
    labelled = open_dataset(dataset, split)
    found = measure(loaded, labelled, engine=engine, threads=threads, class_map=pairs, score=score, nms_iou=nms)
    accuracy = {"measure": found.measure, "value": round(found.value, 6), "images": found.images}
    note(loaded, found.engine, "accuracy", {**accuracy, "dataset": labelled.name, "split": labelled.split})
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
