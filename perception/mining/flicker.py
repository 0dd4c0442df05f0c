"""Flicker: a track that vanishes for a frame or two and comes back. In between, the model missed what was there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perception.mining.looked import Finding, Looked
from perception.tracking.tracker import iou

FLICKER = "flicker"
MOST_GONE = 2  # frames; what is gone for longer may as well have been hidden
WINDOW = MOST_GONE + 2  # frames that have to be known to tell: before, gone, and back again
_STILL_THERE_IOU = 0.5  # a box in that place means that something is found there, though under another id or class


def vanished(window: Sequence[Looked]) -> list[tuple[int, Finding]]:
    """Tracks that are back on the last frame of a sensor's successive ones (`WINDOW` at most), having been gone.

    Gives places in `window` of the frames on which they are missing, each with the box that is missed: between where
    the track was and is, by the frames' stamps.
    """
    last = len(window) - 1
    found = []
    for row in np.flatnonzero(window[last].found.track_ids > 0).tolist():
        track = int(window[last].found.track_ids[row])
        before = next((place for place in range(last - 1, -1, -1) if track in window[place].found.track_ids), None)
        if before is None:
            continue
        gone = last - before - 1
        start = int(np.flatnonzero(window[before].found.track_ids == track)[0])
        score = min(float(window[before].found.scores[start]), float(window[last].found.scores[row]))
        for place in range(before + 1, last):
            box = _between(window[before], start, window[last], row, window[place].stamp_ns)
            if not _is_found(box, window[place]):
                why = f"#{track} is gone for {gone} frame{'s' if gone > 1 else ''}"
                kind = int(window[last].found.classes[row])
                found.append((place, Finding(FLICKER, why, score, box, kind, score)))
    return found


def _between(before: Looked, start: int, after: Looked, end: int, stamp_ns: int) -> NDArray[np.float32]:
    boxes = before.found.boxes_xyxy[start], after.found.boxes_xyxy[end]
    share = (stamp_ns - before.stamp_ns) / max(1, after.stamp_ns - before.stamp_ns)
    return np.asarray(boxes[0] + (boxes[1] - boxes[0]) * np.clip(share, 0, 1), np.float32)


def _is_found(box: NDArray[np.float32], frame: Looked) -> bool:
    overlaps = iou(box[None].astype(np.float64), frame.found.boxes_xyxy.astype(np.float64))
    return bool((overlaps > _STILL_THERE_IOU).any())
