"""The tracker: one frame's detections in, the same detections with ids out.

Association in stages, as in ByteTrack (Zhang et al., ECCV 2022, algorithm 1): sure detections go to the
tracks that have an id, doubtful ones to the tracks that are left, and what is still sure and unclaimed to the
tracks that were seen once. So a car whose score sinks behind another keeps its id, and noise gets none.

What differs from ByteTrack: time is in seconds of the sensor's stamps; classes are kept apart; and a second
box on an object that has a track starts no track of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engines.results import Detections
from perception.errors import UsageError
from perception.tracking.assignment import assign
from perception.tracking.motion import Motion

MAX_TRACKS = 1024  # remembered at most; the longest unseen go first. Bounds memory and time, far above any scene

# Least overlap (IoU) between where a track should be and a box, for each stage.
# Sure boxes: ByteTrack has 0.2, the `trackers` package 0.1. Of 240 made-up cars that sped up or braked while hidden
# for 0.8 s, 94 % kept their id at 0.1, 90 % at 0.15 and 85 % at 0.2; on 48 crowded drives of 12 s, which punish
# the reach for too much, ids switched 267, 243 and 233 times. Real clips do not tell the three apart.
IOU_SURE = 0.15
IOU_DOUBTFUL = 0.5  # ByteTrack's 1 - 0.5: a doubtful box must lie where one is expected
IOU_SEEN_ONCE = 0.3  # ByteTrack's 1 - 0.7

# Overlap from which a car and a truck are one object. Small detectors see most distant vehicles as both, in
# the same frame or in turns. On solidWhiteRight.mp4 (YOLOX-nano, 3 cars): 3 ids that never change place; without
# this, 4 ids, and 18 times a box lies where one of another id lay a frame before.
IOU_SAME_OBJECT = 0.7

# A box that lies within another of its kind, and is not much smaller, is a part of that object and starts no track:
# a detector that is unsure of a car's end puts a box on its front half too, which NMS leaves (their IoU is 0.6).
# On solidWhiteRight.mp4 YOLOX-nano in INT8 follows 3 cars with 3 ids; without this with 4, two of them in turns.
PART_WITHIN = 0.9
PART_IOU = 0.45

VEHICLE_LABELS = frozenset({"bus", "car", "pickup", "truck", "van"})  # what detectors take for one another

NS_PER_S = 1_000_000_000

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """What a vehicle may want otherwise. Scores are 0..1; raises `UsageError` where a value cannot be.

    The decoder's threshold (0.3 by default) is the floor: all it lets through can carry a track on.
    """

    keep_s: float = 1.0  # a track unseen for longer is forgotten, and its id with it
    high_score: float = 0.5  # at least this is sure, less is doubtful
    start_score: float = 0.6  # a new track wants a little more, as in ByteTrack
    vehicle_classes: tuple[int, ...] = ()  # class indexes between which one object may flip (`vehicle_classes`)

    def __post_init__(self) -> None:
        if not 0 <= self.keep_s <= 3600:
            raise UsageError("tracker keep_s", f"{self.keep_s} is no usable time", "give seconds from 0 to 3600")
        for name, score in (("high_score", self.high_score), ("start_score", self.start_score)):
            if not 0 <= score <= 1:
                raise UsageError(f"tracker {name}", f"{score} is no score", "give a number from 0 to 1")


def vehicle_classes(labels: Sequence[str]) -> tuple[int, ...]:
    """Give the indexes of those of a network's labels that name a car, bus, truck, van or pickup."""
    return tuple(index for index, label in enumerate(labels) if label.lower() in VEHICLE_LABELS)


