"""Image -> input tensor, and boxes back again: the CPU truth that GPU kernels have to match.

An image of any size is scaled into the network's fixed input. `Fit` says how; `Geometry` is one image's
way there and back. `Preprocessor` holds what a bundle says about pixels and writes straight into the
engine's own input memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.frame import PixelFormat
from sensors.yuv import to_bgr

Boxes: TypeAlias = NDArray[np.float32]


class Fit(Enum):
    """How an image is brought to the network's size."""

    LETTERBOX_TOP_LEFT = "letterbox-top-left"  # aspect kept, image at the top left, the rest padded
    LETTERBOX_CENTRED = "letterbox-centred"  # aspect kept, padded evenly (the odd pixel right and below)
    STRETCH = "stretch"  # aspect not kept, nothing padded


@dataclass(frozen=True, slots=True)
class Geometry:
    """One source image's place in the network's input.

    A point (x, y) of the source, in continuous pixel coordinates (0,0 is the outer corner of the first
    pixel), lies at (x * scale_x + left, y * scale_y + top) of the input.
    """

    source_width: int
    source_height: int
    input_width: int
    input_height: int
    left: int
    top: int
    width: int  # of the scaled image inside the input
    height: int

    @property
    def scale_x(self) -> float:
        """Input pixels a source pixel, along x."""
        return self.width / self.source_width

    @property
    def scale_y(self) -> float:
        """Input pixels a source pixel, along y."""
        return self.height / self.source_height

    def to_input(self, boxes_xyxy: Boxes) -> Boxes:
        """Carry boxes (N, 4) of the source image into the network's input."""
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        offset = np.array([self.left, self.top] * 2, np.float32)
        return np.asarray(boxes_xyxy, np.float32) * scale + offset

    def to_source(self, boxes_xyxy: Boxes) -> Boxes:
        """Carry boxes (N, 4) of the network's input back into source pixels, clipped to the image."""
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        offset = np.array([self.left, self.top] * 2, np.float32)
        boxes = (np.asarray(boxes_xyxy, np.float32) - offset) / scale
        limit = np.array([self.source_width, self.source_height] * 2, np.float32)
        clipped: Boxes = np.clip(boxes, 0, limit, out=boxes)
        return clipped


@lru_cache(maxsize=64)  # a drive has one size a camera; the cache keeps the hot path free of arithmetic
def geometry(fit: Fit, source_width: int, source_height: int, input_width: int, input_height: int) -> Geometry:
    """Place an image of one size in an input of another. Sizes are positive."""
    if fit is Fit.STRETCH:
        return Geometry(source_width, source_height, input_width, input_height, 0, 0, input_width, input_height)
    scale = min(input_width / source_width, input_height / source_height)
    width = min(input_width, max(1, round(source_width * scale)))
    height = min(input_height, max(1, round(source_height * scale)))
    left = top = 0
    if fit is Fit.LETTERBOX_CENTRED:
        left, top = (input_width - width) // 2, (input_height - height) // 2
    return Geometry(source_width, source_height, input_width, input_height, left, top, width, height)


@dataclass(frozen=True, slots=True)
class Pixels:
    """What a network expects of its pixels: `(x * scale - mean) / std` per channel, x in 0..255.

    `mean` and `std` are in the order of `colour`. `pad` is the grey level (0..255, before normalisation)
    around a letterboxed image.
    """

    colour: str = "BGR"  # or RGB
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Fit = Fit.LETTERBOX_CENTRED
    pad: int = 114

    def __str__(self) -> str:
        """For people: what differs from plain 0 to 255 is told."""
        parts = [self.colour, f"scale {self.scale:.4g}" if self.scale != 1 else "0 to 255"]
        if any(self.mean) or any(std != 1 for std in self.std):
            parts.append("mean {:.4g} {:.4g} {:.4g}, std {:.4g} {:.4g} {:.4g}".format(*self.mean, *self.std))
        return ", ".join([*parts, self.fit.value if self.fit is Fit.STRETCH else f"{self.fit.value}, pad {self.pad}"])

    def normalisation(self) -> Normalisation:
        """The same as one multiplication and one addition a channel, in float32."""
        std = np.array(self.std, np.float32)
        gain = np.float32(self.scale) / std
        bias = -np.array(self.mean, np.float32) / std
        return Normalisation(gain, bias, np.float32(self.pad) * gain + bias)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """A grey level x becomes `x * gain + bias`, multiplied and added in float32; (3,) float32 in the network's order.

    `padding` is what the grey level around the image becomes.
    """

    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    padding: NDArray[np.float32]


class Preprocessor:
    """Writes images into input tensors. Its scratch memory is reused: one thread at a time.

    Resizing is bilinear without antialiasing (OpenCV's INTER_LINEAR), as the demos of the networks that
    we decode have it.
    """

    def __init__(self, pixels: Pixels, width: int, height: int) -> None:
        self._pixels = pixels
        self._width, self._height = width, height
        normalisation = pixels.normalisation()
        self._gain, self._bias, self._pad = normalisation.gain, normalisation.bias, normalisation.padding
        self._is_identity = bool(np.all(self._gain == 1) and np.all(self._bias == 0))
        self._scaled: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._planes: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}

    def geometry(self, source_width: int, source_height: int) -> Geometry:
        """Place an image of this size in the input."""
        return geometry(self._pixels.fit, source_width, source_height, self._width, self._height)

    def write(
        self,
        image: NDArray[np.uint8],
        place: Geometry,
        out: NDArray[np.float32],
        kind: PixelFormat = PixelFormat.BGR,
        *,
        is_padded: bool = False,
    ) -> None:
        """Write `image`, whose pixels are of this kind, into `out` (3, height, width).

        `is_padded`: `out` still has the padding of an image at this same place. Of 16:9 in a square input that is
        44 % of the memory, and not writing it keeps as much else in the cache.
        """
        image = to_bgr(image, kind)
        size = (place.height, place.width)
        scaled = self._scaled.get(size)
        if scaled is None:
            scaled = self._scaled.setdefault(size, np.empty((*size, 3), np.uint8))
            self._planes[size] = [np.empty(size, np.uint8) for _ in range(3)]
        cv2.resize(image, (place.width, place.height), dst=scaled, interpolation=cv2.INTER_LINEAR)
        planes = self._planes[size]
        cv2.split(scaled, planes)
        if self._pixels.colour == "RGB":
            planes = planes[::-1]
        bottom, right = place.top + place.height, place.left + place.width
        for channel, plane in enumerate(planes):
            target = out[channel]
            inside = target[place.top : bottom, place.left : right]
            if self._is_identity:
                np.copyto(inside, plane)
            else:
                np.multiply(plane, self._gain[channel], out=inside)
                np.add(inside, self._bias[channel], out=inside)
            if is_padded:
                continue
            pad = self._pad[channel]
            target[: place.top] = pad
            target[bottom:] = pad
            target[place.top : bottom, : place.left] = pad
            target[place.top : bottom, right:] = pad
