"""NanoDet: scores and box distances apart, a pair of outputs a stride.

A box's four distances from its cell's centre are each a distribution over 0..reg_max strides (Li et al.
2020, "Generalized Focal Loss", section 3.2): softmax, then the mean. The cell's centre is at
(cell + 0.5) * stride - 0.5, as in RangiLyu/nanodet's first releases.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from engines.decoders.candidates import MAX_CANDIDATES, from_device, label, to_detections
from engines.decoders.decoder import NO_GROUPS, MisfitError, Outputs, Shapes, check_finite
from engines.decoders.grids import STRIDES, cell_corners, cell_count, grids_of
from engines.decoders.shapes import in_words, without_batch
from engines.letterbox import Fit, Geometry, Pixels
from engines.reduction import Reduction
from engines.results import Detections, Thresholds

_FOURTH_STRIDE = 64  # some have a fourth, coarser grid
_MIN_DISTANCE_COLUMNS = 8  # four sides, reg_max at least 1
# 4 * (reg_max + 1) columns for reg_max 7 (every NanoDet release) and 16 (the paper's heads). Where scores
# could be distances too (80 classes are 4 * 20), the output with a usual width holds the distances.
_USUAL_DISTANCE_COLUMNS = (32, 68)


class Nanodet:
    """Decodes `scores_S` (cells, classes), after the sigmoid, and `distances_S` (cells, 4 * (reg_max + 1))
    logits left, top, right, bottom, for each stride S of 8, 16, 32 and perhaps 64.
    """

    name: ClassVar[str] = "nanodet"
    groups = NO_GROUPS
    pixels: ClassVar[Pixels] = Pixels(
        colour="BGR", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395), fit=Fit.STRETCH
    )

    @classmethod
    def match(cls, shapes: Shapes, input_width: int, input_height: int) -> dict[str, str]:
        """Pair roles with outputs by their shapes: exporters' names are often wrong. Raises `MisfitError`."""
        strides = STRIDES if len(shapes) <= 2 * len(STRIDES) else (*STRIDES, _FOURTH_STRIDE)
        wanted = _expected(input_width, input_height, strides)
        misfit = MisfitError(f"{wanted}; found {in_words(shapes.values())}")
        plain = without_batch(shapes, wanted)
        if len(plain) != 2 * len(strides):
            raise misfit
        widths = {columns for _, columns in plain.values()}
        if len(widths) != 2:
            raise misfit
        distances = _distance_columns(widths)
        roles: dict[str, str] = {}
        for stride in strides:
            rows = cell_count(input_width, input_height, stride)
            for output, (cells, columns) in plain.items():
                if cells == rows:
                    roles[f"{'distances' if columns == distances else 'scores'}_{stride}"] = output
        if sorted(roles.values()) != sorted(plain):
            raise misfit
        return roles

    def __init__(self, shapes: Shapes, input_width: int, input_height: int) -> None:
        strides = STRIDES if len(shapes) <= 2 * len(STRIDES) else (*STRIDES, _FOURTH_STRIDE)
        wanted = _expected(input_width, input_height, strides)
        roles = {f"{kind}_{stride}" for kind in ("scores", "distances") for stride in strides}
        if set(shapes) != roles:
            named = ", ".join(sorted(shapes)) or "none"
            raise MisfitError(f"expected the roles {', '.join(sorted(roles))}; found {named}")
        plain = without_batch(shapes, wanted)
        self._class_count, width = plain["scores_8"][1], plain["distances_8"][1]
        for stride in strides:
            rows = cell_count(input_width, input_height, stride)
            pair = plain[f"scores_{stride}"], plain[f"distances_{stride}"]
            if pair != ((rows, self._class_count), (rows, width)):
                raise MisfitError(f"{wanted}; found for stride {stride} {in_words(pair)}")
        if width < _MIN_DISTANCE_COLUMNS or width % 4:
            raise MisfitError(f"{wanted}; found distances of {width} columns")
        self._steps = np.arange(width // 4, dtype=np.float32)  # what each bin stands for, in strides
        self._reduction = Reduction(
            self.name,
            tuple(f"{kind}_{stride}" for stride in strides for kind in ("scores", "distances")),
            grids_of(input_width, input_height, strides),
            self._class_count,
            MAX_CANDIDATES,
            bins=width // 4,
        )
        half = np.float32(0.5)
        self._centres = {
            stride: (cell_corners(input_width, input_height, stride) + half) * stride - half for stride in strides
        }

    @property
    def class_count(self) -> int:
        """Classes that the network tells apart."""
        return self._class_count

    @property
    def reduction(self) -> Reduction:
        """What a device may do of this."""
        return self._reduction

    def decode(self, outputs: Outputs, geometry: Geometry, thresholds: Thresholds) -> Detections:
        """Boxes in source pixels, clipped, best score first. Raises `NonFiniteOutputError`."""
        reduced = from_device(outputs, self.reduction.roles, self._class_count, geometry, thresholds)
        if reduced is not None:
            return reduced
        boxes, scores, classes = [], [], []
        for stride, centres in self._centres.items():
            scores_role, distances_role = f"scores_{stride}", f"distances_{stride}"
            table = outputs[scores_role]
            check_finite(scores_role, table)
            # Comparing the flat table and dividing the few hits takes 15 us for 1,600 x 80, a maximum along
            # the short axis 100.
            hits = np.flatnonzero(table > thresholds.lowest_score)
            hopeful = np.unique(hits // self._class_count)
            chosen, kinds, score = label(table[hopeful], thresholds)
            if not len(chosen):
                continue
            cells = hopeful[chosen]
            distances = outputs[distances_role][cells]
            check_finite(distances_role, distances)
            boxes.append(self._boxes(distances, centres[cells], stride))
            scores.append(score)
            classes.append(kinds)
        if not boxes:
            return Detections.empty()
        return to_detections(
            np.concatenate(boxes), np.concatenate(scores), np.concatenate(classes), geometry, thresholds
        )

    def _boxes(self, logits: NDArray[np.float32], centres: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
        """Boxes (N, 4) in input pixels from logits (N, 4 * (reg_max + 1)) and cell centres (N, 2)."""
        weights = logits.reshape(-1, 4, len(self._steps)).astype(np.float32)
        with np.errstate(over="ignore"):  # absurd logits differ by more than float32 holds; exp(-inf) is 0
            weights -= weights.max(axis=2, keepdims=True)
        np.exp(weights, out=weights)
        distances = (weights @ self._steps) / weights.sum(axis=2) * stride
        return np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)


def _distance_columns(widths: set[int]) -> int:
    """Which of an outputs' two widths is that of the distances. Raises `MisfitError` where both may be."""
    possible = [width for width in sorted(widths) if width >= _MIN_DISTANCE_COLUMNS and width % 4 == 0]
    usual = [width for width in possible if width in _USUAL_DISTANCE_COLUMNS]
    for choice in (usual, possible):
        if len(choice) == 1:
            return choice[0]
    found = " and ".join(str(width) for width in sorted(widths))
    raise MisfitError(
        "expected outputs of two widths, one of them the 4*(reg_max+1) box distances; found "
        f"{found} columns, which does not say which holds the scores"
    )


def _expected(input_width: int, input_height: int, strides: tuple[int, ...]) -> str:
    rows = ", ".join(str(cell_count(input_width, input_height, stride)) for stride in strides)
    return (
        f"expected {2 * len(strides)} outputs, scores [cells,classes] and distances [cells,4*(reg_max+1)] "
        f"for each of {rows} cells of a {input_width}x{input_height} input"
    )
