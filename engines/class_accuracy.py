"""How often classes are right: of whole pictures (top-1) and of pixels (intersection over union)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.average_precision import mean_of
from engines.bundle import Bundle
from engines.datasets import Dataset, LabelledImage, check_mask_size, read_mask, read_pixels
from engines.decoders import NonFiniteOutputError
from engines.errors import BundleError, DatasetError, EngineError
from engines.inference import decoder_for, found_on
from engines.letterbox import Geometry
from engines.matched_classes import MatchedClasses, match_classes
from engines.results import Classification, ClassMap, Found, SegmentationMap, Thresholds
from engines.runtime import AUTO, Engine, open_engine

Indices = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class TopAccuracy:
    """Whole pictures: `truth` and `found` (N,) are indexes into `classes`, image by image; -1: found none of them."""

    measure: ClassVar[str] = "top-1"

    bundle: str
    engine: str
    classes: tuple[str, ...]
    unjudged: tuple[str, ...]
    truth: NDArray[np.int64]
    found: NDArray[np.int64]

    @property
    def images(self) -> int:
        """How many were judged."""
        return len(self.truth)

    @property
    def value(self) -> float:
        """The share that is right."""
        return float((self.truth == self.found).mean())

    def value_of(self, indices: Indices) -> float:
        """The same over these images, each as often as its index is given."""
        return float((self.truth[indices] == self.found[indices]).mean())

    @property
    def per_class(self) -> dict[str, float | None]:
        """Of each class's images the share that is right; None of a class that has none."""
        right, counts = self.truth == self.found, self.counts
        return {
            name: float(right[self.truth == position].mean()) if counts[name] else None
            for position, name in enumerate(self.classes)
        }

    @property
    def counts(self) -> dict[str, int]:
        """How many images of each class there are."""
        found = np.bincount(self.truth, minlength=len(self.classes))
        return dict(zip(self.classes, found.tolist(), strict=True))


@dataclass(frozen=True)
class MaskAccuracy:
    """Pixels: `pixels` (N, classes, 3) by image and class: found rightly, found, to be found. Unlabelled ones in none.

    The figure of a class is its intersection over union on all images together, that of all classes their mean.
    """

    measure: ClassVar[str] = "mean IoU"

    bundle: str
    engine: str
    classes: tuple[str, ...]
    unjudged: tuple[str, ...]
    pixels: NDArray[np.int64]

    @property
    def images(self) -> int:
        """How many were judged."""
        return len(self.pixels)

    @property
    def value(self) -> float:
        """Mean IoU over the classes that are there."""
        return mean_of(intersection_over_union(self.pixels.sum(axis=0)))

    def value_of(self, indices: Indices) -> float:
        """The same over these images, each as often as its index is given."""
        return mean_of(intersection_over_union(self.pixels[indices].sum(axis=0)))

    @property
    def per_class(self) -> dict[str, float | None]:
        """IoU of each class; None of one that no image has."""
        shares = intersection_over_union(self.pixels.sum(axis=0)).tolist()
        return {name: None if np.isnan(share) else share for name, share in zip(self.classes, shares, strict=True)}

    @property
    def counts(self) -> dict[str, int]:
        """How many pixels of each class there are."""
        return dict(zip(self.classes, self.pixels[:, :, 2].sum(axis=0).tolist(), strict=True))


