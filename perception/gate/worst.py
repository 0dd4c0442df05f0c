"""The frames on which two networks differ most, drawn side by side."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.results import Detections
from perception.gate.matching import FrameMatch, Mask
from perception.gate.side import Look
from perception.rendering import Colour, draw
from sensors.frame import Frame

Window: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom in pixels

KEPT = 20
_WIDTH = 800  # pixels of a picture on the page
_QUALITY = 82  # of JPEG
_CAPTION = 80  # characters
_ROOM = 3.0  # times a box's size: what is around it is needed to know it
_CLOSEST, _NO_CLOSER = 0.15, 0.6  # of the frame's width and height
_BOTH: Colour = (110, 190, 90)  # green: on the other side too
_ALONE: Colour = (50, 50, 240)  # red: only here
_EQUAL = 1e-6  # harm below it is the rounding of an IoU
_FAILED = 1e6  # the harm of a frame that only one side can answer: nothing is worse


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """One frame: where it is, in words what differs, and pictures as JPEG in pairs of baseline and candidate.

    The first pair shows the whole frame, the second, if there is one, what differs most in it.
    """

    harm: float
    where: str
    what: str
    pairs: tuple[tuple[bytes, bytes], ...]


class WorstFrames:
    """Keeps the worst `KEPT` of any number of frames; only those are drawn."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._heap: list[tuple[float, int, WorstFrame]] = []
        self._offered = 0

    def offer(self, frame: Frame, drive: str, looks: tuple[Look, Look], match: FrameMatch | None) -> None:
        """Take a frame in if it is among the worst so far. `match`: None where a side failed."""
        harm = match.harm if match else _FAILED
        self._offered += 1
        if harm < _EQUAL or (len(self._heap) == KEPT and harm <= self._heap[0][0]):
            return
        alone = (match.only_baseline, match.only_candidate) if match else (None, None)
        drawn = [self._picture(frame.image, look, mask) for look, mask in zip(looks, alone, strict=True)]
        pairs = [(drawn[0], drawn[1])]
        if match is not None and (window := _window(match, frame.width, frame.height)) is not None:
            near = [self._picture(frame.image, look, mask, window) for look, mask in zip(looks, alone, strict=True)]
            pairs.append((near[0], near[1]))
        where = f"{drive}  {frame.sensor}  {frame.stamp_ns / 1e9:.2f} s  frame {frame.sequence}"
        entry = harm, -self._offered, WorstFrame(harm, where, _in_words(looks, match), tuple(pairs))
        if len(self._heap) < KEPT:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def frames(self) -> list[WorstFrame]:
        """The worst first."""
        return [frame for _, _, frame in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]

    def _picture(self, image: NDArray[np.uint8], look: Look, alone: Mask | None, window: Window | None = None) -> bytes:
        found = look.seen.found if look.seen else Detections.empty()
        colours = [_ALONE if alone is not None and is_alone else _BOTH for is_alone in _each(found, alone)]
        if window is not None:
            left, top, right, bottom = window
            image = image[top:bottom, left:right]
            boxes = found.boxes_xyxy - np.array((left, top, left, top), np.float32)
            rows = np.flatnonzero(np.all((boxes[:, :2] < (right - left, bottom - top)) & (boxes[:, 2:] > 0), axis=1))
            found = Detections(boxes[rows], found.scores[rows], found.classes[rows], found.track_ids[rows])
            colours = [colours[row] for row in rows]
        caption = "" if look.seen else f"failed: {look.failure}"[:_CAPTION]
        canvas = draw(image, [found], [self._names], caption, [colours])
        height = round(canvas.shape[0] * _WIDTH / canvas.shape[1])
        if canvas.shape[1] > _WIDTH:
            canvas = np.asarray(cv2.resize(canvas, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
        return _jpeg(canvas)


def _window(match: FrameMatch, width: int, height: int) -> Window | None:
    """Around the surest box that only one side has, in the frame's own shape; None where it would be no closer."""
    alone = [
        (float(seen.found.scores[row]), seen.found.boxes_xyxy[row])
        for seen, mask in ((match.baseline, match.only_baseline), (match.candidate, match.only_candidate))
        for row in np.flatnonzero(mask)
    ]
    if not alone:
        return None
    left, top, right, bottom = max(alone, key=lambda one: one[0])[1].tolist()
    share = max(_ROOM * (right - left) / width, _ROOM * (bottom - top) / height, _CLOSEST)
    if share > _NO_CLOSER:
        return None
    wide, high = round(share * width), round(share * height)
    x = min(max(0, round((left + right - wide) / 2)), width - wide)
    y = min(max(0, round((top + bottom - high) / 2)), height - high)
    return x, y, x + wide, y + high


def _each(found: Detections, alone: Mask | None) -> Sequence[bool]:
    return [False] * len(found) if alone is None else list(alone)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])


def _in_words(looks: tuple[Look, Look], match: FrameMatch | None) -> str:
    if match is None:
        failed = [name for name, look in zip(("the baseline", "the candidate"), looks, strict=True) if not look.seen]
        return f"{' and '.join(failed)} failed"
    only = int(match.only_baseline.sum()), int(match.only_candidate.sum())
    both = len(match.baseline_rows)
    return f"{both} boxes on both, {only[0]} only on the baseline, {only[1]} only on the candidate"
