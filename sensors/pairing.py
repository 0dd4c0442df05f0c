"""Which items of two sensors belong together: by their stamps, never by their index.

Sensors start at different moments, run at different rates and lose items, so that the n-th of one says nothing of the
n-th of another. Both need one clock: the sensors of one drive have one, and so have live cameras.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pair(reference_ns: ArrayLike, other_ns: ArrayLike, tolerance_ns: int) -> NDArray[np.intp]:
    """Give the pairs (P, 2), an index into `reference_ns` and one into `other_ns`, in the order of the former's stamps.

    Both are stamps (N,) and (M,) in ns, in any order. The closest two are a pair, then the closest two of those left,
    while they are no more than `tolerance_ns` apart. So every item is in one pair at the most, and an item without a
    pair has nothing free within the tolerance; of two that are equally close the earlier one is taken. Choose a
    tolerance below half the longer period, or items pair across a lost one. Raises ValueError on a negative one.
    """
    if tolerance_ns < 0:
        raise ValueError(f"a tolerance of {tolerance_ns} ns is less than 0")
    reference, other = np.asarray(reference_ns, np.int64).ravel(), np.asarray(other_ns, np.int64).ravel()
    free, other_free = np.argsort(reference, kind="stable"), np.argsort(other, kind="stable")
    found: list[NDArray[np.intp]] = []
    while len(free) and len(other_free):
        nearest = _nearest(reference[free], other[other_free])
        nearest_back = _nearest(other[other_free], reference[free])
        # Each the other's nearest: nobody free is closer to either. Always true of the closest two of all.
        is_pair = nearest_back[nearest] == np.arange(len(free))
        is_pair &= np.abs(reference[free] - other[other_free[nearest]]) <= tolerance_ns
        if not is_pair.any():
            break
        found.append(np.stack([free[is_pair], other_free[nearest[is_pair]]], axis=1))
        other_free = np.delete(other_free, nearest[is_pair])
        free = free[~is_pair]
    pairs = np.concatenate(found) if found else np.empty((0, 2), np.intp)
    in_order: NDArray[np.intp] = pairs[np.argsort(reference[pairs[:, 0]], kind="stable")]
    return in_order


def _nearest(stamps: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.intp]:
    """For each stamp the index of the nearest among others, both ascending; the first of those equally near."""
    after = np.minimum(np.searchsorted(among, stamps), len(among) - 1)
    before = np.maximum(after - 1, 0)
    is_before_nearer = np.abs(among[before] - stamps) <= np.abs(among[after] - stamps)
    return np.searchsorted(among, among[np.where(is_before_nearer, before, after)])
