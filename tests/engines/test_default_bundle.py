"""The network that comes along: whole, in INT8 throughout, and as good as its card says."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from engines import default_bundle
from engines.bundle import load_bundle
from engines.datasets import Dataset, open_dataset
from engines.evaluate import evaluate
from engines.passport import read_passport
from engines.quantize.lint import lint

MOST_BYTES = 4_000_000
CLASSES = ("vehicle", "person", "cyclist", "other")
# The sets of the card: split, and what their classes are here; what is not named is `other`, which nobody looks for.
SETS = {
    "highway": ("val", {"bus": "vehicle", "car": "vehicle", "truck": "vehicle", "person": "person"}),
    "camvid": ("val", {"car": "vehicle", "pedestrian": "person", "bicyclist": "cyclist"}),
}
COLUMN = {"onnxruntime": 1, "openvino": 2}  # of the card's table, after the float's
CHANCE = 0.004  # another CPU rounds otherwise


def as_here(dataset: Dataset, names: dict[str, str]) -> Dataset:
    """With this bundle's classes; negative ones, which are no class, stay."""
    of_class = np.array([CLASSES.index(names.get(name, "other")) for name in dataset.classes], np.int32)
    images = tuple(
        replace(image, classes=np.where(image.classes >= 0, of_class[image.classes], image.classes))
        for image in dataset.images
    )
    return replace(dataset, classes=CLASSES, images=images)


def card() -> dict[tuple[str, str], list[str]]:
    """The rows of the card's table: by set and class, its figures as they are written."""
    rows = {}
    for line in (default_bundle() / "CARD.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 8 and re.fullmatch(r"\d+", cells[2]):
            rows[cells[0].split(",")[0].lower(), cells[1]] = cells[2:]
    return rows


def test_it_is_whole_small_and_in_int8_throughout() -> None:
    bundle = load_bundle(default_bundle())
    assert bundle.labels == CLASSES[:3]
    assert bundle.model.stat().st_size <= MOST_BYTES
    calibrated = read_passport(bundle.folder)["calibrated"]
    assert calibrated["onnx_sha256"] == hashlib.sha256(bundle.model.read_bytes()).hexdigest()
    assert calibrated["left_in_float"] == []
    model = onnx.load(bundle.model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == calibrated["layers"]
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    assert {makers.get(node.input[place]) for node in convolutions for place in (0, 1)} == {"DequantizeLinear"}
    assert lint(model) == []


def test_who_made_its_pictures_is_said() -> None:
    with (default_bundle() / "ATTRIBUTION.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    named = {part["dataset"]: 0 for part in read_passport(default_bundle())["trained"]["data"]}
    for part in read_passport(default_bundle())["trained"]["data"]:
        named[part["dataset"]] += part["images"]
    for dataset in ("openimages_vehicles", "coco_ccby", "openimages_street_unlabelled"):
        assert sum(row["dataset"] == dataset for row in rows) == named[dataset]
    assert all(row["licence"] and row["original"] for row in rows)
    assert not [row for row in rows if "SA" in row["licence"]]


@pytest.mark.data
@pytest.mark.parametrize("engine", COLUMN)
@pytest.mark.parametrize("name", SETS)
def test_it_is_as_good_as_its_card_says(name: str, engine: str, data: Path) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="pip install 'edge-perception[openvino]'")
    split, names = SETS[name]
    dataset = as_here(open_dataset(data / "labelled" / name, split), names)
    found = evaluate(load_bundle(default_bundle()), dataset, engine=engine, nms_iou=0.6)
    rows = {class_: figures for (of, class_), figures in card().items() if of == name}
    assert len(rows) == len(set(names.values()))
    for class_, figures in rows.items():
        boxes = sum(
            int((truths.classes[~truths.crowd] == found.classes.index(class_)).sum()) for truths in found.truths
        )
        assert int(figures[0]) == boxes
        assert float(figures[COLUMN[engine] + 1]) == pytest.approx(found.per_class[class_].ap50, abs=CHANCE)
