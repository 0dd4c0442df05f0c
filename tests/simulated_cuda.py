"""A CUDA device without one: work that is put on a stream is done later, and in as unkind an order as CUDA allows.

Nothing is done before something waits for it, or before the scheduler (seeded) feels like it; of what may be done next
it picks at random among the streams. Copies read and write page-locked memory when they are done, not when they are put
on the stream, and a copy's target holds NaN until then. Memory that is freed is gone: work on it is an error, and so is
freeing it while such work is pending, or where the device is not attached. Nothing orders one stream against another
here, so that work on memory which another stream's pending work uses is an error too. So what is missing shows as a
wrong result, or in `broken_rules`.
"""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from host_device import HostDevice
from numpy.typing import NDArray

from engines.gpu import Gpu
from engines.runtime.cuda import CudaError
from engines.runtime.kernels.candidates import CANDIDATES_ARGUMENTS
from engines.runtime.kernels.launch import Launch
from engines.runtime.kernels.letterbox import LETTERBOX_ARGUMENTS

_one_kernel_at_a_time = threading.Lock()  # compiled for the host they have one set of indexes
POISON = 0xFF  # NaN in every float
LOST = "an illegal memory access was encountered"

Bytes = NDArray[np.uint8]


@dataclass
class Work:
    """One piece of work. It knows addresses alone: what lies there is looked up when it is done.

    `uses` are where the pieces of memory begin that it reads or writes.
    """

    kind: str
    do: Callable[[], None]
    uses: frozenset[int]


@dataclass(eq=False)
class SimulatedStream:
    handle: int
    queue: deque[Work] = field(default_factory=deque)
    capture: list[Work] | None = None
    capture_failed: bool = False


@dataclass(eq=False)
class SimulatedEvent:
    recorded: int = 0
    done: int = 0
    time_ns: int = 0
    stream: SimulatedStream | None = None


@dataclass(eq=False)
class SimulatedHostMemory:
    array: Bytes
    address: int


@dataclass(eq=False)
class SimulatedDeviceMemory:
    address: int


