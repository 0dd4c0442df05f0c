"""Regions of an image in which nothing counts."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from engines.results import Detections
from perception.camera import Camera, inside

share = st.integers(0, 64).map(lambda n: n / 64)
polygons = st.lists(st.tuples(share, share), min_size=3, max_size=7, unique=True)


@given(polygons, st.tuples(share, share))
def test_inside_agrees_with_opencv(polygon: list[tuple[float, float]], point: tuple[float, float]) -> None:
    where = cv2.pointPolygonTest(np.array(polygon, np.float32), (point[0] + 1 / 256, point[1] + 1 / 256), False)
    assume(where != 0)
    assert inside(np.array([point], np.float32) + np.float32(1 / 256), polygon).tolist() == [where > 0]


def test_a_corner_level_with_the_point_counts_once() -> None:
    diamond = ((0.0, 0.5), (0.5, 0.0), (1.0, 0.5), (0.5, 1.0))
    points = np.array([[0.25, 0.5], [-0.25, 0.5], [1.25, 0.5]], np.float32)
    assert inside(points, diamond).tolist() == [True, False, False]


def test_boxes_whose_centre_is_in_a_region_are_left_out() -> None:
    boxes = np.array([[0, 0, 20, 20], [60, 60, 80, 80], [90, 0, 110, 20]], np.float32)  # of a 200 x 100 image
    found = Detections(boxes, np.float32([0.9, 0.8, 0.7]), np.int32([1, 2, 3]), np.array([4, 5, 6]))
    left_half, bottom = ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), ((0, 0.6), (1, 0.6), (1, 1), (0, 1))
    for regions, kept in (((), [1, 2, 3]), ((bottom,), [1, 3]), ((left_half,), [3]), ((left_half, bottom), [3])):
        rest = Camera(ignore=regions).kept(found, 200, 100)
        assert rest.classes.tolist() == kept
        assert rest.track_ids.tolist() == [found.track_ids[found.classes.tolist().index(kind)] for kind in kept]
        assert len(rest.boxes_xyxy) == len(rest.scores) == len(kept)


def test_nothing_in_nothing() -> None:
    square = ((0, 0), (1, 0), (1, 1), (0, 1))
    assert len(Camera(ignore=(square,)).kept(Detections.empty(), 10, 10)) == 0
