"""What the classes of one dataset are in a mixture: one of ours, set aside, or nothing that is looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from engines.datasets import ANY_CLASS, LabelledImage
from engines.errors import DatasetError
from engines.training.datasets.example import UNLABELLED
from engines.training.datasets.riders import Riders

_BACKGROUND, _IGNORED = -1, -2


@dataclass(frozen=True)
class ClassMap:
    """`targets` (their classes,) index of ours, or one of the two above; `labelled` (C,) of ours, where looked for."""

    targets: NDArray[np.int64]
    labelled: NDArray[np.bool_]
    riders: Riders | None = None

    def apply(
        self, boxes: NDArray[np.float64], classes: NDArray[np.int32], crowd: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Boxes (N, 4) of ours, their classes (N,), and the boxes (M, 4) to be ignored."""
        ours = np.where(classes == ANY_CLASS, _IGNORED, self.targets[classes])
        if self.riders is not None:
            boxes, ours, crowd = self.riders.join(boxes, classes, ours, crowd)
        has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        found = (ours >= 0) & ~crowd & has_area
        ignored = ((ours == _IGNORED) | ((ours >= 0) & crowd)) & has_area
        return boxes[found].astype(np.float32), ours[found].astype(np.int64), boxes[ignored].astype(np.float32)

    def masked(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask of their classes as one of ours; `UNLABELLED` where it is none, or set aside."""
        table = np.full(256, UNLABELLED, np.uint8)
        table[: len(self.targets)] = np.where(self.targets >= 0, self.targets, UNLABELLED)
        return table[mask]

    def relabelled(self, image: LabelledImage) -> LabelledImage:
        """The image with its boxes as they are learned from; what is ignored is a crowd of any class."""
        found, classes, ignored = self.apply(image.boxes, image.classes, image.crowd)
        return replace(
            image,
            boxes=np.concatenate([found, ignored]).astype(np.float64),
            classes=np.concatenate([classes, np.full(len(ignored), ANY_CLASS)]).astype(np.int32),
            crowd=np.concatenate([np.zeros(len(found), np.bool_), np.ones(len(ignored), np.bool_)]),
        )


def class_map(
    theirs: Sequence[str],
    ours: Sequence[str],
    *,
    names: Mapping[str, str],
    ignored: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    where: str = "map",
) -> ClassMap:
    """Make the map of one dataset.

    `names`: their class -> ours. A class of theirs that is neither in it nor `ignored` is ours where it has the same
    name, else background. `labels`: classes of ours that the dataset labels all of; default those that something is
    mapped to. Raises `DatasetError` for a name that is unknown on either side.
    """
    targets = np.full(len(theirs), _BACKGROUND, np.int64)
    for position, name in enumerate(theirs):
        if name in ours:
            targets[position] = ours.index(name)
    for name, target in names.items():
        targets[_index(name, theirs, f"{where}.map", "of the dataset")] = _index(
            target, ours, f"{where}.map", "of the mixture"
        )
    for name in ignored:
        if name in names:
            raise DatasetError(f"{where}.ignore", f"{name!r} is mapped too", "name it in map or in ignore")
        targets[_index(name, theirs, f"{where}.ignore", "of the dataset")] = _IGNORED
    labelled = np.zeros(len(ours), np.bool_)
    if labels is None:
        labelled[targets[targets >= 0]] = True
    else:
        labelled[[_index(name, ours, f"{where}.labels", "of the mixture") for name in labels]] = True
    labelled.flags.writeable = False
    return ClassMap(targets, labelled)


def _index(name: str, known: Sequence[str], where: str, whose: str) -> int:
    if name in known:
        return known.index(name)
    near = get_close_matches(name.casefold(), [candidate.casefold() for candidate in known], n=1)
    spelled = next((candidate for candidate in known if near and candidate.casefold() == near[0]), None)
    hint = f"did you mean {spelled!r}?" if spelled else f"known are {', '.join(known)[:200] or 'none'}"
    raise DatasetError(where, f"{name!r} is no class {whose}", hint)
