"""How a picture looks: colours, night, rain, blur. Nothing here moves anything, so boxes stay as they are."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

_DARK = 60  # mean of grey levels: photographs taken at night lie below, those of an overcast day above 80

Picture = NDArray[np.uint8]  # (H, W, 3) BGR


def coloured(image: Picture, hue: float, saturation: float, brightness: float, rng: np.random.Generator) -> Picture:
    """Hue turned by up to `hue` of the circle, saturation and brightness scaled by up to their parts, both ways."""
    turn, more_colour, more_light = rng.uniform(-1, 1, 3) * [hue, saturation, brightness]
    if not (hue or saturation or brightness):
        return image
    values = np.arange(256)
    tables = (
        (values + round(turn * 180)) % 180,  # OpenCV's 8-bit hue counts to 180
        np.clip(values * (1 + more_colour), 0, 255),
        np.clip(values * (1 + more_light), 0, 255),
    )
    planes = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV))
    changed = [cv2.LUT(plane, table.astype(np.uint8)) for plane, table in zip(planes, tables, strict=True)]
    return np.asarray(cv2.cvtColor(cv2.merge(changed), cv2.COLOR_HSV2BGR), np.uint8)


def night(image: Picture, rng: np.random.Generator) -> Picture:
    """Dark, with street light's tint, a sensor's noise, and a glow around what is still bright.

    A picture that is dark already stays as it is: nobody could say what is on it.
    """
    if image.mean() < _DARK:
        return image
    light, gamma = rng.uniform(0.35, 0.75), rng.uniform(1.1, 1.7)
    tint = rng.uniform([0.7, 0.85, 0.9], [1.1, 1.0, 1.1])  # B, G, R: from sodium lamps to moonlight
    curve = (np.arange(256) / 255) ** gamma * 255 * light
    table = np.clip(curve[:, None] * tint, 0, 255).astype(np.uint8)
    dark = np.asarray(cv2.LUT(image, table[None]), np.uint8)
    lamps = np.asarray(cv2.threshold(image, 225, 255, cv2.THRESH_TOZERO)[1], np.uint8)
    glow = cv2.GaussianBlur(lamps, (0, 0), max(1.0, image.shape[1] / 100))
    dark = np.asarray(cv2.addWeighted(dark, 1, glow, rng.uniform(0.1, 0.5), 0), np.uint8)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(2, 9))
    return np.asarray(cv2.add(dark, noise, dtype=cv2.CV_8U), np.uint8)


def rain(image: Picture, rng: np.random.Generator) -> Picture:
    """Slanting streaks before a haze that takes contrast and colour."""
    rows, columns = image.shape[:2]
    length = max(5, round(rows * rng.uniform(0.03, 0.08)))
    kernel = _line(length, math.pi / 2 + math.radians(rng.uniform(-20, 20)))
    drops = (rng.random((rows, columns), np.float32) < rng.uniform(0.002, 0.01)).astype(np.float32)
    streaks = np.minimum(cv2.filter2D(drops, -1, kernel), 1)
    haze = rng.uniform(0.1, 0.4)
    veiled = cv2.addWeighted(image, 1 - haze, np.full_like(image, 150), haze, 0)
    strength = np.float32(rng.uniform(20, 60))
    return np.asarray(cv2.add(veiled, cv2.merge([streaks * strength] * 3), dtype=cv2.CV_8U), np.uint8)


def blurred(image: Picture, most_px: float, rng: np.random.Generator) -> Picture:
    """Out of focus by a sigma of up to `most_px`, or moving along a line twice as long."""
    size = rng.uniform(0.3, 1) * most_px
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), size), np.uint8)
    length = max(3, round(size * 2) | 1)
    kernel = _line(length, rng.uniform(0, math.pi))
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _line(length: int, angle: float) -> NDArray[np.float32]:
    """A kernel (length, length) of ones along a line through its centre."""
    kernel = np.zeros((length, length), np.float32)
    reach = (length - 1) / 2
    x, y = reach * math.cos(angle), reach * math.sin(angle)
    cv2.line(kernel, (round(reach - x), round(reach - y)), (round(reach + x), round(reach + y)), (1.0,))
    return kernel
