"""YOLOX: one output of rows x, y, w, h, objectness, classes; anchor-free, raw boxes.

Ge et al. 2021, "YOLOX: Exceeding YOLO Series in 2021", and the decoding of the Megvii release's exported
networks (`--decode_in_inference` off): centre = (xy + cell) * stride, size = exp(wh) * stride.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engines.decoders.candidates import MAX_CANDIDATES, corners, from_device, label, to_detections
from engines.decoders.decoder import NO_GROUPS, MisfitError, Outputs, Shapes, check_finite
from engines.decoders.grids import STRIDES, cell_corners, grids_of, total_cells
from engines.decoders.shapes import in_words, only_role, without_batch
from engines.letterbox import Fit, Geometry, Pixels
from engines.reduction import Reduction
from engines.results import Detections, Thresholds

_PREDICTIONS = "predictions"
_BOX, _OBJECTNESS, _CLASSES = slice(0, 4), 4, 5  # columns; the classes go to the end

# exp(10) is 22,026 strides, wider than any input; exp(89) would already be infinite in float32.
_MAX_LOG_SIZE = 10.0
_MAX_OFFSET = 10_000.0  # strides between a cell and its box's centre; more than any input has


class Yolox:
    """Decodes `predictions` (N, 5 + classes), N cells of strides 8, 16, 32; the 1 + classes scores are
    after the sigmoid. A box's score is objectness * class score.
    """

    name: ClassVar[str] = "yolox"
    groups = NO_GROUPS
    pixels: ClassVar[Pixels] = Pixels(colour="BGR", fit=Fit.LETTERBOX_TOP_LEFT, pad=114)

    @classmethod
    def match(cls, shapes: Shapes, input_width: int, input_height: int) -> dict[str, str]:
        """Pair the role with the network's output. Raises `MisfitError`."""
        if len(shapes) != 1:
            wanted = _expected(input_width, input_height)
            raise MisfitError(f"{wanted}; found {in_words(shapes.values())}")
        (output,) = shapes
        cls({_PREDICTIONS: shapes[output]}, input_width, input_height)
        return {_PREDICTIONS: output}

    def __init__(self, shapes: Shapes, input_width: int, input_height: int) -> None:
        only_role(shapes, _PREDICTIONS)
        wanted = _expected(input_width, input_height)
        rows, columns = without_batch(shapes, wanted)[_PREDICTIONS]
        if rows != total_cells(input_width, input_height) or columns <= _CLASSES:
            raise MisfitError(f"{wanted}; found {in_words(shapes.values())}")
        self._class_count = columns - _CLASSES
        self._reduction = Reduction(
            self.name, (_PREDICTIONS,), grids_of(input_width, input_height), self._class_count, MAX_CANDIDATES
        )
        grids = [cell_corners(input_width, input_height, stride) for stride in STRIDES]
        self._cells = np.concatenate(grids)  # (N, 2) column, row
        self._strides = np.repeat(np.array(STRIDES, np.float32), [len(grid) for grid in grids])[:, None]

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
        predictions = outputs[_PREDICTIONS]
        objectness = predictions[:, _OBJECTNESS].copy()  # a column: in one piece it is looked at once
        check_finite(_PREDICTIONS, objectness)
        # A class score is at most 1, so objectness bounds the score, and most rows go without
        # a look at their classes.
        hopeful = np.flatnonzero(objectness > thresholds.lowest_score)
        if not len(hopeful):
            return Detections.empty()
        rows = predictions[hopeful].astype(np.float32, copy=False)
        check_finite(_PREDICTIONS, rows)
        # Objectness at most 1, or the product might overflow.
        chosen, classes, scores = label(rows[:, _CLASSES:], thresholds, np.minimum(rows[:, _OBJECTNESS], 1))
        if not len(chosen):
            return Detections.empty()
        raw, cells = rows[chosen, _BOX], hopeful[chosen]
        strides = self._strides[cells]
        centres = (np.clip(raw[:, :2], -_MAX_OFFSET, _MAX_OFFSET) + self._cells[cells]) * strides
        sizes = np.exp(np.minimum(raw[:, 2:], _MAX_LOG_SIZE)) * strides
        boxes = corners(centres, sizes)
        return to_detections(boxes, scores, classes, geometry, thresholds)


def _expected(input_width: int, input_height: int) -> str:
    rows = total_cells(input_width, input_height)
    return f"expected 1 output of [1,{rows},5+classes] for a {input_width}x{input_height} input"
