"""pycuda behind the contract of `cuda.py`. Imported only when a GPU is asked for; graphs come from cuda-bindings.

TensorRT uses the device's primary context, so we do too: it is pushed in each thread for as long as that thread uses
it. What pycuda allocates it frees with the last reference to it, and only where the context is current: owners drop
their references inside `attached`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycuda import driver

from engines.runtime.cuda import CudaError, DeviceMemory, HostMemory, Stream

Dimensions = tuple[int, int, int]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING of cuda.h, for which pycuda has no name


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except driver.Error as error:
        raise CudaError(" ".join(str(error).split())) from None


@dataclass(frozen=True)
class _Host:
    """`keeps` is pycuda's owner of the memory; views of `array` keep it too."""

    array: NDArray[np.uint8]
    address: int


@dataclass(frozen=True)
class _Device:
    keeps: Any
    address: int


class PyCuda:
    """A device by its index."""

    def __init__(self, index: int) -> None:
        self.name = f"cuda:{index}"
        with _in_our_words():
            driver.init()
            self._device = driver.Device(index)
            self.is_integrated = bool(self._device.get_attribute(driver.device_attribute.INTEGRATED))
            self._context = self._alive(index)
        self._graphs = _Graphs.found()
        self._modules: dict[bytes, Any] = {}

    def _alive(self, index: int) -> Any:
        """Retain the primary context. One in which work has failed is reset first: nothing else makes it usable again.

        Where nothing has failed, or another engine has reset it already, it is left alone.
        """
        context = self._device.retain_primary_context()
        try:
            context.push()
            try:
                driver.Context.synchronize()
            finally:
                driver.Context.pop()
        except driver.Error:
            _release(context)
            ctypes.CDLL("libcuda.so.1").cuDevicePrimaryCtxReset_v2(ctypes.c_int(index))
            return self._device.retain_primary_context()
        return context

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Push the context, and pop it again whatever happens: what is left on the stack aborts the thread."""
        if self._context is None:
            raise CudaError("the device was let go of")
        with _in_our_words():
            self._context.push()
        try:
            yield
        finally:
            with suppress(driver.Error):  # a lost device; what went wrong has been raised already
                driver.Context.pop()

    def new_stream(self) -> Any:
        """A stream that the default one does not hold up."""
        with _in_our_words():
            return driver.Stream(_NON_BLOCKING)

    def new_event(self) -> Any:
        """With times; who waits for it sleeps, and does not spin."""
        with _in_our_words():
            return driver.Event(driver.event_flags.BLOCKING_SYNC)

    def host_memory(self, size: int) -> HostMemory:
        """Page-locked; mapped where host and device share their memory."""
        flags = driver.host_alloc_flags.PORTABLE
        if self.is_integrated:
            flags |= driver.host_alloc_flags.DEVICEMAP
        with _in_our_words():
            array = driver.pagelocked_empty(size, np.uint8, mem_flags=flags)
            return _Host(array, int(array.base.get_device_pointer()) if self.is_integrated else 0)

    def device_memory(self, size: int) -> DeviceMemory:
        """Freed with its last reference."""
        with _in_our_words():
            memory = driver.mem_alloc(size)
            return _Device(memory, int(memory))

    def copy_in(self, target: DeviceMemory, source: HostMemory, size: int, stream: Stream, first: int = 0) -> None:
        """Asynchronous, because the source is page-locked."""
        with _in_our_words():
            driver.memcpy_htod_async(target.address + first, source.array[first : first + size], stream)

    def copy_out(self, target: HostMemory, source: DeviceMemory, size: int, stream: Stream) -> None:
        """Asynchronous, because the target is page-locked."""
        with _in_our_words():
            driver.memcpy_dtoh_async(target.array[:size], source.address, stream)

    def record(self, event: Any, stream: Stream) -> None:
        """Put an event on a stream."""
        with _in_our_words():
            event.record(stream)

    def synchronize(self, event: Any) -> None:
        """Block with the GIL free: pycuda lets go of it for this call, not for a query."""
        with _in_our_words():
            event.synchronize()

    def elapsed_ms(self, first: Any, second: Any) -> float:
        """Between two events that are done."""
        with _in_our_words():
            return float(second.time_since(first))

    def kernel(self, ptx: bytes, name: str) -> Any:
        """Load a kernel; the driver compiles the PTX for its card."""
        with _in_our_words():
            module = self._modules.get(ptx)
            if module is None:  # one file holds several kernels
                module = self._modules[ptx] = driver.module_from_buffer(ptx)
            return module.get_function(name)

    def launch(self, kernel: Any, grid: Dimensions, block: Dimensions, arguments: bytes, stream: Stream) -> None:
        """Put it on a stream. The arguments are copied before this returns."""
        with _in_our_words():
            kernel._launch_kernel(grid, block, arguments, 0, stream)

    @contextmanager
    def captured(self, stream: Stream) -> Iterator[list[Any]]:
        """Through cuda-bindings; without it everything is done as it comes, and the list stays empty."""
        graphs: list[Any] = []
        if self._graphs is None or not self._graphs.begin(stream.handle):
            yield graphs
            return
        try:
            yield graphs
        except BaseException:
            with suppress(CudaError):  # what was captured is of no use, and the stream has to be let go
                self._graphs.end(stream.handle)
            raise
        graphs.append(self._graphs.end(stream.handle))

    def launch_graph(self, graph: Any, stream: Stream) -> None:
        """Put a graph on a stream."""
        assert self._graphs is not None
        self._graphs.launch(graph, stream.handle)

    def free_bytes(self) -> tuple[int, int]:
        """As the driver says it."""
        with _in_our_words():
            free, total = driver.mem_get_info()
            return int(free), int(total)

    def close(self) -> None:
        """Let go of kernels and graphs, then of the context."""
        with suppress(CudaError), self.attached():
            self._modules.clear()
            if self._graphs is not None:
                self._graphs.close()
        if self._context is not None:
            _release(self._context)
            self._context = None


def _release(context: Any) -> None:
    """Let go of a primary context, in whichever thread this is: pycuda does so only where it is current."""
    with suppress(driver.Error):
        context.push()
        context.detach()  # pycuda forgets its push here, and does not undo it
        ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


class _Graphs:
    """What pycuda has not: stream capture and graphs, by cuda-bindings' driver module."""

    def __init__(self, bindings: Any) -> None:
        self._cuda = bindings
        self._made: list[Any] = []

    @classmethod
    def found(cls) -> _Graphs | None:
        """None where cuda-bindings is not installed, or finds no driver."""
        try:
            from cuda.bindings import driver as bindings

            bindings.cuDriverGetVersion()
        except Exception:  # it has an error class of its own for a driver that is not there
            return None
        return cls(bindings)

    def begin(self, stream: int) -> bool:
        """Capture what this thread puts on a stream; False where the driver is too old to do so."""
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        try:
            self._checked(self._cuda.cuStreamBeginCapture(self._cuda.CUstream(stream), mode))
        except RuntimeError:  # the binding's, where the driver has no such function
            return False
        return True

    def end(self, stream: int) -> Any:
        """End the capture; make what was captured ready to launch."""
        (graph,) = self._checked(self._cuda.cuStreamEndCapture(self._cuda.CUstream(stream)))
        try:
            (executable,) = self._checked(self._cuda.cuGraphInstantiate(graph, 0))
        finally:
            self._cuda.cuGraphDestroy(graph)
        self._made.append(executable)
        return executable

    def close(self) -> None:
        """Destroy every graph."""
        while self._made:
            self._cuda.cuGraphExecDestroy(self._made.pop())

    def launch(self, graph: Any, stream: int) -> None:
        """Put it on a stream."""
        self._checked(self._cuda.cuGraphLaunch(graph, self._cuda.CUstream(stream)))

    def _checked(self, answer: tuple[Any, ...]) -> tuple[Any, ...]:
        error, *values = answer
        if int(error) != 0:
            raise CudaError(f"{getattr(error, 'name', error)}")
        return tuple(values)
