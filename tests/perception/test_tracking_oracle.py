"""Our ids against those of the `trackers` package's ByteTrack, which counts and matches in its own way.

Both get the same detections. Where the truth is known, an id switch is an object whose id changed; on a real
clip it is a box that lies where one lay a frame before, and has another id.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime
import pytest
import supervision
from scipy.optimize import linear_sum_assignment
from trackers import ByteTrackTracker

from engines.results import Detections
from perception.tracking import Tracker, TrackerSettings
from perception.tracking.tracker import iou

CAR, BUS, TRUCK = 2, 5, 7  # COCO 80
VEHICLES = TrackerSettings(vehicle_classes=(CAR, BUS, TRUCK))

Drive = list[tuple[int, Detections]]  # stamp_ns and what was found


@dataclass(frozen=True)
class Stability:
    ids: int
    switches: int
    coverage: float  # share of sure boxes that have an id


def ours(drive: Drive) -> list[Detections]:
    tracker = Tracker(VEHICLES)
    return [tracker.update(found, stamp_ns) for stamp_ns, found in drive]


def oracle(drive: Drive, frame_rate: float) -> list[Detections]:
    """ByteTrack as its package sets it up; ids from 1, as ours."""
    tracker, tracked = ByteTrackTracker(frame_rate=frame_rate), []
    for stamp_ns, found in drive:
        result = tracker.update(
            supervision.Detections(
                found.boxes_xyxy,
                confidence=found.scores,
                class_id=found.classes,
                data={"row": np.arange(len(found))},
            ),
            timestamp=stamp_ns / 1e9,
        )
        ids = np.zeros(len(found), np.int64)
        if len(result):  # its order differs, and -1 is its word for none
            ids[result.data["row"]] = np.asarray(result.tracker_id) + 1
        tracked.append(Detections(found.boxes_xyxy, found.scores, found.classes, ids))
    return tracked


def stability(tracked: list[Detections]) -> Stability:
    switches = 0
    for before, now in pairwise(tracked):
        overlaps = iou(before.boxes_xyxy.astype(float), now.boxes_xyxy.astype(float))
        rows, columns = linear_sum_assignment(overlaps, maximize=True)
        first, second = before.track_ids[rows], now.track_ids[columns]
        switches += np.count_nonzero((overlaps[rows, columns] > 0.5) & (first > 0) & (second > 0) & (first != second))
    every_id = np.concatenate([found.track_ids for found in tracked])
    is_sure = np.concatenate([found.scores for found in tracked]) >= 0.5
    return Stability(len(set(every_id.tolist()) - {0}), int(switches), float((every_id[is_sure] > 0).mean()))


def synthetic_drive(frame_rate: float, seed: int) -> tuple[Drive, list[np.ndarray]]:
    """Twelve seconds of nine cars, each accelerating its own way, with noise, misses and false boxes.

    Returns the drive and, for each frame, the true object of each box (-1 for a false one).
    """
    random = np.random.default_rng(seed)
    start = np.stack([random.uniform(100, 1180, 9), np.repeat([200, 360, 520], 3)], axis=1)
    sides = np.repeat([[50, 35], [80, 60], [120, 90]], 3, axis=0)
    swing, pace = random.uniform(0.5, 2, (9, 1)) * sides * (1, 0.1), random.uniform(0.3, 1, (9, 1))
    drive, truth = [], []
    for time_s in np.arange(0, 12, 1 / frame_rate):
        centres = start + swing * np.sin(pace * time_s) + random.normal(0, 0.03, start.shape) * sides
        half = sides * (1 + random.normal(0, 0.03, start.shape)) / 2
        is_found = random.random(9) > 0.1
        false = random.uniform((0, 100), (1280, 600), (random.poisson(0.3), 2))
        boxes = np.concatenate([centres - half, centres + half], axis=1)[is_found]
        boxes = np.concatenate([boxes, np.concatenate([false - 20, false + 20], axis=1)])
        scores = np.concatenate([random.uniform(0.35, 0.95, 9)[is_found], random.uniform(0.3, 0.75, len(false))])
        who = np.concatenate([np.arange(9)[is_found], np.full(len(false), -1)])
        best_first = np.argsort(-scores, kind="stable")
        kept = [row for n, row in enumerate(best_first) if not hidden(boxes, row, best_first[:n])]
        found = Detections(
            boxes[kept].astype(np.float32), scores[kept].astype(np.float32), np.full(len(kept), CAR, np.int32)
        )
        drive.append((round(time_s * 1e9), found))
        truth.append(who[kept])
    return drive, truth


def hidden(boxes: np.ndarray, row: int, better: np.ndarray) -> bool:
    """Tell whether suppression removes the box: one of the better ones overlaps it by more than 0.65."""
    return bool((iou(boxes[[row]], boxes[better]) > 0.65).any())


def true_switches(tracked: list[Detections], truth: list[np.ndarray]) -> int:
    """Count how often an object's id is another than the one it had last."""
    last: dict[int, int] = {}
    switches = 0
    for found, who in zip(tracked, truth, strict=True):
        for object_, id_ in zip(who.tolist(), found.track_ids.tolist(), strict=True):
            if object_ >= 0 and id_:
                switches += last.setdefault(object_, id_) != id_
                last[object_] = id_
    return switches


