"""KITTI's object benchmark: `image_2/NAME.png`, `label_2/NAME.txt`, one object a line.

A line is `type truncated occluded alpha left top right bottom ...` (the development kit's readme); edges are taken as
the kit's evaluation takes them, a box as wide as their difference. `DontCare` marks regions where objects are too far
to be labelled: a crowd of any class.

The benchmark has no validation set, and its frames are shuffled frames of drives: neighbours lie on both sides of a
split by name. So there is one split, `all`, but where `ImageSets/train.txt` and `val.txt` say otherwise.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from engines.datasets.dataset import ALL, ANY_CLASS, Dataset, Format, LabelledImage, Report, dataset_of
from engines.datasets.pixels import IMAGE_SUFFIXES
from engines.errors import DatasetError

CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
_DONT_CARE = "DontCare"
_REMEDY = "a line is `type truncated occluded alpha left top right bottom ...`"
_FIELDS = 15  # of a label; 16 with the score of a result


def _find(path: Path) -> Path | None:
    places = (path, path / "training")
    return next((p for p in places if (p / "image_2").is_dir() and (p / "label_2").is_dir()), None)


def _lists(folder: Path) -> dict[str, Path]:
    """Split -> its file of names, one a line."""
    places = (folder / "ImageSets", folder.parent / "ImageSets")
    found = {file.stem: file for place in places for file in sorted(place.glob("*.txt"))}
    return {split: found[split] for split in ("train", "val") if split in found}


def _splits(folder: Path) -> list[str]:
    return list(_lists(folder)) or [ALL]


def _read(folder: Path, split: str, report: Report) -> Dataset:
    images = {file.stem: file for file in sorted((folder / "image_2").iterdir()) if file.suffix in IMAGE_SUFFIXES}
    labels = {file.stem: file for file in sorted((folder / "label_2").glob("*.txt"))}
    names = sorted(images.keys() | labels.keys()) if split == ALL else _lists(folder)[split].read_text().split()
    found = []
    for name in names:
        if name not in images:
            thing = str(labels.get(name, folder / "image_2" / name))
            report(DatasetError(thing, "its image is not there", f"copy it to {folder / 'image_2'}"))
        elif name not in labels:
            report(DatasetError(str(images[name]), "has no labels", f"copy {name}.txt to {folder / 'label_2'}"))
        else:
            found.append(_labelled(images[name], labels[name], report))
    return dataset_of(folder.resolve().name, split, CLASSES, found, str(folder), report)


def _labelled(image: Path, file: Path, report: Report) -> LabelledImage:
    rows: list[tuple[float, ...]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if line.strip():
            try:
                rows.append(_row(line, f"{file} line {number}"))
            except DatasetError as fault:
                report(fault)
    table = np.array(rows, np.float64).reshape(-1, 5)
    kinds = table[:, 4].astype(np.int32)
    return LabelledImage(image, table[:, :4].copy(), kinds, kinds == ANY_CLASS)


def _row(line: str, where: str) -> tuple[float, ...]:
    """One line's box in pixels and its class, checked. Raises `DatasetError`."""
    kind, *fields = line.split()
    if len(fields) + 1 < _FIELDS:
        raise DatasetError(where, f"has {len(fields) + 1} values, not {_FIELDS}", _REMEDY)
    if kind not in (*CLASSES, _DONT_CARE):
        raise DatasetError(where, f"{kind[:40]!r} is no class of KITTI", f"it has {', '.join(CLASSES)}, {_DONT_CARE}")
    try:
        box = [float(word) for word in fields[3:7]]
    except ValueError:
        raise DatasetError(where, f"{' '.join(fields[3:7])[:60]!r} is not all numbers", _REMEDY) from None
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)) or left >= right or top >= bottom:
        raise DatasetError(where, f"{' '.join(fields[3:7])} is no box", _REMEDY)
    return left, top, right, bottom, ANY_CLASS if kind == _DONT_CARE else CLASSES.index(kind)


KITTI_OBJECT = Format("KITTI object", _find, _splits, _read)