class SimulatedGpu:
    """The card, which outlives the contexts on it. `eagerness`: how likely a call is to let some pending work be done.

    `costs_ns`: with them the device has a clock of its own, on which each kind of work takes exactly so long.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        is_integrated: bool = False,
        eagerness: float = 0.0,
        can_capture: bool = True,
        costs_ns: dict[str, int] | None = None,
        has_kernels: bool = False,
    ) -> None:
        self.random = random.Random(seed)
        self.is_integrated = is_integrated
        self.eagerness = eagerness
        self.can_capture = can_capture
        self.costs_ns = costs_ns
        self.has_kernels = has_kernels
        self.before_waiting: Callable[[], None] = lambda: None  # called in a thread that is about to wait
        self.facts = Gpu("Simulated", "sm_87", "12.6")
        self.broken_rules: list[str] = []  # what a caller did that CUDA does not forgive
        self.journal: list[tuple[str, int]] = []  # every piece of work that was done, and its stream
        self.calls: Counter[str] = Counter()
        self.computed: list[int] = []  # images of each inference that was done
        self.waits: list[str] = []  # names of the threads that waited
        self.opened: list[SimulatedCuda] = []
        self.refuse_enqueues = 0  # so many inferences do not start
        self.refuse_to_open = 0  # so many contexts do not come up
        self.fail_calls: dict[str, int] = {}  # a call by name -> which one of those that follow loses the device
        self.memory_limit = 2**40
        self._ticks_ns = 1_000_000
        self._attached = threading.local()

    def open(self, index: int = 0) -> SimulatedCuda:
        if self.refuse_to_open > 0:
            self.refuse_to_open -= 1
            raise CudaError("cuDevicePrimaryCtxRetain failed: unknown error")
        self.opened.append(SimulatedCuda(self))
        return self.opened[-1]

    def now_ns(self) -> int:
        return time.monotonic_ns() if self.costs_ns is None else self._ticks_ns

    def spend(self, kind: str) -> None:
        if self.costs_ns is not None:
            self._ticks_ns += self.costs_ns.get(kind, 0)

    def current(self) -> SimulatedCuda | None:
        """What the calling thread is attached to."""
        stack = self.stack()
        return stack[-1] if stack else None

    def stack(self) -> list[SimulatedCuda]:
        if not hasattr(self._attached, "stack"):
            self._attached.stack = []
        found: list[SimulatedCuda] = self._attached.stack
        return found

    def lose(self) -> None:
        """As after a fault on the device: everything that runs on it now is gone."""
        for cuda in self.opened:
            cuda.is_lost = True


class SimulatedCuda:
    """One context: the contract of `engines.runtime.cuda`."""

    name = "cuda:0"

    def __init__(self, gpu: SimulatedGpu) -> None:
        self.gpu = gpu
        self.is_lost = False
        self.is_closed = False
        self._lock = threading.RLock()
        self._streams: list[SimulatedStream] = []
        self._memory: dict[int, tuple[int, Callable[[], Bytes | None]]] = {}  # address -> size, and what lies there
        self._device: dict[int, Bytes] = {}

    @property
    def is_integrated(self) -> bool:
        return self.gpu.is_integrated

    # --- contexts

    @contextmanager
    def attached(self) -> Iterator[None]:
        if self.is_lost or self.is_closed:
            raise CudaError(LOST)
        self.gpu.stack().append(self)
        try:
            yield
        finally:
            self.gpu.stack().pop()

    def _called(self, name: str) -> None:
        if self.gpu.current() is not self:
            self._break_rule(f"{name} in a thread that is not attached")
            raise CudaError("invalid device context - no currently active context?")
        self.gpu.calls[name] += 1
        left = self.gpu.fail_calls.get(name)
        if left is not None:
            self.gpu.fail_calls[name] = left - 1
            if left <= 0:
                del self.gpu.fail_calls[name]
                self.gpu.lose()
        if self.is_lost:
            raise CudaError(LOST)

    def _break_rule(self, rule: str) -> None:
        self.gpu.broken_rules.append(rule)

    # --- memory

    def host_memory(self, size: int) -> SimulatedHostMemory:
        self._called("host_memory")
        array: Bytes = np.full(max(1, size), POISON, np.uint8)
        address = array.ctypes.data
        alive = weakref.ref(array)
        with self._lock:
            self._memory[address] = len(array), alive
        weakref.finalize(array, self._freed, address, "page-locked").atexit = False
        return SimulatedHostMemory(array, address if self.is_integrated else 0)

    def device_memory(self, size: int) -> SimulatedDeviceMemory:
        self._called("device_memory")
        if size + sum(len(array) for array in self._device.values()) > self.gpu.memory_limit:
            raise CudaError("cuMemAlloc failed: out of memory")
        array: Bytes = np.full(max(1, size), POISON, np.uint8)
        address = array.ctypes.data
        with self._lock:
            self._device[address] = array
            self._memory[address] = len(array), lambda: self._device.get(address)
        memory = SimulatedDeviceMemory(address)
        weakref.finalize(memory, self._freed, address, "device").atexit = False
        return memory

    def _freed(self, address: int, what: str) -> None:
        with self._lock:
            self._memory.pop(address)
            self._device.pop(address, None)
            if self.is_lost:
                return
            for stream in self._streams:
                for work in stream.queue:
                    if address in work.uses:
                        self._break_rule(f"{what} memory was freed before the {work.kind} on it was done")
            if what == "device" and self.gpu.current() is not self:
                self._break_rule("device memory was freed where the device is not attached")

    def memory(self, address: int, size: int) -> Bytes:
        """What lies at an address. For kernels and networks, when their work is done."""
        with self._lock:
            for start, (length, get) in self._memory.items():
                if start <= address and address + size <= start + length:
                    array = get()
                    if array is not None:
                        found: Bytes = array[address - start : address - start + size]
                        return found
        self._break_rule(f"work on {size} bytes that are not there")
        self.gpu.lose()
        raise CudaError(LOST)

    def _beginning(self, address: int) -> int:
        for start, (length, _) in self._memory.items():
            if start <= address < start + length:
                return start
        return address  # not there: that shows when the work is done

    def poison(self, address: int, size: int) -> None:
        """From now until work is done what the host sees there is worth nothing."""
        self.memory(address, size).fill(POISON)

    # --- work

    def new_stream(self) -> SimulatedStream:
        self._called("new_stream")
        with self._lock:
            self._streams.append(SimulatedStream(1000 + len(self._streams)))
            return self._streams[-1]

    def stream(self, handle: int) -> SimulatedStream:
        return next(stream for stream in self._streams if stream.handle == handle)

    def new_event(self) -> SimulatedEvent:
        self._called("new_event")
        return SimulatedEvent()

    def put(self, stream: SimulatedStream, kind: str, do: Callable[[], None], *addresses: int) -> None:
        """Put work on a stream, or into the graph that is being captured there."""
        with self._lock:
            uses = frozenset(self._beginning(address) for address in addresses)
            self._put(stream, Work(kind, do, uses))

    def _put(self, stream: SimulatedStream, work: Work) -> None:
        with self._lock:
            if stream.capture is not None:
                stream.capture.append(work)
                return
            for other in self._streams:
                if other is not stream and any(pending.uses & work.uses for pending in other.queue):
                    self._break_rule(f"a {work.kind} on memory that another stream uses at the same time")
                    self.gpu.lose()
            stream.queue.append(work)
            while self.gpu.random.random() < self.gpu.eagerness and self._do_one(self._any_stream()):
                pass

    def copy_in(self, target: Any, source: Any, size: int, stream: SimulatedStream, first: int = 0) -> None:
        self._called("copy_in")
        start, to = source.array.ctypes.data + first, target.address + first
        self.put(stream, "copy in", lambda: np.copyto(self.memory(to, size), self.memory(start, size)), start, to)

    def copy_out(self, target: Any, source: Any, size: int, stream: SimulatedStream) -> None:
        self._called("copy_out")
        to, start = target.array.ctypes.data, source.address
        if stream.capture is None:
            self.poison(to, size)
        self.put(stream, "copy out", lambda: np.copyto(self.memory(to, size), self.memory(start, size)), start, to)

    def kernel(self, ptx: bytes, name: str) -> str:
        self._called("kernel")
        assert ptx
        return name

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: bytes,
        stream: SimulatedStream,
    ) -> None:
        self._called("launch")
        layout = LETTERBOX_ARGUMENTS if kernel.startswith("letterbox") else CANDIDATES_ARGUMENTS
        values = np.frombuffer(arguments, layout)[0]
        pointers = [name for name in layout.names or () if layout[name].base == np.uint64 and name != "chroma"]
        addresses = [int(address) for name in pointers for address in np.ravel(values[name]) if address]
        is_backward = self.gpu.random.random() < 0.5

        def run() -> None:  # the kernel's own source, compiled for the host
            for address in addresses:
                self.memory(address, 1)
            with _one_kernel_at_a_time:
                HostDevice(is_backward=is_backward).launch(Launch(kernel, values, grid[:2], block))

        self.put(stream, "letterbox" if layout is LETTERBOX_ARGUMENTS else "candidates", run, *addresses)

    def record(self, event: SimulatedEvent, stream: SimulatedStream) -> None:
        self._called("record")
        if stream.capture is not None:
            stream.capture_failed = True
            return
        event.recorded += 1
        event.stream = stream
        number = event.recorded

        def come() -> None:
            event.done = number
            event.time_ns = self.gpu.now_ns()

        self.put(stream, "event", come)

    def synchronize(self, event: SimulatedEvent) -> None:
        self._called("synchronize")
        self.gpu.waits.append(threading.current_thread().name)
        self.gpu.before_waiting()
        if event.stream is not None and event.stream.capture is not None:
            event.stream.capture_failed = True
            raise CudaError("operation not permitted when stream is capturing")
        target = event.recorded
        while event.done < target:
            with self._lock:
                stream = event.stream if self.gpu.random.random() < 0.5 else self._any_stream()
                if stream is not None:
                    self._do_one(stream)
            if self.is_lost:
                raise CudaError(LOST)

    def finish(self, stream: SimulatedStream) -> None:
        """Do all that is on a stream."""
        while self._do_one(stream):
            pass

    def elapsed_ms(self, first: SimulatedEvent, second: SimulatedEvent) -> float:
        self._called("elapsed_ms")
        for event in (first, second):
            if not event.recorded or event.done < event.recorded:
                self._break_rule("the time of an event that the device has not come to")
                raise CudaError("device not ready")
        return (second.time_ns - first.time_ns) / 1e6

    def _any_stream(self) -> SimulatedStream | None:
        waiting = [stream for stream in self._streams if stream.queue]
        return self.gpu.random.choice(waiting) if waiting else None

    def _do_one(self, stream: SimulatedStream | None) -> bool:
        with self._lock:
            if stream is None or not stream.queue or self.is_lost:
                return False
            work = stream.queue.popleft()
            self.gpu.spend(work.kind)
            try:
                work.do()
            except CudaError:
                self.gpu.lose()
            self.gpu.journal.append((work.kind, stream.handle))
            return True

    # --- graphs

    @contextmanager
    def captured(self, stream: SimulatedStream) -> Iterator[list[Any]]:
        self._called("captured")
        graphs: list[Any] = []
        if not self.gpu.can_capture:
            yield graphs
            return
        stream.capture, stream.capture_failed = [], False
        try:
            yield graphs
        finally:
            works, stream.capture = stream.capture, None
        if stream.capture_failed:
            raise CudaError("the capture was invalidated")
        graphs.append(works)

    def launch_graph(self, graph: list[Work], stream: SimulatedStream) -> None:
        self._called("launch_graph")
        for work in graph:
            self._put(stream, work)

    def free_bytes(self) -> tuple[int, int]:
        self._called("free_bytes")
        return 2**30, 2**31

    def close(self) -> None:
        if not self.is_closed and not self.is_lost:
            for stream in self._streams:
                if any(work.kind != "event" for work in stream.queue):
                    self._break_rule("the context was let go of with work pending")
            for address in self._device:
                self._break_rule(f"device memory at {address} was not freed before its context")
        self.is_closed = True
