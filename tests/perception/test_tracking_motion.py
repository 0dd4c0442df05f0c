"""The filters of all tracks at once against a plain textbook filter a track."""

from __future__ import annotations

import numpy as np
import pytest

from perception.tracking.motion import ACCELERATION, FIRST_RATE, MEASURED, SMALLEST, Motion


class TextbookFilter:
    """One box, eight states, matrices: x = F x, P = F P F' + Q; K = P H' (H P H' + R)^-1."""

    def __init__(self, box: np.ndarray) -> None:
        centre_and_size, self.sides = self.measure(box)
        self.x = np.concatenate([centre_and_size, np.zeros(4)])
        self.p = np.diag(np.concatenate([(MEASURED * self.sides) ** 2, (FIRST_RATE * self.sides) ** 2]))

    @staticmethod
    def measure(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        z = np.array([(left + right) / 2, (top + bottom) / 2, width, height])
        return z, np.array([width, height, width, height])

    def predict(self, dt: float) -> None:
        f = np.eye(8) + dt * np.eye(8, k=4)
        density = np.diag((ACCELERATION * self.sides) ** 2)
        q = np.block([[density * dt**3 / 3, density * dt**2 / 2], [density * dt**2 / 2, density * dt]])
        self.x = f @ self.x
        self.p = f @ self.p @ f.T + q

    def correct(self, box: np.ndarray) -> None:
        z, self.sides = self.measure(box)
        h = np.eye(4, 8)
        r = np.diag((MEASURED * self.sides) ** 2)
        k = self.p @ h.T @ np.linalg.inv(h @ self.p @ h.T + r)
        self.x = self.x + k @ (z - h @ self.x)
        self.p = (np.eye(8) - k @ h) @ self.p

    @property
    def box(self) -> np.ndarray:
        return np.concatenate([self.x[:2] - self.x[2:4] / 2, self.x[:2] + self.x[2:4] / 2])


def some_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corners = random.uniform(0, 500, (count, 2))
    return np.concatenate([corners, corners + random.uniform(100, 200, (count, 2))], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_every_track_moves_as_its_own_textbook_filter_would(seed: int) -> None:
    random = np.random.default_rng(seed)
    boxes = some_boxes(random, 4)
    motion, references = Motion(), [TextbookFilter(box) for box in boxes]
    motion.start(boxes)
    for step in range(30):
        dt = random.uniform(0, 0.1)
        motion.predict(dt)
        for reference in references:
            reference.predict(dt)
        if step == 10:
            fresh = some_boxes(random, 2)
            motion.start(fresh)
            references += [TextbookFilter(box) for box in fresh]
            boxes = np.concatenate([boxes, fresh])
        if step == 20:
            motion.keep(np.array([0, 2, 3, 5]))
            references = [references[row] for row in (0, 2, 3, 5)]
            boxes = boxes[[0, 2, 3, 5]]
        rows = random.permutation(len(motion))[: len(motion) // 2]
        boxes += random.normal(0, 2, boxes.shape)
        measured = boxes[rows] + random.normal(0, 3, (len(rows), 4))
        motion.correct(rows, measured)
        for row, box in zip(rows, measured, strict=True):
            references[row].correct(box)
        np.testing.assert_allclose(motion.boxes_xyxy, [reference.box for reference in references], rtol=1e-9)


def test_two_short_steps_are_one_long_step() -> None:
    random = np.random.default_rng(3)
    boxes = some_boxes(random, 5)
    once, twice = Motion(), Motion()
    everyone = np.arange(5)
    for motion, steps in ((once, [0.2]), (twice, [0.07, 0.13])):
        motion.start(boxes)
        motion.predict(0.1)
        motion.correct(everyone, boxes + 4)
        for step in steps:
            motion.predict(step)
        # The gains of this measurement show that the uncertainty grew alike, not only the estimate.
        motion.correct(everyone, boxes + 20)
        motion.predict(0.5)
    np.testing.assert_allclose(twice.boxes_xyxy, once.boxes_xyxy, rtol=1e-12)


def test_a_box_that_shrinks_out_of_sight_never_turns_inside_out() -> None:
    motion = Motion()
    motion.start(np.array([[0.0, 0, 100, 100]]))
    motion.predict(0.1)
    motion.correct(np.array([0]), np.array([[30.0, 30, 70, 70]]))
    motion.predict(5.0)
    left, top, right, bottom = motion.boxes_xyxy[0]
    assert right - left == pytest.approx(SMALLEST)
    assert bottom - top == pytest.approx(SMALLEST)


def test_a_box_without_area_is_tracked_without_dividing_by_zero() -> None:
    motion = Motion()
    motion.start(np.array([[5.0, 5, 5, 5]]))
    motion.predict(0.1)
    motion.correct(np.array([0]), np.array([[6.0, 6, 6, 6]]))
    assert np.isfinite(motion.boxes_xyxy).all()
