"""A rider and the machine under them as one thing, where a dataset has them as two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Riders:
    """Joins a box of class `rider` with a box of class `machine` (both of the dataset) into one of class `becomes`.

    They belong together where the lower half of the rider's box meets the machine's. Each is used once, the pair that
    overlaps most first.
    """

    rider: int
    machine: int
    becomes: int

    def join(
        self, boxes: NDArray[np.float64], theirs: NDArray[np.int32], ours: NDArray[np.int64], crowd: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
        """Give boxes (N, 4), our classes (N,) and crowds (N,) with each pair replaced by its union."""
        people = np.flatnonzero((theirs == self.rider) & ~crowd)
        machines = np.flatnonzero((theirs == self.machine) & ~crowd)
        legs = boxes[people]
        legs[:, 1] = (legs[:, 1] + legs[:, 3]) / 2
        overlaps = _overlaps(legs, boxes[machines])
        kept = np.ones(len(boxes), np.bool_)
        unions = []
        while overlaps.size and overlaps.max() > 0:
            person, machine = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
            pair = [people[person], machines[machine]]
            unions.append([*boxes[pair, :2].min(axis=0), *boxes[pair, 2:].max(axis=0)])
            kept[pair] = False
            overlaps[person, :] = overlaps[:, machine] = 0
        joined = np.array(unions, np.float64).reshape(-1, 4)
        return (
            np.concatenate([boxes[kept], joined]),
            np.concatenate([ours[kept], np.full(len(joined), self.becomes, np.int64)]),
            np.concatenate([crowd[kept], np.zeros(len(joined), np.bool_)]),
        )


def _overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas (N, M) that boxes (N, 4) and (M, 4) have in common."""
    corners = np.maximum(first[:, None, :2], second[None, :, :2]), np.minimum(first[:, None, 2:], second[None, :, 2:])
    areas: NDArray[np.float64] = np.clip(corners[1] - corners[0], 0, None).prod(axis=2)
    return areas
