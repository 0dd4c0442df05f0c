"""All that dies with a device: its context, the plan, the slots. A restart closes one session and opens another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.letterbox import Geometry
from engines.runtime.cuda import Cuda, CudaError
from engines.runtime.engine import Completed
from engines.runtime.gpu_clock import GpuClock
from engines.runtime.gpu_slot import GpuSlot
from engines.runtime.kernels import Candidates
from engines.runtime.plan_session import LoadedPlan
from engines.runtime.staging import Staging
from sensors.frame import PixelFormat


class GpuSession:
    """Slots on one device, warm. May be used from several threads; each attaches itself for as long as a call takes."""

    def __init__(
        self,
        cuda: Cuda,
        load: Callable[[], LoadedPlan],
        ptx: Callable[[str], bytes],
        make_staging: Callable[[LoadedPlan, Callable[[str], Any]], Staging],
        roles: dict[str, str],
        slots: int,
        first: tuple[NDArray[np.uint8], Geometry],
    ) -> None:
        """Load the plan, make the slots, warm up with the image `first`. `ptx` gives a kernel's code by its name.

        Raises `CudaError`, `EngineError`; the device is let go of then.
        """
        self._cuda = cuda
        self._ptx = ptx
        self._kernels: dict[str, Any] = {}
        self._roles = roles
        # A lock a slot: who closes the session waits for who waits for a slot, and a slot is collected once.
        self._locks = [threading.Lock() for _ in range(slots)]
        self._collected: list[Completed | EngineError | CudaError | None] = [None] * slots
        self.slots: list[GpuSlot] = []
        self._plan: LoadedPlan | None = None
        with ExitStack() as undo:
            undo.callback(self.close)
            with cuda.attached():
                plan = self._plan = load()
                clock = GpuClock(cuda)
                for _ in range(slots):
                    self.slots.append(GpuSlot(cuda, plan, make_staging(plan, self._kernel), roles, clock))
                for slot in self.slots:  # ready means warm: the first inference of a context is slow
                    for rows in range(1, plan.rows + 1):
                        slot.stage(rows - 1, *first)
                        slot.submit(rows)
                        slot.collect()
                    slot.capture()
                    slot.submit(plan.rows)  # as a graph, where it became one
                    slot.collect()
            undo.pop_all()

    @property
    def is_busy(self) -> bool:
        """Whether a slot was submitted and nobody has waited for it."""
        return any(slot.in_flight for slot in self.slots)

    @property
    def output_type(self) -> np.dtype[Any]:
        """Of the network's outputs that are read."""
        assert self._plan is not None
        return next(tensor.dtype for tensor in self._plan.tensors if tensor.name in self._roles.values())

    def reduce(self, candidates: Candidates) -> None:
        """Let every slot only pick candidates out of the outputs. Nothing is in flight."""
        with self._cuda.attached():
            for slot in self.slots:
                slot.reduce(candidates, self._kernel)

    def _kernel(self, name: str) -> Any:
        """A kernel, loaded when it is first asked for."""
        if name not in self._kernels:
            self._kernels[name] = self._cuda.kernel(self._ptx(name), name)
        return self._kernels[name]

    def stage(
        self, slot: int, row: int, image: NDArray[np.uint8], place: Geometry, kind: PixelFormat = PixelFormat.BGR
    ) -> None:
        """Put one image on its way."""
        with self._cuda.attached():
            self.slots[slot].stage(row, image, place, kind)

    def submit(self, slot: int, rows: int) -> None:
        """Start the inference of a slot's first rows."""
        with self._cuda.attached():
            self._collected[slot] = None
            self.slots[slot].submit(rows)

    def wait(self, slot: int) -> Completed:
        """Block until it is done. May be called again, and while the session is being closed."""
        with self._locks[slot]:
            self._collect(slot)
        found = self._collected[slot]
        if isinstance(found, Completed):
            return found
        assert found is not None
        raise found

    def _collect(self, slot: int) -> None:
        if self._collected[slot] is not None or not self.slots[slot].in_flight:
            return
        try:
            with self._cuda.attached():
                self._collected[slot] = self.slots[slot].collect()
        except (EngineError, CudaError) as failure:
            self._collected[slot] = failure.with_traceback(None)  # its frames would keep the slot's memory
        finally:
            self.slots[slot].in_flight = False

    def close(self) -> None:
        """Finish what was submitted, then let go of everything: slots, contexts, engine, device. May be called again.

        A lost device has nothing to finish; what it refuses to let go of is gone with it.
        """
        for slot in range(len(self.slots)):
            with self._locks[slot]:
                self._collect(slot)
        with suppress(CudaError), self._cuda.attached():
            while self.slots:
                self._finish(self.slots.pop())
            self._kernels.clear()
            if self._plan is not None:
                self._plan.close()
                self._plan = None
        self._cuda.close()

    @staticmethod
    def _finish(slot: GpuSlot) -> None:
        """The last reference to it goes when this returns, with the device still attached."""
        with suppress(CudaError):
            slot.finish()
