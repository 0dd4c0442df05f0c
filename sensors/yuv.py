"""What an NV12 image's luma and colour differences mean, and the same image in BGR.

A camera says by which standard it has made them, or says nothing; BT.601 with limited range is meant then. HD cameras
often have BT.709, many the full range. Read by the wrong one a picture is darker or its reds are off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.frame import Frame, PixelFormat

_BITS = 20  # of the fixed point, which is OpenCV's
_ONE = 1 << _BITS
# Shares of red and blue in the luma: ITU-R BT.601-7, 2.5.1 and BT.709-6, 3.2.
_BT601, _BT709 = (0.299, 0.114), (0.2126, 0.0722)
_STANDARDS = {
    PixelFormat.NV12_FULL: (_BT601, True),
    PixelFormat.NV12_709: (_BT709, False),
    PixelFormat.NV12_709_FULL: (_BT709, True),
}


@dataclass(frozen=True, slots=True)
class YuvCoefficients:
    """BGR of one pixel, times 2^20: `luma * (y - dark)`, and to each channel what its colour differences add.

    U and V count from 128.
    """

    dark: int  # the luma of black
    luma: int
    blue_u: int
    green_u: int
    green_v: int
    red_v: int


@cache
def coefficients(kind: PixelFormat) -> YuvCoefficients:
    """Of an NV12 of this kind. Limited range: luma 16 to 235, differences 16 to 240."""
    if kind is PixelFormat.NV12:  # OpenCV's own, rounded to three digits, so that its BGR is ours to the bit
        return YuvCoefficients(16, 1220542, 2116026, -409993, -852492, 1673527)
    (red, blue), is_full = _STANDARDS[kind]
    green = 1 - red - blue
    brightness, colour = (1.0, 1.0) if is_full else (255 / 219, 255 / 224)
    return YuvCoefficients(
        0 if is_full else 16,
        round(brightness * _ONE),
        round(colour * 2 * (1 - blue) * _ONE),
        round(-colour * 2 * (1 - blue) * blue / green * _ONE),
        round(-colour * 2 * (1 - red) * red / green * _ONE),
        round(colour * 2 * (1 - red) * _ONE),
    )


def bgr(frame: Frame) -> NDArray[np.uint8]:
    """A frame's image as (H, W, 3) BGR."""
    return to_bgr(frame.image, frame.format)


def to_bgr(image: NDArray[np.uint8], kind: PixelFormat) -> NDArray[np.uint8]:
    """Give (H, W, 3) BGR of an image of any kind; of a BGR one itself. Four pixels share one colour, as in NV12.

    The same whole numbers on every machine, and on a GPU. Only `NV12`, which is OpenCV's own, is quick.
    """
    if kind is PixelFormat.BGR:
        return image
    if kind is PixelFormat.NV12:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_YUV2BGR_NV12), np.uint8)
    height, width = image.shape[0] * 2 // 3, image.shape[1]
    of = coefficients(kind)
    levels = np.arange(256, dtype=np.int32)
    luma = np.take(np.maximum(levels - of.dark, 0) * of.luma, image[:height])
    u, v = np.moveaxis(image[height:].reshape(height // 2, width // 2, 2), -1, 0)
    differences, half = levels - 128, _ONE // 2
    green = np.take(differences * of.green_u, u) + np.take(differences * of.green_v + half, v)
    added = np.take(differences * of.blue_u + half, u), green, np.take(differences * of.red_v + half, v)
    image_bgr = np.empty((height, width, 3), np.uint8)
    for channel, of_pairs in enumerate(added):
        sums = luma + of_pairs.repeat(2, axis=0).repeat(2, axis=1)
        image_bgr[:, :, channel] = np.clip(sums >> _BITS, 0, 255)
    return image_bgr
