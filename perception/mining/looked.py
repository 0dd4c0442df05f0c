"""What both networks made of a frame, and what is odd about it: plain values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.datasets.near_duplicates import PictureHash
from engines.results import Detections


@dataclass(frozen=True, slots=True)
class Looked:
    """One frame of a drive, which is named by its place in the request.

    `found` by the model, with ids; `taught` by the teacher in classes of the model, None without a teacher.
    """

    drive: int
    sensor: str
    sequence: int
    stamp_ns: int
    size: tuple[int, int]  # width, height in pixels
    hash: PictureHash
    found: Detections
    taught: Detections | None


@dataclass(frozen=True, slots=True)
class Finding:
    """A box that makes its frame worth labelling: `why`, and how much it weighs (0..1) beside others of its reason."""

    reason: str
    why: str
    weight: float
    box_xyxy: NDArray[np.float32]  # (4,)
    kind: int  # index into the model's labels
    score: float