class Tracker:
    """Gives the objects of one sensor ids that last. One per sensor and network; not thread-safe.

    A pure function of all that was put in since it was made: no clock, no randomness. Ids count from 1 in the
    order in which tracks are confirmed (seen in two updates running, or sure in the very first) and are never
    given twice.
    """

    def __init__(self, settings: TrackerSettings = TrackerSettings()) -> None:
        self._settings = settings
        self._keep_ns = round(settings.keep_s * NS_PER_S)
        self._last_stamp_ns: int | None = None
        self._next_id = 1
        # One row a track, oldest first, the same row in each.
        self._motion = Motion()
        self._ids: NDArray[np.int64] = np.empty(0, np.int64)  # 0: seen once, not confirmed
        self._classes: NDArray[np.int32] = np.empty(0, np.int32)  # as last seen
        self._unseen_ns: NDArray[np.int64] = np.empty(0, np.int64)

    def update(self, detections: Detections, stamp_ns: int) -> Detections:
        """Take in a frame's detections and return them, in the same order, with `track_ids` filled.

        0 where a box belongs to no confirmed track. `stamp_ns` is the frame's own; steps may be irregular. A
        step of more than `keep_s`, forwards or back (a looped file, a reset clock), ends all tracks, and ids
        go on. A shorter step back counts as no time at all. Boxes that are not finite are passed through
        with 0.
        """
        is_first = self._last_stamp_ns is None
        self._pass_time(stamp_ns)
        finite = np.flatnonzero(np.isfinite(detections.boxes_xyxy).all(axis=1))
        boxes = detections.boxes_xyxy[finite].astype(np.float64)
        scores, classes = detections.scores[finite], detections.classes[finite]

        row_of = self._associate(boxes, scores, classes)
        seen = row_of >= 0
        starts = self._starts(boxes, scores, classes, seen)
        ids = np.zeros(len(finite), np.int64)
        ids[seen] = self._continue(row_of[seen], boxes[seen], classes[seen])
        ids[starts] = self._start(boxes[starts], classes[starts], confirmed=is_first)

        track_ids = np.zeros(len(detections), np.int64)
        track_ids[finite] = ids
        return replace(detections, track_ids=track_ids)

    def _pass_time(self, stamp_ns: int) -> None:
        step_ns = 0 if self._last_stamp_ns is None else stamp_ns - self._last_stamp_ns
        self._last_stamp_ns = stamp_ns
        if abs(step_ns) > self._keep_ns:
            self._keep(np.empty(0, np.intp))
        elif step_ns > 0:
            self._unseen_ns += step_ns
            self._keep(np.flatnonzero(self._unseen_ns <= self._keep_ns))
            self._motion.predict(step_ns / NS_PER_S)

    def _associate(self, boxes: NDArray[np.float64], scores: NDArray[np.float32], classes: NDArray[np.int32]) -> Rows:
        """Find each box's track: (N,) rows, -1 for none."""
        overlaps = iou(self._motion.boxes_xyxy, boxes)
        overlaps *= self._same_object(self._classes, classes, overlaps)
        is_sure = scores >= self._settings.high_score
        has_id = self._ids > 0
        row_of = np.full(len(boxes), -1, np.intp)
        is_free = np.ones(len(has_id), np.bool_)
        for tracks, wanted, least in (
            (has_id, is_sure, IOU_SURE),
            (has_id, ~is_sure, IOU_DOUBTFUL),
            (~has_id, is_sure, IOU_SEEN_ONCE),
        ):
            rows, columns = np.flatnonzero(tracks & is_free), np.flatnonzero(wanted & (row_of < 0))
            gains = overlaps[np.ix_(rows, columns)]
            gains[gains < least] = 0
            matched_rows, matched_columns = assign(gains)
            row_of[columns[matched_columns]] = rows[matched_rows]
            is_free[rows[matched_rows]] = False
        return row_of

    def _starts(
        self,
        boxes: NDArray[np.float64],
        scores: NDArray[np.float32],
        classes: NDArray[np.int32],
        seen: Mask,
    ) -> Rows:
        """Find the boxes that start a track: high in score, no second box on an object that has one."""
        starts = np.flatnonzero(~seen & (scores >= self._settings.start_score))
        if not len(starts):
            return starts
        overlaps = iou(boxes[starts], boxes)
        is_part = (overlaps > PART_IOU) & (share_within(boxes[starts], boxes) > PART_WITHIN)
        is_double = (is_part | (overlaps > IOU_SAME_OBJECT)) & self._alike(classes[starts], classes)
        comes_before = np.zeros_like(is_double)  # detections come best first, so the better box gets the track
        comes_before[:, starts] = starts < starts[:, None]
        return starts[~(is_double & (seen | comes_before)).any(axis=1)]

    def _same_object(self, first: NDArray[np.int32], second: NDArray[np.int32], overlaps: NDArray[np.float64]) -> Mask:
        """Tell whose classes allow that they are one object: equal, or both vehicles and nearly one box."""
        is_possible: Mask = (first[:, None] == second) | (self._alike(first, second) & (overlaps > IOU_SAME_OBJECT))
        return is_possible

    def _alike(self, first: NDArray[np.int32], second: NDArray[np.int32]) -> Mask:
        """Tell which classes may be taken for one another: equal ones, and those of vehicles."""
        is_vehicle = [np.isin(classes, self._settings.vehicle_classes) for classes in (first, second)]
        may_be: Mask = (first[:, None] == second) | (is_vehicle[0][:, None] & is_vehicle[1])
        return may_be

    def _continue(self, rows: Rows, boxes: NDArray[np.float64], classes: NDArray[np.int32]) -> NDArray[np.int64]:
        """Carry tracks on with the boxes that are theirs now, confirm the new among them; returns their ids."""
        self._motion.correct(rows, boxes)
        self._classes[rows] = classes
        self._unseen_ns[rows] = 0
        is_confirmed_now = self._ids[rows] == 0
        self._ids[rows[is_confirmed_now]] = self._new_ids(int(is_confirmed_now.sum()))
        return self._ids[rows]

    def _start(self, boxes: NDArray[np.float64], classes: NDArray[np.int32], *, confirmed: bool) -> NDArray[np.int64]:
        """Start a track for each box and return the ids, 0 unless `confirmed`; what was seen only once ends."""
        is_alive = self._ids > 0
        ids = self._new_ids(len(boxes)) if confirmed else np.zeros(len(boxes), np.int64)
        self._keep(np.flatnonzero(is_alive))
        self._motion.start(boxes)
        self._ids = np.concatenate([self._ids, ids])
        self._classes = np.concatenate([self._classes, classes])
        self._unseen_ns = np.concatenate([self._unseen_ns, np.zeros(len(boxes), np.int64)])
        if len(self._ids) > MAX_TRACKS:
            self._keep(np.sort(np.argsort(self._unseen_ns, kind="stable")[:MAX_TRACKS]))
        return ids

    def _keep(self, rows: Rows) -> None:
        """Forget all tracks but `rows`, which are ascending."""
        if len(rows) < len(self._ids):
            self._motion.keep(rows)
            self._ids, self._classes, self._unseen_ns = (
                self._ids[rows],
                self._classes[rows],
                self._unseen_ns[rows],
            )

    def _new_ids(self, count: int) -> NDArray[np.int64]:
        ids = np.arange(self._next_id, self._next_id + count, dtype=np.int64)
        self._next_id += count
        return ids


