"""What a device may do of a detector's decoding, so that it copies out kilobytes and not a table of every cell.

A decoder says how its network's outputs are laid out (`Reduction`); an engine that can leaves only boxes above the
thresholds, best first, and gives them under the roles `CANDIDATES` and `FAULTS` in place of the raw outputs. The
decoder takes both, and finds the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CANDIDATES = "candidates"  # (N,) of CANDIDATE, best first; equal scores in the order of their cells
FAULTS = "faults"  # (1,) uint32: bit r is set where role r of the reduction has a value that decides and is not finite

# Boxes left, top, right, bottom in pixels of the network's input.
CANDIDATE = np.dtype([("box_xyxy", "<f4", 4), ("score", "<f4"), ("class_index", "<i4")])


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of one stride, row-major."""

    columns: int
    rows: int
    stride: int  # input pixels a cell

    @property
    def cells(self) -> int:
        """Cells of this grid."""
        return self.columns * self.rows


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a detector's outputs are laid out. `family` is its decoder's name.

    `roles` are the outputs that it reads, in the decoder's order; `most` are the best boxes that it goes on with.
    `bins` are those of each side of a box where distances are distributions, else 0.
    """

    family: str
    roles: tuple[str, ...]
    grids: tuple[Grid, ...]
    class_count: int
    most: int
    bins: int = 0

    @property
    def cells(self) -> int:
        """Cells of all grids."""
        return sum(grid.cells for grid in self.grids)
