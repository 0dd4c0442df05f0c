"""COCO JSON: `images`, `annotations` with `bbox` [left, top, width, height] in pixels, `categories`.

The format is https://cocodataset.org/#format-data. Where the images lie is not said in it; the usual places are tried.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from engines.datasets.dataset import Dataset, Format, LabelledImage, Report, dataset_of
from engines.errors import DatasetError, NoLabelsError

_REMEDY = "give a COCO JSON file of boxes"


def annotation_files(folder: Path) -> dict[str, Path]:
    """Split -> its JSON file, of the layouts in use: `annotations/instances_SPLIT.json`, `SPLIT.json` there or here,
    `SPLIT/_annotations.coco.json`.
    """
    found: dict[str, Path] = {}
    for file in [*sorted(folder.glob("annotations/*.json")), *sorted(folder.glob("*.json"))]:
        found.setdefault(_split_of(file), file)
    for file in sorted(folder.glob("*/_annotations.coco.json")):
        found.setdefault("val" if file.parent.name == "valid" else file.parent.name, file)
    return found


def _split_of(file: Path) -> str:
    name = file.stem.removeprefix("instances_")
    for split in ("train", "val", "test"):
        if name in {split, f"{split}2014", f"{split}2017"}:
            return split
    return file.parent.name if name == "_annotations.coco" else name


def _find(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".json" else None
    return path if annotation_files(path) else None


def _files(path: Path) -> dict[str, Path]:
    return {_split_of(path): path} if path.is_file() else annotation_files(path)


def _read(path: Path, split: str, report: Report) -> Dataset:
    """Read one JSON file, or one of a folder's."""
    file = _files(path)[split]
    table = _table(file, report)
    try:
        categories = {int(row["id"]): str(row["name"]) for row in table["categories"]}
        positions = {category: position for position, category in enumerate(categories)}
        rows: dict[int, list[tuple[float, ...]]] = {int(row["id"]): [] for row in table["images"]}
        for number, row in enumerate(table["annotations"], start=1):
            try:
                _add(rows, row, positions, f"{file} annotation {row.get('id', number)}")
            except DatasetError as fault:
                report(fault)
        folders = _image_folders(file, split)
        found = [_labelled(row, rows[int(row["id"])], folders, file, report) for row in table["images"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else f"is not laid out as COCO ({error})"
        raise DatasetError(str(file), what, _REMEDY) from None
    name = path.resolve().name if path.is_dir() else path.stem
    images = [image for image in found if image is not None]
    return dataset_of(name, split, list(categories.values()), images, str(file), report)


COCO = Format("COCO", _find, lambda path: list(_files(path)), _read)


def _table(file: Path, report: Report) -> dict[str, Any]:
    try:
        table = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetError(str(file), f"is not JSON ({error})", _REMEDY) from None
    if not isinstance(table, dict):
        raise DatasetError(str(file), "is not laid out as COCO", _REMEDY)
    if not table.get("annotations"):
        report(NoLabelsError(str(file), "has no label (annotations)", "give the file of a labelled split"))
        table["annotations"] = []
    return table


def _add(rows: dict[int, list[tuple[float, ...]]], row: Any, positions: dict[int, int], where: str) -> None:
    if int(row["category_id"]) not in positions:
        raise DatasetError(where, f"category {row['category_id']} has no name", "list it under categories")
    if int(row["image_id"]) not in rows:
        raise DatasetError(where, f"image {row['image_id']} is not there", "list it under images")
    box = [float(value) for value in row["bbox"]]
    if len(box) != 4 or not all(map(math.isfinite, box)) or min(box[2:]) < 0:
        raise DatasetError(where, f"{row['bbox']} is no box", "a bbox is [left, top, width, height] in pixels")
    left, top, width, height = box
    if not width or not height:
        return  # COCO's own files hold a few boxes without area; its metrics cannot count them
    category = positions[int(row["category_id"])]
    rows[int(row["image_id"])].append((left, top, left + width, top + height, category, row.get("iscrowd", 0)))


def _image_folders(file: Path, split: str) -> list[Path]:
    """Where the images of a JSON file usually lie, nearest first."""
    names = ("", "images", split, f"images/{split}", file.stem.removeprefix("instances_"), f"images/{file.stem}")
    return [base / name for base in (file.parent, file.parent.parent) for name in names]


def _labelled(
    row: Any, boxes: list[tuple[float, ...]], folders: list[Path], file: Path, report: Report
) -> LabelledImage | None:
    """One image, or None where it is reported to be missing."""
    name = str(row["file_name"])
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        remedy = f"put it beside the file or into {folders[1]}"
        report(DatasetError(str(file), f"its image {name} is not there", remedy))
        return None
    table = np.array(boxes, np.float64).reshape(-1, 6)
    size = (int(row["width"]), int(row["height"])) if row.get("width") and row.get("height") else None
    return LabelledImage(
        path, table[:, :4].copy(), table[:, 4].astype(np.int32), table[:, 5].astype(np.bool_), size=size
    )