def iou(first_xyxy: NDArray[np.float64], second_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of all pairs of boxes of two sets: (N, 4), (M, 4) -> (N, M), 0..1."""
    shared = _shared(first_xyxy, second_xyxy)
    areas = _areas(first_xyxy)[:, None] + _areas(second_xyxy)
    overlaps: NDArray[np.float64] = shared / np.maximum(areas - shared, np.finfo(np.float64).tiny)
    return overlaps


def share_within(first_xyxy: NDArray[np.float64], second_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """What part of each box of one set lies within each of the other: (N, 4), (M, 4) -> (N, M), 0..1."""
    areas = np.maximum(_areas(first_xyxy), np.finfo(np.float64).tiny)[:, None]
    shares: NDArray[np.float64] = _shared(first_xyxy, second_xyxy) / areas
    return shares


def _shared(first_xyxy: NDArray[np.float64], second_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    first, second = first_xyxy.T[:, :, None], second_xyxy.T[:, None, :]
    width = np.minimum(first[2], second[2]) - np.maximum(first[0], second[0])
    height = np.minimum(first[3], second[3]) - np.maximum(first[1], second[1])
    shared: NDArray[np.float64] = np.maximum(width, 0) * np.maximum(height, 0)
    return shared


def _areas(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = boxes_xyxy.T
    areas: NDArray[np.float64] = (x2 - x1) * (y2 - y1)
    return areas
