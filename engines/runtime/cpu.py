"""What engines on the CPU have in common: each slot's input memory, staging with OpenCV, the inference thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.letterbox import Geometry, Preprocessor
from engines.reduction import Reduction
from engines.results import Thresholds
from engines.runtime.engine import Completed
from engines.runtime.inference_thread import InferenceThread
from sensors.frame import PixelFormat


class CpuEngine:
    """The Engine contract but for the inference itself.

    A subclass loads the bundle, binds `inputs` (a slot each, (rows, 3, H, W) or (rows, H, W, 3) float32) and its
    outputs' memory to it for each number of rows, and calls `start`.
    """

    name = ""
    device = "cpu"
    notes: tuple[str, ...] = ()
    reads_nv12 = False

    def __init__(self, bundle: Bundle, slots: int) -> None:
        self.slots = slots
        settings = bundle.settings
        self.max_rows = settings.input.batch
        self._preprocessor = Preprocessor(settings.pixels, settings.input.width, settings.input.height)
        self._nhwc = settings.input.layout == "NHWC"
        planes = (3, settings.input.height, settings.input.width)
        shape = (planes[1], planes[2], 3) if self._nhwc else planes
        self.inputs = [np.zeros((self.max_rows, *shape), np.float32) for _ in range(slots)]
        # Of the image that a row of a slot's input holds.
        self._places: list[list[Geometry | None]] = [[None] * self.max_rows for _ in range(slots)]

    def start(self, outputs: Sequence[Mapping[str, NDArray[Any]]], infer: Callable[[int, int], None]) -> None:
        """Begin to run, and warm up. `outputs`: each slot's memory by role; `infer` runs rows of a slot, or raises."""
        self._completed_rows = [rows_of(of_slot, self.max_rows) for of_slot in outputs]
        self._submitted = [0] * self.slots  # rows
        self._thread = InferenceThread(infer, self.slots)
        try:
            for slot in range(self.slots):  # ready means warm: the first run at a shape allocates and is slow
                for rows in range(self.max_rows if slot else 1, self.max_rows + 1):  # slots share what is made for one
                    self.submit(slot, rows)
                    self.wait(slot)
        except BaseException:
            self.close()
            raise

    def place(self, width: int, height: int) -> Geometry:
        """Where an image of this size will lie in the input."""
        return self._preprocessor.geometry(width, height)

    def reduce(self, reduction: Reduction, thresholds: Thresholds) -> bool:  # noqa: ARG002
        """No: what has to be copied nowhere is decoded as it is."""
        return False

    def stage(
        self,
        slot: int,
        row: int,
        image: NDArray[np.uint8],
        geometry: Geometry,
        kind: PixelFormat = PixelFormat.BGR,
    ) -> None:
        """Write the image into the slot's input."""
        target = self.inputs[slot][row]
        is_padded = self._places[slot][row] == geometry
        self._places[slot][row] = None  # until the image is there
        self._preprocessor.write(
            image, geometry, target.transpose(2, 0, 1) if self._nhwc else target, kind, is_padded=is_padded
        )
        self._places[slot][row] = geometry

    def submit(self, slot: int, rows: int) -> None:
        """Hand the slot to the inference thread."""
        self._submitted[slot] = rows
        self._thread.submit(slot, rows)

    def wait(self, slot: int) -> Completed:
        """Block until the slot's inference is done."""
        started_ns, inferred_ns = self._thread.wait(slot)
        return Completed(self._completed_rows[slot][: self._submitted[slot]], started_ns, inferred_ns)

    def close(self) -> None:
        """Finish what was submitted."""
        self._thread.close()

    def __enter__(self) -> CpuEngine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def rows_of(outputs: Mapping[str, NDArray[Any]], rows: int) -> tuple[dict[str, NDArray[Any]], ...]:
    """Each image's outputs by role: views, without the batch axis; of one image there may be none."""
    if rows == 1:
        return (
            {role: memory[0] if memory.ndim and memory.shape[0] == 1 else memory for role, memory in outputs.items()},
        )
    return tuple({role: memory[row] for role, memory in outputs.items()} for row in range(rows))
