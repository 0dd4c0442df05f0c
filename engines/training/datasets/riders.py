"""A rider and the machine under them as one thing, where a dataset has them as two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEET = 0.15  # of a machine's height: who stands lower stands in front of it


@dataclass(frozen=True, slots=True)
class Riders:
    """Joins a box of class `rider` with a box of class `machine` (both of the dataset) into one of class `becomes`.

    They belong together as `rides` says. Each is used once, the pair of which the rider's lower half and the machine
    overlap most first.
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
        overlaps = _overlaps(_legs(boxes[people]), boxes[machines]) * rides(boxes[people], boxes[machines])
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


def rides(people: NDArray[Any], machines: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of some people (N, 4) rides which machine (M, 4), (N, M): of labels, and of what a teacher finds.

    A person rides where the lower half of their box meets the machine's, their middle is over it and their feet do
    not stand in front of it.
    """
    legs, machines = _legs(people)[:, None], machines[None]
    corners = np.maximum(legs[..., :2], machines[..., :2]), np.minimum(legs[..., 2:], machines[..., 2:])
    middles = (people[:, 0] + people[:, 2])[:, None] / 2
    low = machines[..., 3] + _FEET * (machines[..., 3] - machines[..., 1])
    found = (corners[0] < corners[1]).all(axis=2) & (legs[..., 3] < low)
    found &= (middles > machines[..., 0]) & (middles < machines[..., 2])
    return np.asarray(found, np.bool_)


def _legs(people: NDArray[Any]) -> NDArray[Any]:
    """The lower halves of boxes (N, 4)."""
    legs = people.copy()
    legs[:, 1] = (legs[:, 1] + legs[:, 3]) / 2
    return legs


def _overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas (N, M) that boxes (N, 4) and (M, 4) have in common."""
    corners = np.maximum(first[:, None, :2], second[None, :, :2]), np.minimum(first[:, None, 2:], second[None, :, 2:])
    areas: NDArray[np.float64] = np.clip(corners[1] - corners[0], 0, None).prod(axis=2)
    return areas
