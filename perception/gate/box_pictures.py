"""A frame's boxes of both sides, drawn side by side: what both found, what one did not, and what is excused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.results import Detections
from perception.gate.matching import FrameMatch, Mask, Seen
from perception.gate.worst import Pair, failure_caption, jpeg
from perception.rendering import BoxStyle, Colour, draw
from sensors.frame import Frame
from sensors.yuv import bgr

Window: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom in pixels

BOTH: Colour = (110, 190, 90)  # green: on the other side too
ALONE: Colour = (50, 50, 240)  # red: only here
_ROOM = 3.0  # times a box's size: what is around it is needed to know it
_CLOSEST, _NO_CLOSER = 0.15, 0.6  # of the frame's width and height


def pictures(frame: Frame, match: FrameMatch, names: Sequence[str]) -> tuple[Pair, ...]:
    """The whole frame, and what differs most in it where that is small."""
    sides = (match.baseline, match.candidate)
    styles = [_styles(*masks) for masks in zip((match.only_baseline, match.only_candidate), match.excused, strict=True)]
    drawn = [_picture(bgr(frame), *of_side, names) for of_side in zip(sides, styles, strict=True)]
    pairs = [Pair(drawn[0], drawn[1])]
    if (window := _window(match, frame.width, frame.height)) is not None:
        near = [_picture(bgr(frame), *of_side, names, window) for of_side in zip(sides, styles, strict=True)]
        pairs.append(Pair(near[0], near[1], "closer"))
    return tuple(pairs)


def failure_picture(frame: Frame, seen: Seen | None, failure: str, names: Sequence[str]) -> bytes:
    """A side of a frame that the other side, or this one, could not answer."""
    if seen is None:
        return jpeg(draw(bgr(frame), [], [], failure_caption(failure)))
    return _picture(bgr(frame), seen, [BoxStyle(BOTH)] * len(seen.found), names)


def in_words(match: FrameMatch) -> str:
    """How many boxes are on both sides, and how many only on one."""

    def only(alone: Mask, excused: Mask, side: str) -> str:
        spared = int(excused.sum())
        return f"{int(alone.sum())} only on the {side}" + (f" ({spared} of them excused)" if spared else "")

    excused = match.excused
    baseline = only(match.only_baseline, excused[0], "baseline")
    candidate = only(match.only_candidate, excused[1], "candidate")
    return f"{len(match.baseline_rows)} boxes on both, {baseline}, {candidate}"


def _styles(alone: Mask, excused: Mask) -> list[BoxStyle]:
    return [
        BoxStyle(ALONE if is_alone else BOTH, bool(is_excused))
        for is_alone, is_excused in zip(alone, excused, strict=True)
    ]


def _picture(
    image: NDArray[np.uint8],
    seen: Seen,
    styles: Sequence[BoxStyle],
    names: Sequence[str],
    window: Window | None = None,
) -> bytes:
    found = seen.found
    if window is not None:
        left, top, right, bottom = window
        image = image[top:bottom, left:right]
        boxes = found.boxes_xyxy - np.array((left, top, left, top), np.float32)
        rows = np.flatnonzero(np.all((boxes[:, :2] < (right - left, bottom - top)) & (boxes[:, 2:] > 0), axis=1))
        found = Detections(boxes[rows], found.scores[rows], found.classes[rows], found.track_ids[rows])
        styles = [styles[row] for row in rows.tolist()]
    return jpeg(draw(image, [found], [names], "", [styles]))


def _window(match: FrameMatch, width: int, height: int) -> Window | None:
    """Around the surest box that only one side has, in the frame's own shape; None where it would be no closer.

    A box that counts goes before one that is excused.
    """
    alone = [
        (bool(seen.sure[row]), float(seen.found.scores[row]), seen.found.boxes_xyxy[row])
        for seen, mask in ((match.baseline, match.only_baseline), (match.candidate, match.only_candidate))
        for row in np.flatnonzero(mask)
    ]
    if not alone:
        return None
    left, top, right, bottom = max(alone, key=lambda one: one[:2])[2].tolist()
    share = max(_ROOM * (right - left) / width, _ROOM * (bottom - top) / height, _CLOSEST)
    if share > _NO_CLOSER:
        return None
    wide, high = round(share * width), round(share * height)
    x = min(max(0, round((left + right - wide) / 2)), width - wide)
    y = min(max(0, round((top + bottom - high) / 2)), height - high)
    return x, y, x + wide, y + high
