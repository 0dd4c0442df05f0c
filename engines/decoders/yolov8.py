"""YOLOv8 and YOLO11: one output, channels first; boxes arrive decoded, there is no objectness.

The layout is that of the exporter's files without its own suppression (`end2end` false): channels are
cx, cy, w, h in pixels of the input, then one score a class, after the sigmoid.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engines.decoders.candidates import MAX_CANDIDATES, corners, from_device, label, to_detections
from engines.decoders.decoder import NO_GROUPS, MisfitError, Outputs, Shapes, check_finite
from engines.decoders.grids import grids_of, total_cells
from engines.decoders.shapes import in_words, only_role, without_batch
from engines.letterbox import Fit, Geometry, Pixels
from engines.reduction import Reduction
from engines.results import Detections, Thresholds

_PREDICTIONS = "predictions"
_CENTRE, _SIZE, _CLASSES = slice(0, 2), slice(2, 4), 4  # channels; the classes go to the end


class Yolov8:
    """Decodes `predictions` (4 + classes, N), N cells of strides 8, 16, 32."""

    name: ClassVar[str] = "yolov8"
    groups = NO_GROUPS
    pixels: ClassVar[Pixels] = Pixels(colour="RGB", scale=1 / 255, fit=Fit.LETTERBOX_CENTRED, pad=114)

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
        channels, cells = without_batch(shapes, wanted)[_PREDICTIONS]
        if cells != total_cells(input_width, input_height) or channels <= _CLASSES:
            raise MisfitError(f"{wanted}; found {in_words(shapes.values())}")
        self._class_count = channels - _CLASSES
        self._reduction = Reduction(
            self.name, (_PREDICTIONS,), grids_of(input_width, input_height), self._class_count, MAX_CANDIDATES
        )

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
        check_finite(_PREDICTIONS, predictions[_CLASSES:])
        # The best score alone first: 11 us for 80 x 2,100, an argmax takes 70.
        hopeful = np.flatnonzero(predictions[_CLASSES:].max(axis=0) > thresholds.lowest_score)
        if not len(hopeful):
            return Detections.empty()
        rows = predictions[:, hopeful].T.astype(np.float32, copy=False)
        check_finite(_PREDICTIONS, rows)
        chosen, classes, scores = label(rows[:, _CLASSES:], thresholds)
        if not len(chosen):
            return Detections.empty()
        boxes = corners(rows[chosen, _CENTRE], rows[chosen, _SIZE])
        return to_detections(boxes, scores, classes, geometry, thresholds)


def _expected(input_width: int, input_height: int) -> str:
    cells = total_cells(input_width, input_height)
    return f"expected 1 output of [1,4+classes,{cells}] for a {input_width}x{input_height} input"
