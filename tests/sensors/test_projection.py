"""Pinhole projection, against OpenCV and by its own definition."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sensors.projection import Projection


@given(st.integers(0, 10_000))
def test_pixels_are_opencvs(seed: int) -> None:
    random = np.random.default_rng(seed)
    camera = np.array([[700, 0, 600], [0, 720, 180], [0, 0, 1]], float)
    turn, shift = random.normal(size=3) * 0.3, random.normal(size=3)
    points = random.normal(size=(30, 4)).astype(np.float32) * 5
    rotation, _ = cv2.Rodrigues(turn)
    pixels, depths = Projection(camera @ np.hstack([rotation, shift[:, None]])).to_pixels(points)
    in_camera = points[:, :3].astype(float) @ rotation.T + shift
    np.testing.assert_allclose(depths, in_camera[:, 2], atol=1e-9)
    ahead = depths > 0.01
    expected, _ = cv2.projectPoints(points[ahead, :3].astype(float), turn, shift, camera, None)
    if ahead.any():
        np.testing.assert_allclose(pixels[ahead], expected[:, 0], rtol=1e-6, atol=1e-6)
    assert np.isnan(pixels[depths <= 0]).all()


def test_no_points() -> None:
    pixels, depths = Projection(np.eye(3, 4)).to_pixels(np.empty((0, 3)))
    assert (pixels.shape, depths.shape) == ((0, 2), (0,))
