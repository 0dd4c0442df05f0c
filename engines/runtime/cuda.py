"""What an engine needs of CUDA, as one small contract: pycuda fulfils it, and in the tests a simulated device does.

Work is put on a stream and done later, in that stream's order; nothing is promised between streams. Only an event that
was recorded on a stream, and waited for, says that what came before it is done. Until then the host neither writes what
a copy reads, nor reads what a copy writes, nor frees either.

Every call but `attached` wants this device's context to be current in the calling thread. Failures are `CudaError`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class CudaError(Exception):
    """A call that CUDA refused, or work on the device that failed: then every later call fails too."""


class Stream(Protocol):
    """A queue of work."""

    @property
    def handle(self) -> int:
        """The CUstream, for libraries that take one."""


class HostMemory(Protocol):
    """Page-locked memory of the host: what copies to and from the device read and write while the host goes on."""

    @property
    def array(self) -> NDArray[np.uint8]:
        """All of it, one byte an element. It stays until the last view of it is gone."""

    @property
    def address(self) -> int:
        """Where the device sees it; 0 where the device has memory of its own."""


class DeviceMemory(Protocol):
    """Memory of the device."""

    @property
    def address(self) -> int: ...


class Cuda(Protocol):
    """One device, through its primary context, which is the one that TensorRT uses."""

    @property
    def name(self) -> str:
        """For example "cuda:0"."""

    @property
    def is_integrated(self) -> bool:
        """Whether host and device share their memory, as on a Jetson: nothing has to be copied then."""

    def attached(self) -> AbstractContextManager[None]:
        """Make the context current in this thread for a while. May be nested."""

    def new_stream(self) -> Stream: ...

    def new_event(self) -> Any:
        """An event that knows its time, and on which a waiting thread sleeps."""

    def host_memory(self, size: int) -> HostMemory: ...

    def device_memory(self, size: int) -> DeviceMemory: ...

    def copy_in(self, target: DeviceMemory, source: HostMemory, size: int, stream: Stream, first: int = 0) -> None:
        """Put a copy of `size` bytes, from the byte `first` on, to the same place on the device on a stream."""

    def copy_out(self, target: HostMemory, source: DeviceMemory, size: int, stream: Stream) -> None:
        """Put a copy of the first `size` bytes to the host on a stream."""

    def record(self, event: Any, stream: Stream) -> None:
        """Put an event behind what is on a stream by now."""

    def synchronize(self, event: Any) -> None:
        """Block, with the GIL free, until the device has come to the event's latest record."""

    def elapsed_ms(self, first: Any, second: Any) -> float:
        """Time on the device between two events that it has come to."""

    def kernel(self, ptx: bytes, name: str) -> Any:
        """Load a kernel of a compiled module."""

    def launch(
        self, kernel: Any, grid: tuple[int, int, int], block: tuple[int, int, int], arguments: bytes, stream: Stream
    ) -> None:
        """Put a kernel on a stream. `arguments` lie in memory as the kernel's own parameters do."""

    def captured(self, stream: Stream) -> AbstractContextManager[list[Any]]:
        """Record what is put on a stream, instead of doing it, as one graph; the list holds it afterwards.

        It stays empty where graphs are not to be had.
        """

    def launch_graph(self, graph: Any, stream: Stream) -> None:
        """Put a graph on a stream."""

    def free_bytes(self) -> tuple[int, int]:
        """Memory of the device: free and in all."""

    def close(self) -> None:
        """Let go of the context. Everything of this device was let go of before."""


class Buffer:
    """Memory that host and device both see: the same where they share it, else two pieces and copies between them."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self._cuda = cuda
        self.size = size
        self.host = cuda.host_memory(size)
        self._device = None if cuda.is_integrated else cuda.device_memory(size)

    @property
    def address(self) -> int:
        """Where the device sees it."""
        return self.host.address if self._device is None else self._device.address

    def copy_in(self, size: int, stream: Stream, first: int = 0) -> None:
        """Let the device see, in stream order, `size` bytes that the host wrote, from the byte `first` on."""
        if self._device is not None:
            self._cuda.copy_in(self._device, self.host, size, stream, first)

    def copy_out(self, size: int, stream: Stream) -> None:
        """Let the host see, once the stream has come so far, the first `size` bytes that the device wrote."""
        if self._device is not None:
            self._cuda.copy_out(self.host, self._device, size, stream)
