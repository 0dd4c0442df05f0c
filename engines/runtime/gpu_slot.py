"""One frame's way over the GPU: what is put on a slot's stream, in which order, and what the host waits for.

    stage     wait until the row's last copy is done -> image into page-locked memory -> copy in -> letterbox
    submit    inference -> candidates picked out, if asked for -> copy out -> the event `done`; returns at once
    collect   wait for `done`; only then are the outputs read, and only then may the slot be staged again

Everything of a slot is on the slot's own stream, so that its steps follow one another and the slots overlap. The host
waits in `collect` alone: when `stage` is called in its turn, what it waits for is long done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.letterbox import Geometry
from engines.runtime.cpu import rows_of
from engines.runtime.cuda import Buffer, Cuda, CudaError
from engines.runtime.engine import Completed, GpuTimes
from engines.runtime.gpu_clock import GpuClock
from engines.runtime.kernels import Candidates
from engines.runtime.plan_session import LoadedPlan
from engines.runtime.reducing import Reducing
from engines.runtime.staging import Staging
from sensors.frame import PixelFormat

_REMEDY = "build the plan again, here, with `perception engine build`"


@dataclass(frozen=True, slots=True)
class _Staged:
    """Events of one row on its way in."""

    begun: Any
    copied: Any
    there: Any


class GpuSlot:
    """Stream, execution context, memory and events of one place in flight, all made here. One thread at a time.

    Called in threads that are attached to the device. Raises `CudaError` where the device fails.
    """

    def __init__(
        self, cuda: Cuda, plan: LoadedPlan, staging: Staging, roles: Mapping[str, str], clock: GpuClock
    ) -> None:
        self._cuda = cuda
        self._plan = plan
        self._staging = staging
        self._clock = clock
        self._roles = dict(roles)
        self._stream = cuda.new_stream()
        # A graph is good only while its context keeps its shape: fewer rows have a context of their own, and no graph.
        self._context = plan.new_context()
        self._of_fewer = plan.new_context() if plan.rows > 1 else self._context
        self._rows_in = [_Staged(*(cuda.new_event() for _ in range(3))) for _ in range(plan.rows)]
        self._started, self._computed, self._reduced, self._done = (cuda.new_event() for _ in range(4))
        self._reducing: list[Reducing] = []  # one a row
        self._graph: Any = None  # of all rows
        self._fewer_set = plan.rows  # what the context of fewer takes
        self._rows_submitted = 0
        self._staged: list[int] = []  # rows whose images are on their way, or there; the latest last
        self.in_flight = False  # submitted, and not collected yet
        self._refusal = ""  # why the inference did not even start
        self._submitted_ns = self._enqueued_ns = 0
        self._outputs: dict[str, Buffer] = {}
        self._row_sizes: dict[str, int] = {}
        unread = []
        for tensor in plan.tensors:
            if tensor.is_input:
                address = staging.address
            elif tensor.name in roles.values():
                buffer = self._outputs[tensor.name] = Buffer(cuda, tensor.size)
                self._row_sizes[tensor.name] = tensor.size // plan.rows
                address = buffer.address
            else:  # TensorRT wants a place for it all the same
                unread.append(cuda.device_memory(tensor.size))
                address = unread[-1].address
            for context in {id(one): one for one in (self._context, self._of_fewer)}.values():
                if not context.set_tensor_address(tensor.name, address):
                    raise EngineError("TensorRT", f"takes no address for {tensor.name} ({plan.last_words()})", _REMEDY)
        self._unread = unread
        found: dict[str, NDArray[Any]] = {}
        self._widened: list[tuple[NDArray[Any], NDArray[Any]]] = []
        for role, name in roles.items():
            tensor = next(tensor for tensor in plan.tensors if tensor.name == name)
            view = self._outputs[name].host.array[: tensor.size].view(tensor.dtype).reshape(tensor.shape)
            if tensor.dtype == np.float16:  # decoders compute in float32
                wide = np.zeros(tensor.shape, np.float32)
                self._widened.append((wide, view))
                view = wide
            found[role] = view
        self._rows = rows_of(found, plan.rows)

    def stage(self, row: int, image: NDArray[np.uint8], place: Geometry, kind: PixelFormat = PixelFormat.BGR) -> None:
        """Put one image on its way into the network's input. It may be released when this returns."""
        events = self._rows_in[row]
        if row in self._staged:  # a frame that was given up: its copy may still read the memory written next
            self._cuda.synchronize(events.there)
            self._staged.remove(row)
        self._staged.append(row)
        self._cuda.record(events.begun, self._stream)
        try:
            self._staging.write(row, image, place, kind, self._stream, events.copied)
        finally:  # also behind the half of it
            self._cuda.record(events.there, self._stream)

    def submit(self, rows: int) -> None:
        """Start the inference of the first `rows` rows. Returns at once; where TensorRT refuses, `collect` says so."""
        self._rows_submitted = rows
        self._submitted_ns = time.monotonic_ns()
        self._cuda.record(self._started, self._stream)
        if rows < self._plan.rows:
            is_enqueued = self._takes(rows) and bool(self._of_fewer.execute_async_v3(self._stream.handle))
        elif self._graph is not None:
            self._cuda.launch_graph(self._graph, self._stream)
            is_enqueued = True
        else:
            is_enqueued = bool(self._context.execute_async_v3(self._stream.handle))
        self._enqueued_ns = time.monotonic_ns()
        self._refusal = "" if is_enqueued else self._plan.last_words()
        self._cuda.record(self._computed, self._stream)
        for reducing in self._reducing[:rows]:
            reducing.launch(self._stream)
        self._cuda.record(self._reduced, self._stream)
        for reducing in self._reducing[:rows]:
            reducing.copy_out(self._stream)
        for name, output in () if self._reducing else self._outputs.items():
            output.copy_out(rows * self._row_sizes[name], self._stream)
        self._cuda.record(self._done, self._stream)
        self.in_flight = True

    def collect(self) -> Completed:
        """Block until the slot is done. Raises `EngineError` where its inference was refused."""
        self._cuda.synchronize(self._done)
        self.in_flight = False
        rows = self._rows_submitted
        staged = [self._rows_in[row] for row in self._staged if row < rows]
        self._staged.clear()
        self._staging.settled()
        if self._refusal:
            raise EngineError("TensorRT", f"inference failed ({self._refusal})", _REMEDY)
        if not self._reducing:
            for wide, half in self._widened:
                np.copyto(wide, half)
        now_ns = time.monotonic_ns()
        started_ns = min(max(self._clock.host_ns(self._started), self._submitted_ns), now_ns)
        inferred_ns = min(max(self._clock.host_ns(self._done), started_ns), now_ns)
        between = self._cuda.elapsed_ms
        times = GpuTimes(
            copy_in_ms=sum(between(row.begun, row.copied) for row in staged),
            preprocess_ms=sum(between(row.copied, row.there) for row in staged),
            compute_ms=between(self._started, self._computed),
            reduce_ms=between(self._computed, self._reduced),
            copy_out_ms=between(self._reduced, self._done),
            enqueue_ms=(self._enqueued_ns - self._submitted_ns) / 1e6,
        )
        found = tuple(reducing.found() for reducing in self._reducing[:rows]) or self._rows[:rows]
        return Completed(found, started_ns, inferred_ns, times)

    def reduce(self, candidates: Candidates, kernels: Callable[[str], Any]) -> None:
        """From now on only pick candidates out of the outputs. Nothing is in flight."""
        self._reducing.clear()
        for row in range(len(self._rows)):
            outputs = {
                role: self._outputs[name].address + row * self._row_sizes[name] for role, name in self._roles.items()
            }
            self._reducing.append(Reducing(self._cuda, kernels, candidates, outputs, self._stream))
        self._cuda.record(self._done, self._stream)  # behind the copy of what it compares with
        self._cuda.synchronize(self._done)

    def capture(self) -> None:
        """Make a graph of the inference of all rows, where that can be had; else it may be done once more.

        They were inferred once before, and nothing is in flight.
        """
        is_enqueued = False
        captured = self._cuda.captured(self._stream)
        with suppress(CudaError), captured as graphs:  # refused where a network waits within itself
            is_enqueued = bool(self._context.execute_async_v3(self._stream.handle))
        if is_enqueued and graphs:
            self._graph = graphs[0]

    def finish(self) -> None:
        """Block until the device has nothing to do for images that were staged and given up. Nothing is in flight."""
        if self._staged:
            self._cuda.synchronize(self._rows_in[self._staged[-1]].there)

    def _takes(self, rows: int) -> bool:
        """Whether the context of fewer takes so many rows; from now on it does."""
        if rows != self._fewer_set:
            if not self._plan.set_rows(self._of_fewer, rows):
                return False
            self._fewer_set = rows
        return True
