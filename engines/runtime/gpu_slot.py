"""One frame's way over the GPU: what is put on a slot's stream, in which order, and what the host waits for.

    stage     wait until the last image's copy is done -> image into page-locked memory -> copy in -> letterbox
    submit    inference -> candidates picked out, if asked for -> copy out -> the event `done`; returns at once
    collect   wait for `done`; only then are the outputs read, and only then may the slot be staged again

Everything of a slot is on the slot's own stream, so that its steps follow one another and the slots overlap. The host
waits in `collect` alone: when `stage` is called in its turn, what it waits for is long done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.letterbox import Geometry
from engines.runtime.cpu import without_batch
from engines.runtime.cuda import Buffer, Cuda, CudaError
from engines.runtime.engine import Completed, GpuTimes
from engines.runtime.gpu_clock import GpuClock
from engines.runtime.kernels import Candidates
from engines.runtime.plan_session import LoadedPlan
from engines.runtime.reducing import Reducing
from engines.runtime.staging import Staging

_REMEDY = "build the plan again, here, with `perception engine build`"


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
        self._context = plan.new_context()
        self._begun, self._copied, self._staged = (cuda.new_event() for _ in range(3))
        self._started, self._computed, self._reduced, self._done = (cuda.new_event() for _ in range(4))
        self._reducing: Reducing | None = None
        self._graph: Any = None
        self._is_staged = False  # an image is on its way, or there
        self.in_flight = False  # submitted, and not collected yet
        self._refusal = ""  # why the inference did not even start
        self._submitted_ns = self._enqueued_ns = 0
        self._outputs: dict[str, Buffer] = {}
        unread = []
        for tensor in plan.tensors:
            if tensor.is_input:
                address = staging.address
            elif tensor.name in roles.values():
                buffer = self._outputs[tensor.name] = Buffer(cuda, tensor.size)
                address = buffer.address
            else:  # TensorRT wants a place for it all the same
                unread.append(cuda.device_memory(tensor.size))
                address = unread[-1].address
            if not self._context.set_tensor_address(tensor.name, address):
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
        self._rows = (without_batch(found),)

    def stage(self, image: NDArray[np.uint8], place: Geometry) -> None:
        """Put one image on its way into the network's input. It may be released when this returns."""
        if self._is_staged:  # a frame that was given up: its copy may still read the memory written next
            self._cuda.synchronize(self._staged)
        self._is_staged = True
        self._cuda.record(self._begun, self._stream)
        try:
            self._staging.write(image, place, self._stream, self._copied)
        finally:  # also behind the half of it
            self._cuda.record(self._staged, self._stream)

    def submit(self) -> None:
        """Start the inference. Returns at once; where TensorRT refuses, `collect` says so."""
        self._submitted_ns = time.monotonic_ns()
        self._cuda.record(self._started, self._stream)
        if self._graph is not None:
            self._cuda.launch_graph(self._graph, self._stream)
            is_enqueued = True
        else:
            is_enqueued = bool(self._context.execute_async_v3(self._stream.handle))
        self._enqueued_ns = time.monotonic_ns()
        self._refusal = "" if is_enqueued else self._plan.last_words()
        self._cuda.record(self._computed, self._stream)
        if self._reducing is not None:
            self._reducing.launch(self._stream)
        self._cuda.record(self._reduced, self._stream)
        for copied in self._outputs.values() if self._reducing is None else (self._reducing,):
            copied.copy_out(self._stream)
        self._cuda.record(self._done, self._stream)
        self.in_flight = True

    def collect(self) -> Completed:
        """Block until the slot is done. Raises `EngineError` where its inference was refused."""
        self._cuda.synchronize(self._done)
        self.in_flight = False
        was_staged, self._is_staged = self._is_staged, False
        if self._refusal:
            raise EngineError("TensorRT", f"inference failed ({self._refusal})", _REMEDY)
        if self._reducing is None:
            for wide, half in self._widened:
                np.copyto(wide, half)
        now_ns = time.monotonic_ns()
        started_ns = min(max(self._clock.host_ns(self._started), self._submitted_ns), now_ns)
        inferred_ns = min(max(self._clock.host_ns(self._done), started_ns), now_ns)
        between = self._cuda.elapsed_ms
        times = GpuTimes(
            copy_in_ms=between(self._begun, self._copied) if was_staged else 0.0,
            preprocess_ms=between(self._copied, self._staged) if was_staged else 0.0,
            compute_ms=between(self._started, self._computed),
            reduce_ms=between(self._computed, self._reduced),
            copy_out_ms=between(self._reduced, self._done),
            enqueue_ms=(self._enqueued_ns - self._submitted_ns) / 1e6,
        )
        rows = self._rows if self._reducing is None else self._reducing.rows()
        return Completed(rows, started_ns, inferred_ns, times)

    def reduce(self, candidates: Candidates, kernels: Callable[[str], Any]) -> None:
        """From now on only pick candidates out of the outputs. Nothing is in flight."""
        outputs = {role: self._outputs[name].address for role, name in self._roles.items()}
        self._reducing = Reducing(self._cuda, kernels, candidates, outputs, self._stream)
        self._cuda.record(self._done, self._stream)  # behind the copy of what it compares with
        self._cuda.synchronize(self._done)

    def capture(self) -> None:
        """Make a graph of the inference, where that can be had; else it may be done once more. Nothing is in flight."""
        is_enqueued = False
        captured = self._cuda.captured(self._stream)
        with suppress(CudaError), captured as graphs:  # refused where a network waits within itself
            is_enqueued = bool(self._context.execute_async_v3(self._stream.handle))
        if is_enqueued and graphs:
            self._graph = graphs[0]

    def finish(self) -> None:
        """Block until the device has nothing to do for an image that was staged and given up. Nothing is in flight."""
        if self._is_staged:
            self._cuda.synchronize(self._staged)
