"""YOLO datasets: a `data.yaml`, and beside each image a text file of lines `class cx cy w h` in parts of the image.

The layout is that of Ultralytics' dataset description: the labels of `images/val/a.jpg` are `labels/val/a.txt`; an
image without a file of labels has nothing on it. A split is a folder, a list of folders, or a text file of images.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from engines.datasets.dataset import Dataset, Format, LabelledImage, Report, dataset_of
from engines.datasets.pixels import IMAGE_SUFFIXES
from engines.errors import DatasetError, NoLabelsError

SETTINGS_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_SPLITS = ("train", "val", "test")
_SLACK = 1e-3  # parts of the image by which a box may leave it: labelling tools round


def _find(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix in {".yaml", ".yml"} else None
    return next((path / name for name in SETTINGS_NAMES if (path / name).is_file()), None)


def _splits(settings: Path) -> list[str]:
    table = _table(settings)
    return [key for key in _SPLITS if table.get(key)]


def _read(settings: Path, split: str, report: Report) -> Dataset:
    table = _table(settings)
    names = _names(table.get("names"), settings)
    images = _images(settings, table.get("path"), table[split], report)
    if not images:
        raise DatasetError(str(settings), f"split {split!r} ({table[split]}) has no image", "check its folder")
    labels = [_labels_of(image) for image in images]
    _report_labels_without_image(images, labels, table[split], report)
    if not any(file.is_file() for file in labels):
        report(
            NoLabelsError(
                str(settings),
                f"split {split!r} has {len(images)} images and no label",
                f"put the boxes of {images[0].name} into {labels[0]}",
            )
        )
        return Dataset(_name(settings), split, tuple(names), tuple(map(LabelledImage.without_boxes, images)))
    pairs = [_labelled(image, file, len(names), report) for image, file in zip(images, labels, strict=True)]
    return dataset_of(_name(settings), split, names, pairs, str(settings), report)


def _name(settings: Path) -> str:
    return settings.resolve().parent.name


YOLO = Format("YOLO", _find, _splits, _read)


def _table(settings: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise DatasetError(
            str(settings), "cannot be read without the package pyyaml", "pip install 'edge-perception[evaluate]'"
        ) from None
    try:
        table = yaml.safe_load(settings.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = " ".join(str(error).split())[:200]
        raise DatasetError(str(settings), f"is not YAML ({first})", "mend it") from None
    if not isinstance(table, dict):
        raise DatasetError(str(settings), "holds no settings", "write names, train and val")
    return table


def _names(names: Any, settings: Path) -> list[str]:
    """Class names by index: a list, or a table of index to name."""
    if isinstance(names, dict) and names and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetError(str(settings), "names: is no list of class names", "write for example names: [car, person]")
    return [str(name) for name in names]


def _images(settings: Path, base: Any, split: Any, report: Report) -> list[Path]:
    """The split's images. Reports an image, raises `DatasetError` for a folder, that is not there."""
    folder = settings.parent
    root = folder / str(base) if base else folder
    images: list[Path] = []
    for entry in split if isinstance(split, list) else [split]:
        place = _existing(root / str(entry), folder / str(entry), folder / str(entry).removeprefix("../"))
        if place is None:
            raise DatasetError(str(settings), f"names {entry}, which is not there", f"looked for {root / str(entry)}")
        if place.is_dir():
            images += sorted(file for file in place.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
            continue
        for line in place.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip():
                image = _existing(place.parent / line.strip(), root / line.strip())
                if image is None:
                    report(
                        DatasetError(str(place), f"names {line.strip()}, which is not there", "copy the image there")
                    )
                else:
                    images.append(image)
    return images


def _existing(*places: Path) -> Path | None:
    return next((place for place in places if place.exists()), None)


def _labels_of(image: Path) -> Path:
    """The labels' file: the last folder `images` of the path becomes `labels`."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _report_labels_without_image(images: list[Path], labels: list[Path], split: Any, report: Report) -> None:
    """An image that is missing from a folder shows by its labels alone. A list of images may leave some out."""
    if any(str(entry).endswith(".txt") for entry in (split if isinstance(split, list) else [split])):
        return
    known = set(labels)
    for folder in sorted(
        {file.parent for file, image in zip(labels, images, strict=True) if file.parent != image.parent}
    ):
        for file in sorted(folder.glob("*.txt")):
            if file not in known and file.name != "classes.txt":  # which labelling tools put there
                report(
                    DatasetError(str(file), "labels an image that is not there", "copy the image, or delete the labels")
                )


def _labelled(image: Path, file: Path, classes: int, report: Report) -> LabelledImage:
    rows: list[tuple[float, ...]] = []
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(_row(line, classes, f"{file} line {number}"))
            except DatasetError as fault:
                report(fault)
    table = np.array(rows, np.float64).reshape(-1, 5)
    centres, halves = table[:, 1:3], table[:, 3:5] / 2
    boxes = np.clip(np.concatenate([centres - halves, centres + halves], axis=1), 0, 1)
    crowd = np.zeros(len(table), np.bool_)
    return LabelledImage(image, boxes, table[:, 0].astype(np.int32), crowd, relative=True)


def _row(line: str, classes: int, where: str) -> tuple[float, ...]:
    """One line's class, centre and size, checked. Raises `DatasetError`."""
    remedy = "a box is `class cx cy w h`, in parts of the image"
    try:
        row = tuple(float(word) for word in line.split())
    except ValueError:
        raise DatasetError(where, f"{line.strip()[:60]!r} is not all numbers", remedy) from None
    if len(row) != 5:
        raise DatasetError(where, f"has {len(row)} values", remedy)
    kind, *box = row
    if kind not in range(classes):
        raise DatasetError(where, f"class {kind:g} has no name", f"data.yaml names 0 to {classes - 1}")
    if not all(math.isfinite(value) and -_SLACK <= value <= 1 + _SLACK for value in box):
        raise DatasetError(where, "its box lies outside the image", remedy)
    if min(box[2:]) <= 0:
        raise DatasetError(where, "its box has no area", remedy)
    return row
