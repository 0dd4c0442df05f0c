"""Pictures varied as the world varies them: place, size, side, light, weather, focus. The boxes go with them.

A picture is resampled once: whatever is done to its geometry becomes one affine transform, from the pixels of the
image straight into its part of the new picture. All chance comes from the generator that is passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.letterbox import Fit, geometry
from engines.training.datasets.example import UNLABELLED, Example
from engines.training.datasets.mixture import Mixture
from engines.training.datasets.weather import blurred, coloured, night, rain

PAD = 114  # grey around pictures: what bundles are padded with


@dataclass(frozen=True)
class Augmentation:
    """How strongly pictures are varied. A probability is the share of pictures that are."""

    mosaic: float = 0.5  # probability: four images in one picture, objects in new company and cut by new edges
    mosaic_scale: tuple[float, float] = (0.5, 1.0)  # on top of `scale`, so that four find room
    scale: tuple[float, float] = (0.6, 2.0)  # of the size at which an image just fits: far and near
    stretch: float = 0.15  # parts by which width and height part: cameras are squeezed, some data is
    translate: float = 0.1  # parts of the picture by which an image may leave it
    rotate_deg: float = 2.0  # to either side: a camera's roll on a vehicle; more makes boxes loose
    shear_deg: float = 2.0  # to either side, likewise
    flip: float = 0.5  # probability: left and right; traffic drives on either side
    hue: float = 0.015  # parts of the colour circle, to either side: white balance
    saturation: float = 0.6  # parts, to either side: cameras differ widely
    brightness: float = 0.4  # parts, to either side: exposure
    blur: float = 0.08  # probability: out of focus, or moving
    blur_px: float = 1.8  # sigma at most, or half the length of a movement
    night: float = 0.08  # probability: dark, tinted, noisy, lamps glowing
    rain: float = 0.06  # probability: streaks and haze
    erase: float = 0.0  # probability: a patch of grey (DeVries and Taylor 2017), where the whole picture has a class
    min_visible: float = 0.25  # parts of a box that stay in the picture; less is ignored, not unlearned
    min_side_px: float = 3.0  # a box that became smaller is ignored: below half of the finest stride

    @staticmethod
    def off() -> Augmentation:
        """Only as large as fits, as at run time, but placed by chance where there is room."""
        return Augmentation(
            mosaic=0,
            scale=(1, 1),
            stretch=0,
            translate=0,
            rotate_deg=0,
            shear_deg=0,
            flip=0,
            hue=0,
            saturation=0,
            brightness=0,
            blur=0,
            night=0,
            rain=0,
            min_side_px=0,
        )

    @staticmethod
    def of_crops() -> Augmentation:
        """For small pictures of one thing each, which fills them: as another crop would show it."""
        return Augmentation(
            mosaic=0,
            scale=(0.8, 1.35),
            stretch=0.15,
            translate=0.1,
            rotate_deg=8,
            shear_deg=6,
            hue=0.02,
            saturation=0.4,
            brightness=0.3,
            blur=0.05,
            blur_px=0.7,
            night=0.03,
            rain=0,
            erase=0.5,
        )

    @staticmethod
    def of_scenes() -> Augmentation:
        """For pictures of which every pixel has its class: near ones more often, since far ones are grey around."""
        return Augmentation(mosaic=0, scale=(0.9, 2.0), rotate_deg=3)


def augment(
    mixture: Mixture, index: int, width: int, height: int, settings: Augmentation, rng: np.random.Generator
) -> Example:
    """One picture (height, width) made of an image, or of it and three others whose datasets label the same classes.

    A function of its arguments and the state of `rng`. Raises `DatasetError`, naming the file.
    """
    canvas = np.full((height, width, 3), PAD, np.uint8)
    first = mixture.read(index)
    if rng.random() < settings.mosaic:
        others = [mixture.read(mixture.draw(rng, like=index)) for _ in range(3)]
        x, y = (round(side * rng.uniform(0.3, 0.7)) for side in (width, height))
        places = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
        more = settings.mosaic_scale
        tiles = [_placed(canvas, i, p, settings, more, rng) for i, p in zip([first, *others], places, strict=True)]
    else:
        tiles = [_placed(canvas, first, (0, 0, width, height), settings, (1, 1), rng)]
    image = _looks(canvas, settings, rng)
    return Example(
        image=image,
        boxes_xyxy=np.concatenate([tile.boxes_xyxy for tile in tiles]),
        classes=np.concatenate([tile.classes for tile in tiles]),
        ignored_xyxy=np.concatenate([tile.ignored_xyxy for tile in tiles]),
        labelled=first.labelled,
        confidences=np.concatenate([tile.confidences for tile in tiles]),
    )


def letterboxed(example: Example, width: int, height: int, fit: Fit = Fit.LETTERBOX_TOP_LEFT) -> Example:
    """The picture as a bundle of this input size gets it at run time, and its boxes there."""
    rows, columns = example.image.shape[:2]
    place = geometry(fit, columns, rows, width, height)
    canvas = np.full((height, width, 3), PAD, np.uint8)
    inside = canvas[place.top : place.top + place.height, place.left : place.left + place.width]
    inside[:] = cv2.resize(example.image, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
    boxes, ignored = place.to_input(example.boxes_xyxy), place.to_input(example.ignored_xyxy)
    mask = None
    if example.mask is not None:
        mask = np.full((height, width), UNLABELLED, np.uint8)
        inside = mask[place.top : place.top + place.height, place.left : place.left + place.width]
        inside[:] = cv2.resize(example.mask, (place.width, place.height), interpolation=cv2.INTER_NEAREST)
    return Example(
        canvas, boxes, example.classes, ignored, example.labelled, example.confidences, example.category, mask
    )


def _placed(
    canvas: NDArray[np.uint8],
    example: Example,
    place: tuple[int, int, int, int],
    settings: Augmentation,
    more_scale: tuple[float, float],
    rng: np.random.Generator,
) -> Example:
    """Draw an image into a place (left, top, right, bottom) of the canvas; its boxes are the canvas's."""
    left, top, right, bottom = place
    target = canvas[top:bottom, left:right]
    matrix = _transform(example.image.shape[:2], target.shape[:2], canvas.shape[:2], settings, more_scale, rng)
    centres = matrix.copy()  # OpenCV counts from the centre of the first pixel
    centres[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    cv2.warpAffine(
        example.image,
        centres,
        (right - left, bottom - top),
        dst=target,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(PAD, PAD, PAD),
    )
    matrix[:, 2] += left, top
    boxes, shares = _carried(example.boxes_xyxy, matrix, place)
    ignored, _ = _carried(example.ignored_xyxy, matrix, place)
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (shares >= settings.min_visible) & (sides.min(axis=1, initial=np.inf) >= settings.min_side_px)
    ignored = np.concatenate([ignored, boxes[~kept]])
    seen = (ignored[:, 2:] > ignored[:, :2]).all(axis=1)
    return Example(
        target, boxes[kept], example.classes[kept], ignored[seen], example.labelled, example.confidences[kept]
    )


def _transform(
    source: tuple[int, ...],
    target: tuple[int, ...],
    picture: tuple[int, ...],
    settings: Augmentation,
    more_scale: tuple[float, float],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """An affine transform (2, 3) from pixels of an image to those of its place; sizes are (height, width)."""
    fit = min(picture[0] / source[0], picture[1] / source[1])
    scale = fit * _between(settings.scale, rng) * _between(more_scale, rng)
    stretch = math.sqrt(_between((1 / (1 + settings.stretch), 1 + settings.stretch), rng))
    side = -1 if rng.random() < settings.flip else 1
    angle, shear = (math.radians(rng.uniform(-most, most)) for most in (settings.rotate_deg, settings.shear_deg))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ [[1, math.tan(shear)], [0, 1]] @ np.diag([side * scale * stretch, scale / stretch])
    corners = linear @ np.array([[0, source[1], 0, source[1]], [0, 0, source[0], source[0]]])
    lowest, size = corners.min(axis=1), np.ptp(corners, axis=1)
    room = np.array([target[1], target[0]]) - size  # below 0: only a part of the image is seen
    offset = room * rng.random(2) + np.array([target[1], target[0]]) * rng.uniform(-1, 1, 2) * settings.translate
    return np.column_stack([linear, offset - lowest])


def _between(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """A factor, halving as likely as doubling."""
    low, high = limits
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _carried(
    boxes: NDArray[np.float32], matrix: NDArray[np.float64], place: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Boxes (N, 4) around the transformed ones, clipped to the place, and the share (N,) of each that is left."""
    corners = boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2) @ matrix[:, :2].T + matrix[:, 2]
    low, high = corners.min(axis=1), corners.max(axis=1)
    first, last = np.clip(low, place[:2], place[2:]), np.clip(high, place[:2], place[2:])
    shares = (last - first).prod(axis=1) / np.maximum((high - low).prod(axis=1), 1e-9)
    return np.concatenate([first, last], axis=1).astype(np.float32), shares


def _looks(image: NDArray[np.uint8], settings: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colour, then weather, then the lens: the order in which they come about."""
    image = coloured(image, settings.hue, settings.saturation, settings.brightness, rng)
    if rng.random() < settings.night:
        image = night(image, rng)
    if rng.random() < settings.rain:
        image = rain(image, rng)
    if rng.random() < settings.blur:
        image = blurred(image, settings.blur_px, rng)
    return image


def varied(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8] | None,
    width: int,
    height: int,
    settings: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """One picture (height, width) of one image, and what its mask (of class ids, or None) is there.

    As `augment` does it, for networks that name whole images or every pixel; no mosaic. Where the image does not
    reach, the mask is `UNLABELLED`.
    """
    matrix = _transform(image.shape[:2], (height, width), (height, width), settings, (1, 1), rng)
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV counts from the centre of the first pixel
    canvas = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD))
    if mask is not None:
        mask = np.asarray(
            cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=(UNLABELLED,)), np.uint8
        )
    picture = _looks(np.asarray(canvas, np.uint8), settings, rng)
    return (_erased(picture, rng) if rng.random() < settings.erase else picture), mask


def _erased(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture with a patch of grey: a class is to be known by more than one of its parts."""
    height, width = image.shape[:2]
    rows, columns = (round(side * rng.uniform(0.2, 0.5)) for side in (height, width))
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    erased = image.copy()
    erased[top : top + rows, left : left + columns] = PAD
    return erased
