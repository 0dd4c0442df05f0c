"""A dataset as plain values: images, and the boxes that people drew on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import DatasetError


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image and its N boxes; none is a statement too: there is nothing to find.

    `boxes` (N, 4) float64 left, top, right, bottom: in pixels, or, where `relative`, in parts of the image's width
    and height. `classes` (N,) indexes into the dataset's names. `crowd` (N,): a box around many, which a detector
    need not find and is not blamed for (COCO's `iscrowd`).
    """

    path: Path
    boxes: NDArray[np.float64]
    classes: NDArray[np.int32]
    crowd: NDArray[np.bool_]
    relative: bool = False
    size: tuple[int, int] | None = None  # width, height, where the labels say it

    def boxes_xyxy(self, width: int, height: int) -> NDArray[np.float64]:
        """Boxes (N, 4) in pixels of the image, which is of this size. Raises `DatasetError` when labels say another."""
        if self.size is not None and self.size != (width, height):
            raise DatasetError(
                str(self.path),
                f"is {width}x{height}, and its labels are for {self.size[0]}x{self.size[1]}",
                "give the images that were labelled",
            )
        return self.boxes * np.array([width, height] * 2, np.float64) if self.relative else self.boxes


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a dataset; `images` in the order of their names."""

    name: str
    split: str
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]

    @property
    def boxes(self) -> int:
        """How many boxes it has, crowds included."""
        return sum(len(image.boxes) for image in self.images)


def dataset_of(name: str, split: str, classes: Sequence[str], images: Sequence[LabelledImage], where: str) -> Dataset:
    """Put a dataset together. Raises `DatasetError` where no box is left to be found."""
    if not any(len(image.boxes) for image in images):
        raise DatasetError(where, f"split {split!r} has {len(images)} images and no label", "give a labelled split")
    return Dataset(name, split, tuple(classes), tuple(sorted(images, key=lambda image: str(image.path))))


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
