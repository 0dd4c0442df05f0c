"""Launches of candidates.cu: a detector's raw outputs on the device -> its candidates, as its decoder finds them.

What is copied out is one block of `result_bytes`, 24 kB, whatever the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.reduction import CANDIDATE, CANDIDATES, FAULTS, Reduction
from engines.results import Thresholds
from engines.runtime.kernels.launch import Launch, blocks, packed

_FAMILIES = {"yolox": 0, "yolov8": 1, "nanodet": 2}  # enum Family
_LEVELS = 4
_WORDS = 32
_MOST = 32 * _WORDS  # candidates that one warp suppresses
_THREADS = 256
_ALIGNMENT = 256  # bytes; of every array in the work memory

# struct Found
FOUND = np.dtype([("found", "<u4"), ("faults", "<u4"), ("kept", "<u4"), ("spare", "<u4")])

# struct CandidatesArguments
CANDIDATES_ARGUMENTS = np.dtype(
    [
        ("scores", "<u8", _LEVELS),
        ("distances", "<u8", _LEVELS),
        ("limits", "<u8"),
        ("keys", "<u8"),
        ("classes_of", "<u8"),
        ("scores_of", "<u8"),
        ("ranked", "<u8"),
        ("overlaps", "<u8"),
        ("result", "<u8"),
        ("family", "<i4"),
        ("is_half", "<i4"),
        ("cells", "<i4"),
        ("classes", "<i4"),
        ("bins", "<i4"),
        ("levels", "<i4"),
        ("most", "<i4"),
        ("suppresses", "<i4"),
        ("level", [("first", "<i4"), ("columns", "<i4"), ("rows", "<i4"), ("stride", "<i4")], _LEVELS),
        ("lowest", "<f4"),
        ("nms_iou", "<f4"),
    ],
    align=True,
)


class Candidates:
    """The reduction of one network's outputs at these thresholds. Made once; launched once an inference.

    `dtype` is the outputs' type, float32 or float16. The thresholds may be lower than those that the decoder is
    given later, except for `nms_iou`: suppressing at another overlap leaves other boxes. None leaves it to the
    decoder. Raises `ValueError` for what the device does not do: several classes a box, negative thresholds.
    """

    def __init__(self, reduction: Reduction, thresholds: Thresholds, dtype: Any = np.float32) -> None:
        if thresholds.every_label:
            raise ValueError("a device finds a box's best class only")
        if thresholds.lowest_score < 0:
            raise ValueError(f"a threshold of {thresholds.lowest_score} is negative")
        if reduction.family not in _FAMILIES:
            raise ValueError(f"no kernel reads outputs of {reduction.family}; use one of {', '.join(_FAMILIES)}")
        if reduction.most > _MOST or len(reduction.grids) > _LEVELS:
            raise ValueError(f"{reduction.most} candidates of {len(reduction.grids)} grids are too many")
        if np.dtype(dtype) not in (np.float32, np.float16):
            raise ValueError(f"outputs of {np.dtype(dtype)} are read by no kernel")
        self.limits = thresholds.per_class(reduction.class_count)  # to be copied into device memory once
        self.result_bytes = FOUND.itemsize + reduction.most * CANDIDATE.itemsize
        self._reduction = reduction
        sizes = {
            "keys": 8 * reduction.cells,
            "classes_of": 4 * reduction.cells,
            "scores_of": 4 * reduction.cells,
            "overlaps": 4 * _WORDS * reduction.most,
            "ranked": CANDIDATE.itemsize * reduction.most,
        }
        self._offsets: dict[str, int] = {}
        self.work_bytes = 0
        for name, size in sizes.items():
            self._offsets[name] = -(-self.work_bytes // _ALIGNMENT) * _ALIGNMENT
            self.work_bytes = self._offsets[name] + size
        levels = np.zeros(_LEVELS, CANDIDATES_ARGUMENTS["level"].base)
        first = 0
        for level, grid in zip(levels, reduction.grids, strict=False):
            level["first"], level["columns"], level["rows"], level["stride"] = (
                first,
                grid.columns,
                grid.rows,
                grid.stride,
            )
            first += grid.cells
        self._same = {
            "family": _FAMILIES[reduction.family],
            "is_half": np.dtype(dtype) == np.float16,
            "cells": reduction.cells,
            "classes": reduction.class_count,
            "bins": reduction.bins,
            "levels": len(reduction.grids),
            "most": reduction.most,
            "suppresses": thresholds.nms_iou is not None,
            "level": levels,
            "lowest": thresholds.lowest_score,
            "nms_iou": thresholds.nms_iou or 0,
        }

    def launches(self, outputs: Mapping[str, int], limits: int, work: int, result: int) -> tuple[Launch, ...]:
        """The kernels, to be launched in this order on one stream, after the inference.

        Addresses: of one image's `outputs` by role; of `limits`; of `work_bytes` bytes that nothing else uses
        meanwhile and that may hold anything; of the result. Work and result lie on a multiple of 16 bytes at least.
        """
        tables = [outputs[role] for role in self._reduction.roles]
        is_paired = self._reduction.bins > 0  # scores and distances, level by level
        scores, distances = (tables[::2], tables[1::2]) if is_paired else (tables, [])
        arguments = packed(
            CANDIDATES_ARGUMENTS,
            scores=_filled(scores),
            distances=_filled(distances),
            limits=limits,
            result=result,
            **{name: work + offset for name, offset in self._offsets.items()},
            **self._same,
        )
        cells, most = self._reduction.cells, self._reduction.most
        one_each = (blocks(cells, _THREADS), 1), (_THREADS, 1, 1)
        launches = [
            Launch("candidates_reset", arguments, (1, 1), (1, 1, 1)),
            Launch("candidates_find", arguments, *one_each),
            Launch("candidates_rank", arguments, *one_each),
        ]
        if self._same["suppresses"]:
            launches.append(Launch("candidates_overlap", arguments, (blocks(most, 8), 1), (_WORDS, 8, 1)))
        return (*launches, Launch("candidates_keep", arguments, (1, 1), (_WORDS, 1, 1)))

    def read(self, result: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """What a decoder takes in place of the raw outputs: views of the copied-out `result`."""
        head = result[: FOUND.itemsize].view(FOUND)
        candidates = result[FOUND.itemsize : self.result_bytes].view(CANDIDATE)
        return {CANDIDATES: candidates[: int(head["kept"][0])], FAULTS: head["faults"]}


def _filled(addresses: list[int]) -> list[int]:
    return addresses + [0] * (_LEVELS - len(addresses))
