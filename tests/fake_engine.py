"""An engine without a runtime: a thread a slot, so that slots end in any order, and no patience with its caller.

It answers as `tiny_networks` do. Where a caller breaks a slot's life (stage, submit, wait, and only then stage
again) it raises AssertionError and remembers it; what was read from a slot is overwritten once it is staged again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tiny_networks
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.decoders.grids import total_cells
from engines.errors import EngineError
from engines.letterbox import Geometry, Preprocessor
from engines.reduction import Reduction
from engines.results import Thresholds
from engines.runtime import Completed
from sensors.frame import PixelFormat

ROLE = "predictions"


def slot_0_last(slot: int) -> float:
    return 0.02 if slot == 0 else 0.0


class FakeEngine:
    """`delay_s(slot)` is how long an inference takes; `judge(tensor)` may raise, or give the answer itself."""

    name = "fake"
    device = "test"
    notes: tuple[str, ...] = ()
    reads_nv12 = False

    def __init__(
        self,
        bundle: Bundle,
        slots: int = 2,
        threads: int = 1,
        *,
        delay_s: Callable[[int], float] = slot_0_last,
        judge: Callable[[NDArray[np.float32]], NDArray[np.float32] | None] = lambda tensor: None,
    ) -> None:
        self.slots = slots
        self.closed = 0
        self.broken_rules: list[str] = []  # what a caller did that no engine allows
        shape = bundle.settings.input
        self.max_rows = rows = shape.batch
        self._cells = total_cells(shape.width, shape.height)
        self._preprocessor = Preprocessor(bundle.settings.pixels, shape.width, shape.height)
        self._inputs = [np.zeros((rows, 3, shape.height, shape.width), np.float32) for _ in range(slots)]
        self._outputs = [np.zeros((rows, 4 + len(tiny_networks.LABELS), self._cells), np.float32) for _ in range(slots)]
        self._submitted = [0] * slots
        self._running: list[Future[tuple[int, int]] | None] = [None] * slots
        self._pools = [ThreadPoolExecutor(1, f"fake-{slot}") for slot in range(slots)]
        self._lock = threading.Lock()
        self._delay_s = delay_s
        self._judge = judge

    def place(self, width: int, height: int) -> Geometry:
        return self._preprocessor.geometry(width, height)

    def reduce(self, reduction: Reduction, thresholds: Thresholds) -> bool:
        return False

    def stage(
        self, slot: int, row: int, image: NDArray[np.uint8], geometry: Geometry, kind: PixelFormat = PixelFormat.BGR
    ) -> None:
        self._demand(row < self.max_rows, f"row {row} was staged")
        self._demand(self._running[slot] is None, f"slot {slot} was staged while it was in flight")
        self._outputs[slot].fill(np.nan)
        self._preprocessor.write(image, geometry, self._inputs[slot][row], kind)

    def submit(self, slot: int, rows: int) -> None:
        self._demand(1 <= rows <= self.max_rows, f"{rows} rows were submitted")
        self._demand(self._running[slot] is None, f"slot {slot} was submitted twice")
        self._demand(not self.closed, f"slot {slot} was submitted to a closed engine")
        self._submitted[slot] = rows
        self._running[slot] = self._pools[slot].submit(self._infer, slot, rows)

    def wait(self, slot: int) -> Completed:
        running = self._running[slot]
        self._demand(running is not None, f"slot {slot} was waited for and not submitted")
        assert running is not None
        try:
            started_ns, inferred_ns = running.result()
        finally:
            self._running[slot] = None
        rows = tuple({ROLE: self._outputs[slot][row]} for row in range(self._submitted[slot]))
        return Completed(rows, started_ns, inferred_ns)

    def close(self) -> None:
        with self._lock:
            self.closed += 1
        for pool in self._pools:
            pool.shutdown(wait=True)

    def _demand(self, kept: bool, broken_rule: str) -> None:
        if not kept:
            self.broken_rules.append(broken_rule)
            raise AssertionError(broken_rule)

    def _infer(self, slot: int, rows: int) -> tuple[int, int]:
        started_ns = time.monotonic_ns()
        time.sleep(self._delay_s(slot))
        for row in range(rows):
            tensor = self._inputs[slot][row]
            judged = self._judge(tensor)
            np.copyto(self._outputs[slot][row], tiny_networks.answer(tensor, self._cells) if judged is None else judged)
        return started_ns, time.monotonic_ns()

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def fail_on_white(tensor: NDArray[np.float32]) -> None:
    """A `judge`: what a network with `on_white="fails"` does."""
    if tensor[0].mean() > tiny_networks.WHITE:
        raise EngineError("fake", "inference failed (a white image)", "show it another one")


def nan_on_white(tensor: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """A `judge`: what a network with `on_white="nan"` does."""
    if tensor[0].mean() <= tiny_networks.WHITE:
        return None
    return np.full((4 + len(tiny_networks.LABELS), total_cells(*tensor.shape[:0:-1])), np.nan, np.float32)
