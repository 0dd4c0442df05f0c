"""A sheet of labelled samples: what a person looks at before trusting a dataset."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.datasets.dataset import Dataset, LabelledImage
from engines.datasets.pixels import read_mask, read_pixels
from engines.drawing import Colour, draw_box, draw_text
from engines.errors import DatasetError

_SHEET_WIDTH = 1940  # pixels: four pictures of 4:3, about as wide as a screen
_CELL_PX = 480 * 360  # of a picture on the sheet, whatever its shape
_SMALL_IMAGE, _SMALL_CELL_PX = 80, 150 * 150  # images no longer than this are not blown up further
_TEXT_PIXELS = 11.0
_CAPTION, _GAP = 20, 4  # rows below a picture, pixels between two
_IGNORED: Colour = (190, 190, 190)
_GOLDEN_ANGLE = 0.618033988749895  # of a turn: neighbouring classes get colours far apart
_MASK_OPACITY = 0.35


def class_colour(index: int) -> Colour:
    """The colour of a class, the same on every sheet."""
    red, green, blue = colorsys.hsv_to_rgb((0.33 + index * _GOLDEN_ANGLE) % 1.0, 0.8, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def samples(dataset: Dataset, count: int, rng: np.random.Generator) -> list[LabelledImage]:
    """Images by chance, but so that each class is seen as often as there is room: the rarest so far comes next."""
    waiting = [(dataset.images[index], _kinds(dataset.images[index])) for index in rng.permutation(len(dataset.images))]
    seen = np.zeros(max(1, len(dataset.classes)))
    chosen: list[LabelledImage] = []
    while waiting and len(chosen) < count:
        there = set().union(*(kinds for _, kinds in waiting))
        rarest = min(there, key=lambda kind: (seen[kind], kind), default=None)
        number = next((n for n, (_, kinds) in enumerate(waiting) if rarest in kinds), 0)
        image, kinds = waiting.pop(number)
        seen[list(kinds)] += 1
        chosen.append(image)
    return chosen


def _kinds(image: LabelledImage) -> set[int]:
    if image.category is not None:
        return {image.category}
    return set(image.classes[~image.crowd].tolist())


def sheet(chosen: Sequence[tuple[Dataset, LabelledImage]]) -> NDArray[np.uint8]:
    """Draw images (BGR) side by side with what is said of them; one that cannot be read says so in its place.

    What is ignored is framed in grey without a name.
    """
    shapes = [_shape(image) for _, image in chosen]
    aspect = float(np.median([width / height for height, width in shapes])) if shapes else 1.0
    area = _SMALL_CELL_PX if shapes and max(map(max, shapes)) <= _SMALL_IMAGE else _CELL_PX
    width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    cells = [_cell(dataset, image, width, height) for dataset, image in chosen]
    columns = min(max(1, _SHEET_WIDTH // (width + _GAP)), max(1, len(cells)))
    row_height = height + _CAPTION + _GAP
    canvas = np.full((math.ceil(len(cells) / columns) * row_height, columns * (width + _GAP), 3), 30, np.uint8)
    for number, cell in enumerate(cells):
        top, left = number // columns * row_height, number % columns * (width + _GAP)
        canvas[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return canvas


def _shape(image: LabelledImage) -> tuple[int, int]:
    """Rows and columns of an image; of one that cannot be read, those of a usual one."""
    try:
        rows, columns = read_pixels(image.path).shape[:2]
    except DatasetError:
        return 360, 480
    return rows, columns


def _cell(dataset: Dataset, image: LabelledImage, width: int, height: int) -> NDArray[np.uint8]:
    """One image fitted into a cell, with its labels, and a line below that names it and covers nothing."""
    canvas = np.full((height + _CAPTION, width, 3), 60, np.uint8)
    what = image.path.name if image.category is None else dataset.classes[image.category]
    draw_text(canvas, f"{what} ({dataset.split})", 0, height + _CAPTION, (60, 60, 60), _TEXT_PIXELS - 2)
    try:
        pixels = read_pixels(image.path)
        boxes = image.boxes_xyxy(pixels.shape[1], pixels.shape[0])
    except DatasetError as fault:
        draw_text(canvas, fault.what, 0, height // 2, (60, 60, 255), _TEXT_PIXELS)
        return canvas
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    drawn = canvas[: size[1], : size[0]]
    drawn[:] = cv2.resize(pixels, size, interpolation=way)
    if image.mask is not None:
        _draw_mask(drawn, read_mask(image.mask), dataset)
    for number in np.flatnonzero(image.crowd):
        left, top, right, bottom = np.rint(boxes[number] * scale).astype(int).tolist()
        cv2.rectangle(drawn, (left, top), (right, bottom), _IGNORED, 1)
    found = np.flatnonzero(~image.crowd)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for number in found[np.argsort(-areas[found], kind="stable")].tolist():  # small ones last, on top
        name = dataset.classes[image.classes[number]]
        draw_box(drawn, boxes[number] * scale, name, _colour_of(name, dataset), _TEXT_PIXELS)
    return canvas


def _colour_of(name: str, dataset: Dataset) -> Colour:
    """Of a box: that of its class in the masks, where they have it."""
    names = dataset.mask_classes if name in dataset.mask_classes else dataset.classes
    return class_colour(names.index(name))


def _draw_mask(drawn: NDArray[np.uint8], values: NDArray[np.uint8], dataset: Dataset) -> None:
    """Tint each class, with its name where most of it is, unless its boxes say it."""
    large = cv2.resize(values, (drawn.shape[1], drawn.shape[0]), interpolation=cv2.INTER_NEAREST)
    named: list[tuple[str, int, int, Colour]] = []
    for value, name in enumerate(dataset.mask_classes):
        where = np.asarray(large == value)
        if not where.any():
            continue
        colour = class_colour(value)
        drawn[where] = (drawn[where] * (1 - _MASK_OPACITY) + np.array(colour) * _MASK_OPACITY).astype(np.uint8)
        if name not in dataset.classes:
            depth = cv2.distanceTransform(where.astype(np.uint8), cv2.DIST_L2, 3)
            row, column = divmod(int(depth.argmax()), depth.shape[1])
            named.append((name, column - 4 * len(name), row + 6, colour))
    for name, left, bottom, colour in named:
        draw_text(drawn, name, left, bottom, colour, _TEXT_PIXELS - 2)
