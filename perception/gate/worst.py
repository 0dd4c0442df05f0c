"""The frames on which two networks differ most: only those are drawn and kept."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.frame import Frame

KEPT = 20
FAILED = 1e6  # the harm of a frame that only one side can answer: nothing is worse
_WIDTH = 800  # pixels of a picture on the page
_QUALITY = 82  # of JPEG
_CAPTION = 80  # characters
_EQUAL = 1e-6  # harm below it is the rounding of an IoU


class Pair(NamedTuple):
    """Pictures of both sides as JPEG; `name`: what they show beyond the frame."""

    baseline: bytes
    candidate: bytes
    name: str = ""


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """One frame: where it is, in words what differs, and pictures. The first pair shows the whole frame."""

    harm: float
    where: str
    what: str
    pairs: tuple[Pair, ...]


@dataclass(slots=True)
class WorstFrames:
    """Keeps the worst `KEPT` of any number of frames; of equal ones the first."""

    _heap: list[tuple[float, int, WorstFrame]] = field(default_factory=list)
    _offered: int = 0

    def offer(self, harm: float, frame: Frame, drive: str, show: Callable[[], tuple[str, tuple[Pair, ...]]]) -> None:
        """Take a frame in if it is among the worst so far. `show` gives in words what differs, and the pictures."""
        self._offered += 1
        if harm < _EQUAL or (len(self._heap) == KEPT and harm <= self._heap[0][0]):
            return
        where = f"{drive}  {frame.sensor}  {frame.stamp_ns / 1e9:.2f} s  frame {frame.sequence}"
        what, pairs = show()
        entry = harm, -self._offered, WorstFrame(harm, where, what, pairs)
        if len(self._heap) < KEPT:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def frames(self) -> list[WorstFrame]:
        """The worst first."""
        return [frame for _, _, frame in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def jpeg(canvas: NDArray[np.uint8]) -> bytes:
    """A picture as the page has it, no wider than it shows."""
    if canvas.shape[1] > _WIDTH:
        height = round(canvas.shape[0] * _WIDTH / canvas.shape[1])
        canvas = np.asarray(cv2.resize(canvas, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])


def failure_caption(failure: str) -> str:
    """What stands on the picture of a side that failed."""
    return f"failed: {failure}"[:_CAPTION]
