"""What a dataset holds: every image is looked at, everything is counted, and every fault is kept with its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engines.datasets.dataset import Dataset, LabelledImage
from engines.datasets.near_duplicates import PictureHash, near_duplicates, picture_hash
from engines.datasets.pixels import read_mask, read_pixels
from engines.errors import DatasetError

_SLACK_PX = 1.0  # by which a box may leave its image without a word: rounding


@dataclass(frozen=True, slots=True)
class Looked:
    """One image as it was found. `boxes_xyxy` are in its pixels; `notes` are oddities that are survived."""

    image: LabelledImage
    size: tuple[int, int] | None = None  # width, height; None where it cannot be read
    hash: PictureHash | None = None
    boxes_xyxy: NDArray[np.float64] | None = None
    mask_pixels: NDArray[np.int64] | None = None  # (256,) pixels of each value of its mask
    faults: tuple[DatasetError, ...] = ()
    notes: tuple[DatasetError, ...] = ()


@dataclass(frozen=True)
class SplitSurvey:
    """One split of one dataset. Counts by class are in the order of its classes."""

    dataset: Dataset
    looked: tuple[Looked, ...]

    @property
    def boxes(self) -> dict[str, int]:
        """Boxes a class, without crowds."""
        return self._counted([image.classes[~image.crowd] for image in self.dataset.images])

    @property
    def categories(self) -> dict[str, int]:
        """Images a class, of a dataset that names each image as a whole."""
        kinds = [image.category for image in self.dataset.images if image.category is not None]
        return self._counted([np.array(kinds, np.int32)]) if kinds else {}

    def _counted(self, classes: Sequence[NDArray[np.int32]]) -> dict[str, int]:
        names = self.dataset.classes
        counts = np.bincount(np.concatenate([*classes, np.empty(0, np.int32)]), minlength=len(names))
        return dict(zip(names, counts.tolist(), strict=True))

    @property
    def crowds(self) -> int:
        """Boxes around many, or around what nobody looked at."""
        return sum(int(image.crowd.sum()) for image in self.dataset.images)

    @property
    def without_boxes(self) -> int:
        """Images with nothing to be found."""
        return sum(not (~image.crowd).any() for image in self.dataset.images)

    @property
    def sizes(self) -> list[tuple[tuple[int, int], int]]:
        """Sizes of images (width, height) and how many have each, most first."""
        return Counter(looked.size for looked in self.looked if looked.size is not None).most_common()

    @property
    def box_percent(self) -> tuple[float, float, float] | None:
        """Root of a box's area in percent of that of its image: 10th, 50th and 90th percentile. None without boxes."""
        shares = [
            np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (looked.size[0] * looked.size[1]))
            for looked in self.looked
            if looked.size is not None and looked.boxes_xyxy is not None
            for boxes in [looked.boxes_xyxy[~looked.image.crowd]]
        ]
        if not sum(map(len, shares)):
            return None
        low, middle, high = (np.percentile(np.concatenate(shares), [10, 50, 90]) * 100).tolist()
        return low, middle, high

    @property
    def mask_percent(self) -> dict[str, float]:
        """Percent of all pixels that each class of its masks has; the rest is unlabelled."""
        pixels = [looked.mask_pixels for looked in self.looked if looked.mask_pixels is not None]
        if not pixels:
            return {}
        total = np.sum(pixels, axis=0)
        return {name: 100 * total[value] / total.sum() for value, name in enumerate(self.dataset.mask_classes)}


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two images that show nearly the same, and the (dataset, split) that each is of."""

    first: LabelledImage
    second: LabelledImage
    of_first: tuple[str, str]
    of_second: tuple[str, str]

    @property
    def is_leak(self) -> bool:
        """Whether they lie in different splits or datasets: what is trained on would be judged on."""
        return self.of_first != self.of_second


def unseen(looked: Iterator[Looked], _count: int) -> Iterator[Looked]:
    """A `progress` that shows nothing."""
    return looked


def survey(
    datasets: Sequence[Dataset],
    *,
    threads: int = 1,
    progress: Callable[[Iterator[Looked], int], Iterator[Looked]] = unseen,
) -> tuple[list[SplitSurvey], list[NearPair]]:
    """Look at every image of some datasets; `progress` passes on what it is given, with how many will come."""
    images = [image for dataset in datasets for image in dataset.images]
    with ThreadPoolExecutor(threads) as pool:
        looked = list(progress(pool.map(look_at, images), len(images)))
    surveys, first = [], 0
    for dataset in datasets:
        surveys.append(SplitSurvey(dataset, tuple(looked[first : first + len(dataset.images)])))
        first += len(dataset.images)
    return surveys, _near_pairs(surveys)


def look_at(image: LabelledImage) -> Looked:
    """Read an image and judge its labels by it. Raises nothing for what is wrong with either."""
    try:
        pixels = read_pixels(image.path)
    except DatasetError as fault:
        return Looked(image, faults=(fault,))
    height, width = pixels.shape[:2]
    found = Looked(image, (width, height), picture_hash(pixels))
    try:
        if image.mask is not None:
            found = replace(found, mask_pixels=np.bincount(read_mask(image.mask).ravel(), minlength=256))
    except DatasetError as fault:
        return replace(found, faults=(fault,))
    try:
        boxes = image.boxes_xyxy(width, height)
    except DatasetError:
        return replace(found, faults=_box_faults(image, width, height))
    return replace(found, boxes_xyxy=boxes, notes=_notes(image, boxes, width, height))


def _box_faults(image: LabelledImage, width: int, height: int) -> tuple[DatasetError, ...]:
    """Each box that does not fit, by asking for them one by one."""
    faults = []
    for number in range(max(1, len(image.boxes))):
        one = slice(number, number + 1)
        try:
            replace(image, boxes=image.boxes[one], classes=image.classes[one]).boxes_xyxy(width, height)
        except DatasetError as fault:
            faults.append(fault)
            if image.size is not None and image.size != (width, height):
                break  # the same of every box
    return tuple(faults)


def _notes(image: LabelledImage, boxes: NDArray[np.float64], width: int, height: int) -> tuple[DatasetError, ...]:
    notes = []
    as_labelled = image.boxes * ([width, height] * 2 if image.relative else 1)
    beyond = np.abs(as_labelled - boxes).max(initial=0)
    if beyond > _SLACK_PX:
        notes.append(DatasetError(str(image.path), f"a box reaches {beyond:.0f} px past its edge", "it is clipped"))
    rows = [(*row, kind) for row, kind in zip(boxes.tolist(), image.classes.tolist(), strict=True)]
    if len(set(rows)) < len(rows):
        twice = len(rows) - len(set(rows))
        notes.append(DatasetError(str(image.path), f"has {twice} boxes more than once", "delete the copies"))
    return tuple(notes)


def _near_pairs(surveys: Sequence[SplitSurvey]) -> list[NearPair]:
    owners = [
        ((split.dataset.name, split.dataset.split), looked.image, looked.hash)
        for split in surveys
        for looked in split.looked
        if looked.hash is not None
    ]
    pairs = near_duplicates([of_picture for _, _, of_picture in owners])
    return [NearPair(owners[i][1], owners[j][1], owners[i][0], owners[j][0]) for i, j in pairs]
