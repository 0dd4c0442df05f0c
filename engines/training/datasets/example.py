"""One picture to learn from, and what is known of it: boxes, or what it is as a whole, or a class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

UNLABELLED = 255  # in masks: no class, nothing is learned there


class Labels(Enum):
    """What of a dataset a network learns from."""

    BOXES = "boxes"
    CATEGORIES = "a class for each image"
    MASKS = "masks"


def _none() -> NDArray[np.float32]:
    return np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class Example:
    """A picture, its N boxes, and what is not known of it; or its category; or its mask.

    Boxes are left, top, right, bottom in continuous pixels of the image (0,0 is the outer corner of the first one),
    inside it. `ignored_xyxy` are places where a detection is neither right nor wrong: crowds, KITTI's `DontCare`,
    classes that are set aside, things cut to a rest. `labelled` says for each class whether somebody looked for it
    on this picture: where not, a box of it is right all the same, and that there is none means nothing. `confidences`
    say how sure it is that a box is there: 1 where a person drew it. `category` and the values of `mask` are indexes
    into the mixture's classes. Arrays may be read-only.
    """

    image: NDArray[np.uint8]  # (H, W, 3) BGR
    boxes_xyxy: NDArray[np.float32]  # (N, 4)
    classes: NDArray[np.int64]  # (N,) indexes into the mixture's classes
    ignored_xyxy: NDArray[np.float32]  # (M, 4)
    labelled: NDArray[np.bool_]  # (C,)
    confidences: NDArray[np.float32] = field(default_factory=_none)  # (N,) 0..1; all 1 where not given
    category: int | None = None
    mask: NDArray[np.uint8] | None = None  # (H, W); `UNLABELLED` where no class is known

    def __post_init__(self) -> None:
        if len(self.confidences) != len(self.classes):
            object.__setattr__(self, "confidences", np.ones(len(self.classes), np.float32))

    @staticmethod
    def without_boxes(
        image: NDArray[np.uint8],
        labelled: NDArray[np.bool_],
        *,
        category: int | None = None,
        mask: NDArray[np.uint8] | None = None,
    ) -> Example:
        """A picture of which something else than boxes is known."""
        no_boxes = np.empty((0, 4), np.float32)
        classes = np.empty(0, np.int64)
        return Example(image, no_boxes, classes, no_boxes, labelled, category=category, mask=mask)
