"""A sheet of labelled samples: what a person looks at before trusting a dataset."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.datasets.dataset import ANY_CLASS, Dataset, LabelledImage
from engines.datasets.pixels import read_mask, read_pixels
from engines.drawing import Colour, draw_box, draw_text
from engines.errors import DatasetError

_CELL_WIDTH, _CELL_HEIGHT = 480, 360  # pixels: four side by side are as wide as a screen
_SMALL_CELL = 160  # of pictures too small to fill a large one
_TEXT_PIXELS = 11.0
_CROWD: Colour = (170, 170, 170)
_GOLDEN_ANGLE = 0.618033988749895  # of a turn: neighbouring classes get colours far apart
_MASK_OPACITY = 0.45


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


def sheet(chosen: Sequence[tuple[Dataset, LabelledImage]], columns: int = 4) -> NDArray[np.uint8]:
    """Draw images (BGR) side by side with what is said of them; one that cannot be read says so in its place."""
    cells = [_cell(dataset, image) for dataset, image in chosen]
    height, width = (max((cell.shape[axis] for cell in cells), default=1) for axis in (0, 1))
    if width <= _SMALL_CELL:
        columns *= _CELL_WIDTH // _SMALL_CELL
    columns = min(columns, max(1, len(cells)))
    canvas = np.full((math.ceil(len(cells) / columns) * (height + 4), columns * (width + 4), 3), 30, np.uint8)
    for number, cell in enumerate(cells):
        top, left = number // columns * (height + 4), number % columns * (width + 4)
        canvas[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return canvas


def _cell(dataset: Dataset, image: LabelledImage) -> NDArray[np.uint8]:
    try:
        pixels = read_pixels(image.path)
        boxes = image.boxes_xyxy(pixels.shape[1], pixels.shape[0])
    except DatasetError as fault:
        blank = np.zeros((_CELL_HEIGHT, _CELL_WIDTH, 3), np.uint8)
        draw_text(blank, fault.what[:60], 0, _CELL_HEIGHT // 2, (60, 60, 255), _TEXT_PIXELS)
        return _captioned(blank, image, dataset)
    cell_width, cell_height = _CELL_WIDTH, _CELL_HEIGHT
    if max(pixels.shape[:2]) <= _SMALL_CELL // 2:
        cell_width = cell_height = _SMALL_CELL
    scale = min(cell_width / pixels.shape[1], cell_height / pixels.shape[0])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    drawn = np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)
    if image.mask is not None:
        _draw_mask(drawn, read_mask(image.mask), dataset.mask_classes)
    order = sorted(range(len(boxes)), key=lambda number: -float(np.prod(boxes[number, 2:] - boxes[number, :2])))
    for number in order:  # small ones last, on top
        kind = int(image.classes[number])
        name = "ignored" if kind == ANY_CLASS else dataset.classes[kind]
        name, colour = (f"({name})", _CROWD) if image.crowd[number] else (name, class_colour(kind))
        draw_box(drawn, boxes[number] * scale, name, colour, _TEXT_PIXELS)
    return _captioned(drawn, image, dataset)


def _draw_mask(drawn: NDArray[np.uint8], values: NDArray[np.uint8], names: Sequence[str]) -> None:
    """Tint each class, with its name where most of it is."""
    large = cv2.resize(values, (drawn.shape[1], drawn.shape[0]), interpolation=cv2.INTER_NEAREST)
    named: list[tuple[str, int, int, Colour]] = []
    for value, name in enumerate(names):
        where = np.asarray(large == value)
        if not where.any():
            continue
        colour = class_colour(value)
        drawn[where] = (drawn[where] * (1 - _MASK_OPACITY) + np.array(colour) * _MASK_OPACITY).astype(np.uint8)
        depth = cv2.distanceTransform(where.astype(np.uint8), cv2.DIST_L2, 3)
        row, column = divmod(int(depth.argmax()), depth.shape[1])
        named.append((name, column - 4 * len(name), row + 6, colour))
    for name, left, bottom, colour in named:
        draw_text(drawn, name, left, bottom, colour, _TEXT_PIXELS - 2)


def _captioned(drawn: NDArray[np.uint8], image: LabelledImage, dataset: Dataset) -> NDArray[np.uint8]:
    """With a line below that names the file, so that nothing of the picture is covered."""
    what = dataset.classes[image.category] if image.category is not None else image.path.name
    line = np.full((round(2 * _TEXT_PIXELS), drawn.shape[1], 3), 60, np.uint8)
    draw_text(line, f"{what} ({dataset.split})", 0, line.shape[0], (60, 60, 60), _TEXT_PIXELS - 2)
    return np.concatenate([drawn, line])