@pytest.mark.parametrize("frame_rate", [10, 25])
def test_on_made_up_drives_ids_switch_no_more_often_than_the_oracles(frame_rate: float) -> None:
    our_switches = oracle_switches = 0
    our_coverage, oracle_coverage = [], []
    for seed in range(9):
        drive, truth = synthetic_drive(frame_rate, seed)
        our_ids, oracle_ids = ours(drive), oracle(drive, frame_rate)
        our_switches += true_switches(our_ids, truth)
        oracle_switches += true_switches(oracle_ids, truth)
        our_coverage.append(stability(our_ids).coverage)
        oracle_coverage.append(stability(oracle_ids).coverage)
    assert our_switches <= oracle_switches
    assert np.mean(our_coverage) >= np.mean(oracle_coverage)


@pytest.fixture(scope="module")
def highway(data: Path) -> Drive:
    """What YOLOX-nano finds on solidWhiteRight.mp4, 221 frames at 25 a second, of which three cars are near.

    Decoded here in the plainest way, so that a fault of our decoders cannot hide one of the tracker.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        str(data / "models" / "yolox_nano.onnx"), options, providers=["CPUExecutionProvider"]
    )
    with av.open(str(data / "drives" / "videos" / "solidWhiteRight.mp4")) as clip:
        return [
            (round(frame.time * 1e9), yolox(session, frame.to_ndarray(format="bgr24")))
            for frame in clip.decode(video=0)
        ]


def yolox(session: onnxruntime.InferenceSession, image: np.ndarray) -> Detections:
    side, least_score, nms_iou = 416, 0.3, 0.65
    scale = side / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale)
    padded = np.full((side, side, 3), 114, np.float32)
    padded[: small.shape[0], : small.shape[1]] = small
    (rows,) = session.run(None, {"images": padded.transpose(2, 0, 1)[None]})[0]
    cells = [(x, y, s) for s in (8, 16, 32) for y in range(side // s) for x in range(side // s)]
    grid, stride = np.array(cells)[:, :2], np.array(cells)[:, 2:]
    scores, classes = rows[:, 4] * rows[:, 5:].max(axis=1), rows[:, 5:].argmax(axis=1)
    centres, half = (rows[:, :2] + grid) * stride, np.exp(rows[:, 2:4]) * stride / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1) / scale
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if scores[row] <= least_score:
            break
        rivals = [other for other in kept if classes[other] == classes[row]]
        if not rivals or iou(boxes[[row]], boxes[rivals]).max() <= nms_iou:
            kept.append(int(row))
    height, width = image.shape[:2]
    clipped = boxes[kept].clip(0, (width, height, width, height))
    return Detections(clipped.astype(np.float32), scores[kept], classes[kept].astype(np.int32))


@pytest.mark.data
@pytest.mark.parametrize("every", [1, 3])
def test_on_a_real_highway_ids_are_as_stable_as_the_oracles(highway: Drive, every: int) -> None:
    drive = highway[::every]
    we, they = stability(ours(drive)), stability(oracle(drive, 25 / every))
    assert we.ids <= they.ids
    assert we.switches <= they.switches
    assert we.coverage >= they.coverage


@pytest.mark.data
def test_on_a_real_highway_three_cars_have_three_ids(highway: Drive) -> None:
    we = stability(ours(highway))
    assert (we.ids, we.switches) == (3, 0)
    assert we.coverage > 0.85
