"""One small dataset of each format, written as other people's tools write it.

Every one has splits `train` (images a, b, c) and `val` (image d), or `all` where its format has no splits on disk. The
images are 64x48 and each is different. Boxes: image a has one of the first class and one of the second.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 48
FIRST, SECOND = (8, 10, 40, 30), (44, 4, 60, 44)  # boxes of image a: left, top, right, bottom
NAMES = {"train": "abc", "val": "d"}


@dataclass(frozen=True)
class Made:
    """How a format's dataset is made, and what a reader has to find in it."""

    write: Callable[[Path], Path]  # into a folder; what to open
    boxes: bool
    classes: tuple[str, ...]
    splits: tuple[str, ...] = ("train", "val")
    suffix: str = ".png"
    bad_label: Callable[[Path], Path] | None = None  # spoils one label; its file
    without_image: Callable[[Path], Path] | None = None  # takes an image away that something names; its name


def picture(number: int) -> NDArray[np.uint8]:
    """A picture of grain, each number another."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST), np.uint8)


def write_image(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(number))
    return path


def _images(folder: Path, place: str, suffix: str = ".png") -> None:
    for split, names in NAMES.items():
        for name in names:
            write_image(folder / place.format(split=split) / f"{name}{suffix}", ord(name))


def _text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def yolo_line(kind: int, box: tuple[float, ...]) -> str:
    """A YOLO label of a box in pixels of these images."""
    left, top, right, bottom = box
    centre = (left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT
    return f"{kind} {centre[0]} {centre[1]} {(right - left) / WIDTH} {(bottom - top) / HEIGHT}\n"


def write_yolo(folder: Path) -> Path:
    _images(folder, "images/{split}")
    _text(folder / "labels/train/a.txt", yolo_line(0, FIRST) + yolo_line(1, SECOND))
    _text(folder / "labels/val/d.txt", yolo_line(1, SECOND))
    _text(folder / "data.yaml", "train: images/train\nval: images/val\nnames: [car, person]\n")
    return folder


def write_coco(folder: Path) -> Path:
    _images(folder, "{split}2017")
    for split, names in NAMES.items():
        images = [{"id": ord(n), "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in names]
        boxes = [(1, FIRST), (2, SECOND)] if split == "train" else [(2, SECOND)]
        rows = [
            {"id": i, "image_id": ord(names[0]), "category_id": kind, "bbox": [x, y, r - x, b - y]}
            for i, (kind, (x, y, r, b)) in enumerate(boxes)
        ]
        kinds = [{"id": 1, "name": "car"}, {"id": 2, "name": "person"}]
        table = {"images": images, "annotations": rows, "categories": kinds}
        _text(folder / f"annotations/instances_{split}2017.json", json.dumps(table))
    return folder


def kitti_line(kind: str, box: tuple[float, ...]) -> str:
    return f"{kind} 0.00 0 -0.20 {' '.join(f'{edge:.2f}' for edge in box)} 1.89 0.48 1.20 1.84 1.47 8.41 0.01\n"


def write_kitti(folder: Path) -> Path:
    _images(folder, "image_2")
    for name in "bcd":
        _text(folder / f"label_2/{name}.txt", "")
    _text(folder / "label_2/a.txt", kitti_line("Car", FIRST) + kitti_line("Van", SECOND))
    return folder


def write_masks(folder: Path) -> Path:
    _images(folder, "images/{split}")
    for split, names in NAMES.items():
        for name in names:
            mask = np.full((HEIGHT, WIDTH), 3, np.uint8)
            if name in "ad":
                for value, (left, top, right, bottom) in ((8, FIRST), (9, SECOND)):
                    mask[top:bottom, left:right] = value
            path = folder / "masks" / split / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), mask)
    return folder


def write_unlabelled(folder: Path) -> Path:
    _images(folder, "images/{split}")
    return folder


def write_image_folder(folder: Path) -> Path:
    for split, names in NAMES.items():
        for number, name in enumerate(names):
            write_image(folder / split / ("dog" if number % 2 else "cat") / f"{name}.png", ord(name))
    return folder


def write_image_zip(folder: Path) -> Path:
    write_image_folder(folder / "loose")
    for split in NAMES:
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
            for file in sorted((folder / "loose" / split).rglob("*.png")):
                archive.write(file, file.relative_to(folder / "loose" / split).as_posix())
    for file in sorted((folder / "loose").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (folder / "loose").rmdir()
    return folder


def _append(name: str, text: str) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        with (folder / name).open("a") as file:
            file.write(text)
        return folder / name

    return spoil


def _take_away(name: str) -> Callable[[Path], Path]:
    def take(folder: Path) -> Path:
        (folder / name).unlink()
        return Path(name)

    return take


def _bad_coco(folder: Path) -> Path:
    file = folder / "annotations/instances_train2017.json"
    table = json.loads(file.read_text())
    table["annotations"].append({"id": 9, "image_id": ord("b"), "category_id": 5, "bbox": [1, 1, 4, 4]})
    file.write_text(json.dumps(table))
    return file


def _bad_mask(folder: Path) -> Path:
    file = folder / "masks/train/b.png"
    cv2.imwrite(str(file), np.full((HEIGHT, WIDTH), 77, np.uint8))
    return file


KITTI_CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
MADE: dict[str, Made] = {
    "YOLO": Made(
        write_yolo,
        True,
        ("car", "person"),
        bad_label=_append("labels/train/a.txt", "7 0.5 0.5 0.1 0.1\n"),
        without_image=_take_away("images/train/a.png"),
    ),
    "COCO": Made(write_coco, True, ("car", "person"), bad_label=_bad_coco, without_image=_take_away("train2017/b.png")),
    "KITTI object": Made(
        write_kitti,
        True,
        KITTI_CLASSES,
        splits=("all",),
        bad_label=_append("label_2/a.txt", kitti_line("Ship", (1, 1, 9, 9))),
        without_image=_take_away("image_2/b.png"),
    ),
    "masks": Made(
        write_masks,
        True,
        ("car", "pedestrian", "bicyclist"),
        bad_label=_bad_mask,
        without_image=_take_away("images/train/b.png"),
    ),
    "images without labels": Made(write_unlabelled, False, ()),
    "images by class": Made(write_image_folder, False, ("cat", "dog")),
    "images by class, zipped": Made(write_image_zip, False, ("cat", "dog")),
}
