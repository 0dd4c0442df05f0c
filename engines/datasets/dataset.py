"""A dataset as plain values: images, and what people said is on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.errors import DatasetError, NoLabelsError

ANY_CLASS = -1  # in `LabelledImage.classes`, of crowds only: whatever is in there, it does not count
ALL = "all"  # the split of a dataset that has none on disk

Report: TypeAlias = Callable[[DatasetError], None]
"""What is done about a fault. Where it returns, the reader goes on without what is at fault."""


def refuse(fault: DatasetError) -> None:
    """The usual `Report`: the first fault ends it."""
    raise fault


def unless_unlabelled(report: Report) -> Report:
    """A `Report` for images that need no labels: that there are none is not told, every other fault is."""

    def told(fault: DatasetError) -> None:
        if not isinstance(fault, NoLabelsError):
            report(fault)

    return told


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image and its N boxes; none is a statement too: there is nothing to find.

    `path` of the image, or of an entry in a zip file (`train.zip/dog/1.jpg`): `read_pixels` reads both.
    `boxes` (N, 4) float64 left, top, right, bottom: in pixels, or, where `relative`, in parts of the image's width
    and height. `classes` (N,) indexes into the dataset's names. `crowd` (N,): a box around many, which a detector
    need not find and is not blamed for (COCO's `iscrowd`); its class may be `ANY_CLASS` (KITTI's `DontCare`).
    `mask`: an 8-bit image of the same size, whose values are indexes into the dataset's `mask_classes`.
    `category`: of the image as a whole, an index into the dataset's names.
    """

    path: Path
    boxes: NDArray[np.float64]
    classes: NDArray[np.int32]
    crowd: NDArray[np.bool_]
    relative: bool = False
    size: tuple[int, int] | None = None  # width, height, where the labels say it
    mask: Path | None = None
    category: int | None = None

    def boxes_xyxy(self, width: int, height: int) -> NDArray[np.float64]:
        """Boxes (N, 4) in pixels of the image, which is of this size, clipped to it.

        Raises `DatasetError` when the labels are for another size, and for a box that lies outside.
        """
        if self.size is not None and self.size != (width, height):
            raise DatasetError(
                str(self.path),
                f"is {width}x{height}, and its labels are for {self.size[0]}x{self.size[1]}",
                "give the images that were labelled",
            )
        edges = np.array([width, height] * 2, np.float64)
        boxes = np.clip(self.boxes * edges if self.relative else self.boxes, 0, edges)
        outside = (boxes[:, :2] >= boxes[:, 2:]).any(axis=1)
        if outside.any():
            box = ", ".join(f"{value:g}" for value in self.boxes[outside.argmax()])
            raise DatasetError(
                str(self.path), f"is {width}x{height}, and its box ({box}) lies outside", "mend the label, or delete it"
            )
        return boxes

    @staticmethod
    def without_boxes(path: Path, category: int | None = None) -> LabelledImage:
        """An image that nobody drew boxes on."""
        return LabelledImage(path, np.empty((0, 4)), np.empty(0, np.int32), np.empty(0, np.bool_), category=category)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a dataset; `images` in the order of their names.

    `mask_classes` are the names of the values of its masks; a value beyond them is unlabelled.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    mask_classes: tuple[str, ...] = ()

    @property
    def boxes(self) -> int:
        """How many boxes it has, crowds included."""
        return sum(len(image.boxes) for image in self.images)


@dataclass(frozen=True, slots=True)
class Format:
    """One way in which datasets lie on disk.

    `find` gives the file or folder that such a dataset begins with, or None where a path holds none. That is what
    `splits` and `read` take. `read` raises `DatasetError` where nothing can be read, and reports what it can do
    without.
    """

    name: str
    find: Callable[[Path], Path | None]
    splits: Callable[[Path], list[str]]
    read: Callable[[Path, str, Report], Dataset]


def dataset_of(
    name: str, split: str, classes: Sequence[str], images: Sequence[LabelledImage], where: str, report: Report
) -> Dataset:
    """Put a dataset of boxes together. Reports where no box is left to be found."""
    if not any(len(image.boxes) for image in images):
        report(NoLabelsError(where, f"split {split!r} has {len(images)} images and no label", "give a labelled split"))
    return Dataset(name, split, tuple(classes), in_order(images))


def in_order(images: Iterable[LabelledImage]) -> tuple[LabelledImage, ...]:
    """By name, so that a dataset is the same on every machine."""
    return tuple(sorted(images, key=lambda image: str(image.path)))


def choose_split(wanted: str | None, known: Iterable[str], where: str) -> str:
    """Pick the split to read: the one asked for, or the usual one. Raises `DatasetError`."""
    known = list(known)
    listed = ", ".join(known) or "none"
    if wanted is not None:
        if wanted in known:
            return wanted
        near = get_close_matches(wanted, known, n=1)
        raise DatasetError(
            where,
            f"has no split {wanted!r}",
            f"did you mean {near[0]!r}?" if near else f"it has {listed}",
        )
    for usual in ("val", "test"):
        if usual in known:
            return usual
    if len(known) == 1:
        return known[0]
    raise DatasetError(where, f"does not say which split to take (it has {listed})", "give --split")
