"""Cost of one tracker update, ours and the ByteTrack of the `trackers` package, taken in turns in one run.

    python tests/benchmarks/tracker.py

Both see the same synthetic drive: N cars on a 1920 x 1080 image, at 30 frames a second, boxes with noise,
scores from 0.3 to 0.95, some missed and a few false ones. Each frame goes to one and then to the other, so that
whatever else the machine does falls on both. Our budget: p50 of 1 ms at 50 objects.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import supervision
from trackers import ByteTrackTracker

from engines.results import Detections
from perception.tracking import Tracker

OBJECTS = (20, 50, 200)
FRAMES = 400
WARM_UP = 50  # frames; first calls pay for imports and for growing
FRAME_RATE = 30
BUDGET_MS = {50: 1.0}
WIDTH, HEIGHT = 1920, 1080


def drive(objects: int, seed: int = 1) -> list[Detections]:
    """Make the detections of FRAMES frames with `objects` moving boxes, one in twelve missed or false."""
    random = np.random.default_rng(seed)
    centres = random.uniform((0, HEIGHT * 0.3), (WIDTH, HEIGHT), (objects, 2))
    sides = (centres[:, 1:] - HEIGHT * 0.2) * random.uniform(0.06, 0.2, (objects, 2))
    speeds = random.normal(0, 0.5, (objects, 2)) * sides
    frames = []
    for _ in range(FRAMES):
        centres = (centres + speeds / FRAME_RATE) % (WIDTH, HEIGHT)
        false = random.uniform((0, 0), (WIDTH, HEIGHT), (1 + objects // 25, 2))
        middle = np.concatenate([centres + random.normal(0, 0.02, centres.shape) * sides, false])
        half = np.concatenate([sides, np.full_like(false, 40)]) / 2
        scores = np.concatenate([random.uniform(0.3, 0.95, objects), random.uniform(0.3, 0.7, len(false))])
        order = np.argsort(-scores, kind="stable")[len(scores) // 25 :]
        boxes = np.concatenate([middle - half, middle + half], axis=1)[order].astype(np.float32)
        frames.append(Detections(boxes, scores[order].astype(np.float32), np.full(len(order), 2, np.int32)))
    return frames


def elapsed_ms(call: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def measure(objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Run both over one drive, frame by frame in turns; ms an update of ours and of theirs."""
    ours, theirs = (
        Tracker(),
        ByteTrackTracker(frame_rate=FRAME_RATE, high_conf_det_threshold=0.5, track_activation_threshold=0.6),
    )
    took = np.empty((FRAMES, 2))
    for frame, found in enumerate(drive(objects)):
        same = supervision.Detections(found.boxes_xyxy, confidence=found.scores, class_id=found.classes)
        stamp_ns = frame * 1_000_000_000 // FRAME_RATE
        took[frame] = (
            elapsed_ms(lambda found=found, stamp_ns=stamp_ns: ours.update(found, stamp_ns)),
            elapsed_ms(lambda same=same: theirs.update(same)),
        )
    return took[WARM_UP:, 0], took[WARM_UP:, 1]


def main() -> None:
    """Print the table."""
    print("objects   ours p50  p99 ms  trackers p50  p99 ms  p50 ratio    p99  budget")
    for objects in OBJECTS:
        ours, theirs = measure(objects)
        (our_p50, our_p99), (p50, p99) = np.percentile(ours, (50, 99)), np.percentile(theirs, (50, 99))
        budget = BUDGET_MS.get(objects)
        verdict = "" if budget is None else f"{budget} ms: {'kept' if our_p50 <= budget else 'MISSED'}"
        print(
            f"{objects:7d}  {our_p50:9.3f} {our_p99:7.3f}  {p50:12.3f} {p99:7.3f}"
            f"  {p50 / our_p50:8.1f}x {p99 / our_p99:4.1f}x  {verdict}"
        )


if __name__ == "__main__":
    main()
