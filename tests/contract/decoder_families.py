"""A small network of each family, and its encoder: boxes, or classes of pixels -> the outputs that say them.

The inverse of each decoder, so that the contract test knows what has to be found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 96  # of the input: not square, so that swapped axes show
CLASSES = 7
CELLS = {8: (20, 12), 16: (10, 6), 32: (5, 3)}  # stride -> columns, rows
TOTAL = sum(columns * rows for columns, rows in CELLS.values())
OutputTables = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Wanted:
    """A box that a network is made to put out: corners in input pixels, score, class."""

    box: tuple[float, float, float, float]
    score: float
    kind: int

    @property
    def stride(self) -> int:
        longest = max(self.box[2] - self.box[0], self.box[3] - self.box[1])
        return 8 if longest < 24 else 16 if longest < 60 else 32

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    def cell(self, nth: int) -> tuple[int, int]:
        """Column and row of the cell that predicts it: its centre's, or the nth after that."""
        columns, rows = CELLS[self.stride]
        column = min(max(int(self.centre[0] // self.stride), 0), columns - 1)
        row = min(max(int(self.centre[1] // self.stride), 0), rows - 1)
        return (column + nth) % columns, row

    def row(self, nth: int) -> int:
        """Its row in an output that holds the strides' grids one after the other."""
        before = sum(columns * rows for stride, (columns, rows) in CELLS.items() if stride < self.stride)
        column, row = self.cell(nth)
        return before + row * CELLS[self.stride][0] + column


def placed(boxes: list[Wanted]) -> list[tuple[Wanted, int]]:
    """Each box with the number of earlier ones of its cell, so that no two share a row."""
    seen: dict[int, int] = {}
    numbered = []
    for box in boxes:
        nth = seen.get(box.row(0), 0)
        seen[box.row(0)] = nth + 1
        numbered.append((box, nth))
    return numbered


def encode_yolox(boxes: list[Wanted]) -> OutputTables:
    table = np.zeros((TOTAL, 5 + CLASSES), np.float32)
    for box, nth in placed(boxes):
        (column, row), (x, y) = box.cell(nth), box.centre
        size = np.array([box.box[2] - box.box[0], box.box[3] - box.box[1]]) / box.stride
        values = table[box.row(nth)]
        values[:4] = x / box.stride - column, y / box.stride - row, *np.log(size)
        values[4] = values[5 + box.kind] = box.score**0.5
    return {"predictions": table}


def encode_yolov8(boxes: list[Wanted]) -> OutputTables:
    table = np.zeros((4 + CLASSES, TOTAL), np.float32)
    for box, nth in placed(boxes):
        values = table[:, box.row(nth)]
        values[:4] = *box.centre, box.box[2] - box.box[0], box.box[3] - box.box[1]
        values[4 + box.kind] = box.score
    return {"predictions": table}


def encode_nanodet(boxes: list[Wanted]) -> OutputTables:
    tables: OutputTables = {}
    for stride, (columns, rows) in CELLS.items():
        tables[f"scores_{stride}"] = np.zeros((rows * columns, CLASSES), np.float32)
        tables[f"distances_{stride}"] = np.zeros((rows * columns, 32), np.float32)
    for box, nth in placed(boxes):
        column, row = box.cell(nth)
        index = row * CELLS[box.stride][0] + column
        x, y = (column + 0.5) * box.stride - 0.5, (row + 0.5) * box.stride - 0.5
        sides = np.array([x - box.box[0], y - box.box[1], box.box[2] - x, box.box[3] - y]) / box.stride
        assert sides.min() >= 0, "this family cannot say a box that its cell's centre is not in"
        assert sides.max() <= 7
        weights = np.full((4, 8), 1e-12)
        for side, distance in enumerate(sides):  # a mean of `distance` from the two bins beside it
            below = min(int(distance), 6)
            weights[side, below] += 1 - (distance - below)
            weights[side, below + 1] += distance - below
        tables[f"distances_{box.stride}"][index] = np.log(weights).ravel()
        tables[f"scores_{box.stride}"][index, box.kind] = box.score
    return tables


@dataclass(frozen=True)
class BoxFamily:
    """Of detectors."""

    encode: Callable[[list[Wanted]], OutputTables]
    shapes: dict[str, tuple[int, ...]]  # by role, as its networks have it

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """The same by the network's names, which say nothing."""
        return {f"out_{index}": shape for index, shape in enumerate(self.shapes.values())}


GROUPS = {"area": 2, "kind": 5, "line": 1}  # name -> channels
MAP_SHAPES = {group: (1, channels, HEIGHT, WIDTH) for group, channels in GROUPS.items()}
ClassMaps = dict[str, NDArray[np.uint8]]


def random_maps(seed: int) -> ClassMaps:
    """Classes (HEIGHT, WIDTH) of each group: of blocks, and of single pixels."""
    random = np.random.default_rng(seed)
    maps = {}
    for group, channels in GROUPS.items():
        blocks = random.integers(0, max(2, channels), (HEIGHT // 8, WIDTH // 8), np.uint8)
        maps[group] = blocks.repeat(8, axis=0).repeat(8, axis=1)
        rows, columns = random.integers(0, HEIGHT, 50), random.integers(0, WIDTH, 50)
        maps[group][rows, columns] = random.integers(0, max(2, channels), 50)
    return maps


def encode_maps(maps: ClassMaps) -> OutputTables:
    """Logits that say them, negative ones too: only the order of a pixel's values tells."""
    random = np.random.default_rng(9)
    tables: OutputTables = {}
    for group, classes in maps.items():
        channels = GROUPS[group]
        sure = random.uniform(0.25, 4, classes.shape).astype(np.float32)
        if channels == 1:
            tables[group] = np.where(classes == 1, sure, -sure)[None]
        else:
            base = random.uniform(-8, 8, classes.shape)
            tables[group] = np.stack(
                [np.where(classes == index, base + sure, base - index / 8) for index in range(channels)]
            ).astype(np.float32)
    return tables


@dataclass(frozen=True)
class MapFamily:
    """Of networks that give every pixel its class."""

    encode: Callable[[ClassMaps], OutputTables]
    shapes: dict[str, tuple[int, ...]]

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """The same by the network's names, which say nothing."""
        return {f"out_{index}": shape for index, shape in enumerate(self.shapes.values())}


def encode_class(best: int, score: float) -> OutputTables:
    """Logits whose softmax gives one class this score, and the others what is left in a known order: 0, 1, 2, ..."""
    shares = np.arange(CLASSES, 0, -1, dtype=np.float64)
    shares[best] = 0
    shares *= (1 - score) / shares.sum()
    shares[best] = score
    return {"logits": (np.log(shares) + 3).astype(np.float32)}


@dataclass(frozen=True)
class ClassFamily:
    """Of networks that say what a picture is as a whole."""

    encode: Callable[[int, float], OutputTables]
    shapes: dict[str, tuple[int, ...]]

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """The same by the network's name, which says nothing."""
        return {f"out_{index}": shape for index, shape in enumerate(self.shapes.values())}


BOX_FAMILIES = {
    "yolox": BoxFamily(encode_yolox, {"predictions": (1, TOTAL, 5 + CLASSES)}),
    "yolov8": BoxFamily(encode_yolov8, {"predictions": (1, 4 + CLASSES, TOTAL)}),
    "nanodet": BoxFamily(encode_nanodet, {role: table.shape for role, table in encode_nanodet([]).items()}),
}
MAP_FAMILIES = {"segmentation": MapFamily(encode_maps, MAP_SHAPES)}
CLASS_FAMILIES = {"classification": ClassFamily(encode_class, {"logits": (1, CLASSES)})}
FAMILIES: dict[str, BoxFamily | MapFamily | ClassFamily] = {**BOX_FAMILIES, **MAP_FAMILIES, **CLASS_FAMILIES}
