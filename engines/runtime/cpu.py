"""What engines on the CPU have in common: each slot's input memory, staging with OpenCV, the inference thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import BundleError
from engines.letterbox import Geometry, Preprocessor
from engines.reduction import Reduction
from engines.results import Thresholds
from engines.runtime.engine import Completed
from engines.runtime.inference_thread import InferenceThread


class CpuEngine:
    """The Engine contract but for the inference itself.

    A subclass loads the bundle, binds `inputs` (a slot each, (1, 3, H, W) or (1, H, W, 3) float32) and its outputs'
    memory to it, and calls `start`.
    """

    name = ""
    device = "cpu"
    max_rows = 1
    notes: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, slots: int) -> None:
        self.slots = slots
        settings = bundle.settings
        self._preprocessor = Preprocessor(settings.pixels, settings.input.width, settings.input.height)
        self._nhwc = settings.input.layout == "NHWC"
        planes = (3, settings.input.height, settings.input.width)
        shape = (planes[1], planes[2], 3) if self._nhwc else planes
        self.inputs = [np.zeros((1, *shape), np.float32) for _ in range(slots)]
        self._places: list[Geometry | None] = [None] * slots  # of the image that a slot's input holds

    def start(self, outputs: Sequence[Mapping[str, NDArray[Any]]], infer: Callable[[int], None]) -> None:
        """Begin to run, and warm up. `outputs`: each slot's memory by role; `infer` runs one slot, or raises."""
        self._completed_rows = [(without_batch(of_slot),) for of_slot in outputs]
        self._thread = InferenceThread(lambda slot, _rows: infer(slot), self.slots)
        try:
            for slot in range(self.slots):  # ready means warm: the first run of a session allocates and is slow
                self.submit(slot, 1)
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

    def stage(self, slot: int, row: int, image: NDArray[np.uint8], geometry: Geometry) -> None:
        """Write the image into the slot's input."""
        target = self.inputs[slot][row]
        is_padded = self._places[slot] == geometry
        self._places[slot] = None  # until the image is there
        self._preprocessor.write(
            image, geometry, target.transpose(2, 0, 1) if self._nhwc else target, is_padded=is_padded
        )
        self._places[slot] = geometry

    def submit(self, slot: int, rows: int) -> None:
        """Hand the slot to the inference thread."""
        self._thread.submit(slot, rows)

    def wait(self, slot: int) -> Completed:
        """Block until the slot's inference is done."""
        started_ns, inferred_ns = self._thread.wait(slot)
        return Completed(self._completed_rows[slot], started_ns, inferred_ns)

    def close(self) -> None:
        """Finish what was submitted."""
        self._thread.close()

    def __enter__(self) -> CpuEngine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def without_batch(outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The outputs of one image by role, without a batch axis of 1."""
    return {role: memory[0] if memory.ndim and memory.shape[0] == 1 else memory for role, memory in outputs.items()}


def check_outputs(bundle: Bundle, found: Sequence[str]) -> None:
    """Raise `BundleError` where a role's output is not among those that the network has."""
    missing = sorted(set(bundle.settings.outputs.values()) - set(found))
    if missing:
        raise BundleError(
            str(bundle.folder / "bundle.toml"),
            f"outputs: {bundle.model.name} has no output {missing[0]!r}",
            "it has " + ", ".join(found),
        )
