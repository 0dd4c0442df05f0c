"""Several datasets as one: every image by its index, drawn by the datasets' weights.

Images are decoded once and kept, as far as a stated number of bytes goes: decoding a JPEG takes several times as long
as all that is done to it afterwards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from engines.datasets import Dataset, LabelledImage, check_mask_size, read_mask, read_pixels
from engines.training.datasets.class_map import ClassMap
from engines.training.datasets.example import Example, Labels

CACHE_BYTES = 4 << 30  # decoded images that are kept: half of a small training machine's memory


@dataclass(frozen=True, slots=True)
class Part:
    """One dataset of a mixture: its images, what its classes are called here, and how often they are drawn.

    An image is drawn `weight` times as often as one of weight 1.
    """

    name: str
    images: tuple[LabelledImage, ...]
    class_map: ClassMap
    weight: float = 1.0


class Mixture:
    """Images of several datasets, under one list of classes. Safe to read from several threads."""

    classes: tuple[str, ...]
    parts: tuple[Part, ...]
    labels: Labels = Labels.BOXES  # what of the images is given: what teachers find are boxes
    teachers: tuple[dict[str, str], ...] = ()  # name and hash of the networks whose findings are among the boxes

    def __init__(
        self,
        classes: Sequence[str],
        parts: Sequence[Part],
        *,
        cache_bytes: int = CACHE_BYTES,
        longest_side: int | None = None,
        labels: Labels = Labels.BOXES,
    ) -> None:
        """`longest_side`: images that are longer, in pixels, are scaled down as they are read."""
        self.labels = labels
        self.classes = tuple(classes)
        self.parts = tuple(parts)
        self._longest_side = longest_side
        self._ends = np.cumsum([len(part.images) for part in parts]).tolist()
        self._alike = _shares_by_labels(self.parts)
        self._every = _Shares(self.parts, range(len(parts)))
        self._room = cache_bytes
        self._kept: dict[int, Example] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        """Give the number of images, each counted once whatever its weight."""
        return int(self._ends[-1])

    def part_of(self, index: int) -> Part:
        """The dataset that an image is of."""
        return self.parts[bisect_right(self._ends, index)]

    def path_of(self, index: int) -> Path:
        """Where an image lies, to name it to a person."""
        return self._image(index).path

    def _image(self, index: int) -> LabelledImage:
        part = bisect_right(self._ends, index)
        return self.parts[part].images[index - (self._ends[part - 1] if part else 0)]

    def read(self, index: int) -> Example:
        """Give an image and its boxes; the arrays are shared and read-only. Raises `DatasetError`, naming the file."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        example = self._made(index)
        with self._lock:
            if index not in self._kept and example.image.nbytes <= self._room:
                self._kept[index] = example
                self._room -= example.image.nbytes
        return example

    def _made(self, index: int) -> Example:
        labelled, class_map = self._image(index), self.part_of(index).class_map
        image = read_pixels(labelled.path)
        full = image.shape[1], image.shape[0]
        size = self._size(*full)
        if size != full:
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        if self.labels is Labels.BOXES:
            boxes = np.clip(labelled.boxes_xyxy(*full) * np.divide(size * 2, full * 2), 0, size * 2)
            found, classes, ignored = class_map.apply(boxes, labelled.classes, labelled.crowd)
            example = Example(image, found, classes, ignored, class_map.labelled)
        elif self.labels is Labels.CATEGORIES:
            assert labelled.category is not None  # `open_mixture` takes no others
            category = int(class_map.targets[labelled.category])
            example = Example.without_boxes(image, class_map.labelled, category=category)
        else:
            assert labelled.mask is not None
            mask = read_mask(labelled.mask)
            check_mask_size(labelled.mask, mask, *full)
            mask = class_map.masked(mask)
            if size != full:
                mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
            example = Example.without_boxes(image, class_map.labelled, mask=mask)
        for array in (example.image, example.boxes_xyxy, example.classes, example.ignored_xyxy, example.mask):
            if array is not None:
                array.flags.writeable = False
        return example

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that an image of this size is kept at."""
        longest = max(width, height)
        if self._longest_side is None or longest <= self._longest_side:
            return width, height
        factor = self._longest_side / longest
        return max(1, round(width * factor)), max(1, round(height * factor))

    def shares(self) -> list[float]:
        """The share of all draws that each part has."""
        weights = [part.weight * len(part.images) for part in self.parts]
        return [weight / sum(weights) for weight in weights]

    def datasets(self, split: str) -> list[Dataset]:
        """Its parts as datasets of its own classes, to be looked at; ignored places are crowds of any class."""
        return [
            Dataset(part.name, split, self.classes, tuple(map(part.class_map.relabelled, part.images)))
            for part in self.parts
        ]

    def preload(self, threads: int = 1) -> int:
        """Decode images until all, or as many as there is room for, are kept; give their bytes.

        Before loader processes are forked, so that they share what is kept. Raises `DatasetError`.
        """
        with ThreadPoolExecutor(threads) as pool:
            for number, _ in enumerate(pool.map(self.read, range(len(self)))):
                if number >= len(self._kept) + threads:  # full: nothing more is kept, so nothing more is decoded
                    pool.shutdown(wait=True, cancel_futures=True)
                    break
        return sum(example.image.nbytes for example in self._kept.values())

    def draw(self, rng: np.random.Generator, like: int | None = None) -> int:
        """Give an index by the weights. `like`: of a dataset that labels the same classes as that image's does."""
        if like is None:
            return self._every.draw(rng)
        return self._alike[self.part_of(like).class_map.labelled.tobytes()].draw(rng)


class _Shares:
    """Draws among some parts: first a part, by weight times images, then one of its images."""

    def __init__(self, parts: Sequence[Part], chosen: Sequence[int]) -> None:
        starts = np.cumsum([0, *(len(part.images) for part in parts)])
        self._starts = [int(starts[number]) for number in chosen]
        self._counts = [len(parts[number].images) for number in chosen]
        shares = np.array([parts[number].weight * len(parts[number].images) for number in chosen])
        self._ends = (np.cumsum(shares) / shares.sum())[:-1].tolist()

    def draw(self, rng: np.random.Generator) -> int:
        part = bisect_right(self._ends, rng.random())
        return self._starts[part] + int(rng.integers(self._counts[part]))


def _shares_by_labels(parts: Sequence[Part]) -> dict[bytes, _Shares]:
    groups: dict[bytes, list[int]] = {}
    for number, part in enumerate(parts):
        groups.setdefault(part.class_map.labelled.tobytes(), []).append(number)
    return {labelled: _Shares(parts, chosen) for labelled, chosen in groups.items()}
