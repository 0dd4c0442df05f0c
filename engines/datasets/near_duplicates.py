"""Pictures that show nearly the same: by a difference hash, which survives scaling, recompression and changes of light.

The hash (64 bits): the picture is averaged down to 9x8 grey cells, and each bit says whether a cell is darker than its
right neighbour. Two frames of a standing vehicle are a bit or two apart, other pictures about 32. Pictures of one thing
before a bare wall may agree by chance, so pairs are confirmed by the correlation of a small grey picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MOST_BITS = 5  # of 64: pairs further apart were different scenes on every set that was looked at
_BARS = ((0, 20), (108, 120))  # grey levels of the bars of a letterbox: black, and the 114 of detectors' training sets
_CELLS = 9  # along the longer side of the hash
_SMALL = 16
_LEAST_CORRELATION = 0.9
_BITS_SET = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)  # NumPy 1 does not count bits
_BANDS = MOST_BITS + 1  # of hashes at most 5 bits apart, one of six parts is equal


@dataclass(frozen=True, slots=True)
class PictureHash:
    """A picture's difference hash, that of its mirror image, and what confirms it."""

    bits: int
    mirrored: int
    small: NDArray[np.float32]  # (16, 16) grey, of mean 0 and length 1


def picture_hash(image: NDArray[np.uint8]) -> PictureHash:
    """The hash of a BGR picture, without the bars of its letterbox."""
    grey = _without_bars(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8))
    cells = cv2.resize(grey, (_CELLS, _CELLS - 1), interpolation=cv2.INTER_AREA)
    small = np.asarray(cv2.resize(grey, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA), np.float32)
    small -= small.mean()
    small /= max(1e-6, float(np.linalg.norm(small)))
    return PictureHash(_bits(cells), _bits(cells[:, ::-1]), small)


def _bits(cells: NDArray[Any]) -> int:
    return int.from_bytes(np.packbits(cells[:, :-1] < cells[:, 1:]).tobytes(), "big")


def _without_bars(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    for low, high in _BARS:
        inside = (grey < low) | (grey > high)
        for axis in (0, 1):
            # A few pixels of noise do not make a bar a picture.
            used = np.flatnonzero(inside.mean(axis=1 - axis) > 0.02)
            if len(used) and _CELLS <= used[-1] - used[0] + 1 < grey.shape[axis]:
                rows = slice(int(used[0]), int(used[-1]) + 1)
                grey = grey[rows] if axis == 0 else grey[:, rows]
                inside = inside[rows] if axis == 0 else inside[:, rows]
    return grey


def near_duplicates(hashes: list[PictureHash], most_bits: int = MOST_BITS) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, at most `most_bits` (up to 5) of 64 bits apart and much alike in grey, mirrored or not."""
    plain = np.array([entry.bits for entry in hashes], np.uint64)
    both = np.concatenate([plain, np.array([entry.mirrored for entry in hashes], np.uint64)])
    pairs: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        first = band * 64 // _BANDS
        width = (band + 1) * 64 // _BANDS - first
        keys = (both >> np.uint64(first)) & np.uint64((1 << width) - 1)
        order = np.argsort(keys, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            if len(group) > 1:
                pairs |= _near_in(group, plain, both, most_bits)
    return [(i, j) for i, j in sorted(pairs) if _is_alike(hashes[i].small, hashes[j].small)]


def are_near(first: PictureHash, second: PictureHash, most_bits: int = MOST_BITS) -> bool:
    """Whether two pictures are a pair to `near_duplicates`."""
    ways = (first.bits, second.bits), (first.bits, second.mirrored), (first.mirrored, second.bits)
    apart = min((one ^ other).bit_count() for one, other in ways)
    return apart <= most_bits and _is_alike(first.small, second.small)


def _is_alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    return max(float((first * second).sum()), float((first * second[:, ::-1]).sum())) >= _LEAST_CORRELATION


def _near_in(
    group: NDArray[np.intp], plain: NDArray[np.uint64], both: NDArray[np.uint64], most_bits: int
) -> set[tuple[int, int]]:
    """The near pairs among some rows of `both`; one of a pair is a picture as it is."""
    count = len(plain)
    found = set()
    for row in group[group < count].tolist():
        apart = _BITS_SET[(both[group] ^ plain[row]).view(np.uint8).reshape(-1, 8)].sum(axis=1)
        for other in (group[apart <= most_bits] % count).tolist():
            if other != row:
                found.add((min(row, other), max(row, other)))
    return found
