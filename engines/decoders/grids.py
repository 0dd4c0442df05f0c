"""The grids of cells on which one-stage detectors predict: one grid a stride, cells row-major."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from engines.reduction import Grid

STRIDES = (8, 16, 32)  # input pixels a cell, of every family that we decode, in the order of their rows


def cell_count(input_width: int, input_height: int, stride: int) -> int:
    """Cells of one stride's grid; a cell cut by the input's border counts."""
    return -(-input_width // stride) * -(-input_height // stride)


def total_cells(input_width: int, input_height: int, strides: Iterable[int] = STRIDES) -> int:
    """Cells of several grids together."""
    return sum(cell_count(input_width, input_height, stride) for stride in strides)


def grids_of(input_width: int, input_height: int, strides: Iterable[int] = STRIDES) -> tuple[Grid, ...]:
    """The grid of each stride."""
    return tuple(Grid(-(-input_width // stride), -(-input_height // stride), stride) for stride in strides)


def cell_corners(input_width: int, input_height: int, stride: int) -> NDArray[np.float32]:
    """Column and row of every cell, (cells, 2) float32: the cell's top left corner in units of the stride."""
    columns, rows = -(-input_width // stride), -(-input_height // stride)
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    return grid.reshape(-1, 2).astype(np.float32)