def intersection_over_union(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU (classes,) of counts (classes, 3): found rightly, found, to be found. NaN where there is none to be found."""
    both, found, wanted = pixels.T.astype(np.float64)
    shares: NDArray[np.float64] = np.where(wanted > 0, both / np.maximum(found + wanted - both, 1), np.nan)
    return shares


def count_pixels(found: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]], classes: int) -> NDArray[np.int64]:
    """Counts (classes, 3) of two maps of one size, see `MaskAccuracy`. A class below 0 is none: unlabelled in truth."""
    known = truth >= 0
    found, truth = found[known], truth[known]
    shared = found[found == truth]
    return np.stack(
        [np.bincount(values[values >= 0], minlength=classes) for values in (shared, found, truth)], axis=1
    ).astype(np.int64)


def evaluate_categories(
    bundle: Bundle,
    dataset: Dataset,
    *,
    engine: str = AUTO,
    threads: int = 1,
    class_map: Sequence[tuple[str, str]] = (),
) -> TopAccuracy:
    """Run a classifier over images of which each is of one class.

    `class_map`: pairs (bundle's class, dataset's class), see `match_classes`. Images of classes that the bundle has no
    counterpart for are left out. Raises `DatasetError`, `BundleError`, `EngineError`.
    """
    if not any(image.category is not None for image in dataset.images):
        raise DatasetError(dataset.name, "has no class for each image", "give images by class: CLASS/NAME.jpg")
    classes = match_classes(bundle.labels, dataset.classes, class_map)
    images = [image for image in dataset.images if _category(image, classes) >= 0]
    if not images:
        raise DatasetError(dataset.name, f"has no image of {', '.join(classes.names)}", "map other classes with --map")
    ours = np.array(classes.of_bundle)
    found: list[int] = []
    with open_engine(bundle, engine, slots=2, threads=threads) as opened:
        for one in _found(bundle, opened, images):
            if not isinstance(one, Classification):
                raise BundleError(str(bundle.folder), "is no classifier", "give one: the dataset names whole images")
            found.append(int(ours[one.classes[0]]))
        name = opened.name
    truth = np.array([_category(image, classes) for image in images], np.int64)
    unjudged = _unjudged(dataset.classes, classes)
    return TopAccuracy(bundle.name, name, classes.names, unjudged, truth, np.array(found, np.int64))


def evaluate_masks(
    bundle: Bundle,
    dataset: Dataset,
    *,
    engine: str = AUTO,
    threads: int = 1,
    class_map: Sequence[tuple[str, str]] = (),
) -> MaskAccuracy:
    """Run a segmenter over images with masks; what it finds is brought to the masks' size, the nearest pixel each.

    As `evaluate_categories` else. Of several groups each has its own answer for a pixel, and each is judged.
    """
    if not dataset.mask_classes:
        raise DatasetError(dataset.name, "has no masks", "give images/SPLIT/NAME.jpg with masks/SPLIT/NAME.png")
    classes = match_classes(bundle.labels, dataset.mask_classes, class_map)
    theirs = np.full(256, -1)
    theirs[: len(dataset.mask_classes)] = classes.of_dataset
    pixels: list[NDArray[np.int64]] = []
    with open_engine(bundle, engine, slots=2, threads=threads) as opened:
        for image, one in zip(dataset.images, _found(bundle, opened, dataset.images), strict=True):
            if not isinstance(one, SegmentationMap):
                raise BundleError(str(bundle.folder), "is no segmenter", "give one: the dataset's labels are masks")
            assert image.mask is not None
            truth = theirs[read_mask(image.mask)]
            pixels.append(sum((_of_group(group, truth, classes) for group in one.maps), np.zeros(1, np.int64)))
        name = opened.name
    unjudged = _unjudged(dataset.mask_classes, classes)
    return MaskAccuracy(bundle.name, name, classes.names, unjudged, np.stack(pixels))


def _of_group(group: ClassMap, truth: NDArray[np.int64], classes: MatchedClasses) -> NDArray[np.int64]:
    ours = np.array(classes.of_bundle[group.first_label : group.first_label + group.class_count])
    size = truth.shape[1], truth.shape[0]
    found = ours[cv2.resize(group.classes, size, interpolation=cv2.INTER_NEAREST_EXACT)]
    counts = count_pixels(found, truth, len(classes.names))
    counts[np.isin(np.arange(len(counts)), ours, invert=True)] = 0  # what this group does not tell apart
    return counts


def _found(bundle: Bundle, engine: Engine, images: Sequence[LabelledImage]) -> Iterator[Found]:
    """What is found on each image. Raises `EngineError` that names the image whose outputs are no numbers."""
    decoder = decoder_for(bundle, engine)
    done = 0

    def pictures() -> Iterator[tuple[NDArray[np.uint8], Geometry]]:
        for image in images:
            pixels = read_pixels(image.path)
            if image.mask is not None:
                check_mask_size(image.mask, read_mask(image.mask), pixels.shape[1], pixels.shape[0])
            yield pixels, engine.place(pixels.shape[1], pixels.shape[0])

    try:
        for found in found_on(engine, decoder, pictures(), Thresholds()):
            done += 1
            yield found
    except NonFiniteOutputError as error:
        where = str(images[done].path)
        raise EngineError(where, f"cannot be judged: {error}", "export or quantise the network again") from None


def _category(image: LabelledImage, classes: MatchedClasses) -> int:
    return -1 if image.category is None else classes.of_dataset[image.category]


def _unjudged(names: Sequence[str], classes: MatchedClasses) -> tuple[str, ...]:
    return tuple(name for name, position in zip(names, classes.of_dataset, strict=True) if position < 0)
