"""An engine that sleeps instead of inferring: what is left of a replay's time is the pipeline's own.

Its outputs are copied from a real inference on a real picture, so that decoding, suppression, tracking and messages are
real work.
"""

from __future__ import annotations

import time

import numpy as np
import setting
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.letterbox import Geometry
from engines.reduction import Reduction
from engines.results import Thresholds
from engines.runtime.engine import Completed
from engines.runtime.inference_thread import InferenceThread
from engines.runtime.onnxruntime import OnnxRuntimeEngine
from sensors.frame import PixelFormat

INFERENCE_S = 0.008


class StandInEngine:
    """One bundle's inputs and outputs around a sleep."""

    name = "stand-in"
    device = "cpu"
    max_rows = 1
    notes: tuple[str, ...] = ()
    reads_nv12 = False

    def __init__(self, bundle: Bundle, slots: int = 2, threads: int = 1, *, inference_s: float = INFERENCE_S) -> None:
        self.slots = slots
        self._real = OnnxRuntimeEngine(bundle, slots, threads)
        image = setting.first_image()
        self._real.stage(0, 0, image, self._real.place(image.shape[1], image.shape[0]))
        self._real.submit(0, 1)
        found = self._real.wait(0).rows[0]
        self._rows = [({role: values.copy() for role, values in found.items()},) for _ in range(slots)]
        self._thread = InferenceThread(lambda _slot, _rows: time.sleep(inference_s), slots)

    def place(self, width: int, height: int) -> Geometry:
        return self._real.place(width, height)

    def reduce(self, reduction: Reduction, thresholds: Thresholds) -> bool:
        return False

    def stage(
        self, slot: int, row: int, image: NDArray[np.uint8], geometry: Geometry, kind: PixelFormat = PixelFormat.BGR
    ) -> None:
        self._real.stage(slot, row, image, geometry, kind)

    def submit(self, slot: int, rows: int) -> None:
        self._thread.submit(slot, rows)

    def wait(self, slot: int) -> Completed:
        return Completed(self._rows[slot], *self._thread.wait(slot))

    def close(self) -> None:
        self._thread.close()
        self._real.close()

    def __enter__(self) -> StandInEngine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
