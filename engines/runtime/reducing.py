"""A detector's candidates picked out on the device, behind the inference on its stream: 24 kB a row are copied out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.runtime.cuda import Buffer, Cuda, Stream
from engines.runtime.kernels import Candidates


class Reducing:
    """Of one row. `kernels` gives a loaded kernel by its name; `outputs` are the row's on the device, by role."""

    def __init__(
        self,
        cuda: Cuda,
        kernels: Callable[[str], Any],
        candidates: Candidates,
        outputs: Mapping[str, int],
        stream: Stream,
    ) -> None:
        self._cuda = cuda
        self._candidates = candidates
        self._limits = Buffer(cuda, candidates.limits.nbytes)
        self._limits.host.array[: self._limits.size] = candidates.limits.view(np.uint8)
        self._limits.copy_in(self._limits.size, stream)
        self._work = cuda.device_memory(candidates.work_bytes)
        self._result = Buffer(cuda, candidates.result_bytes)
        launches = candidates.launches(outputs, self._limits.address, self._work.address, self._result.address)
        self._launches = [(kernels(one.kernel), (*one.grid, 1), one.block, one.arguments.tobytes()) for one in launches]

    def launch(self, stream: Stream) -> None:
        """Put the kernels on the stream."""
        for kernel, grid, block, arguments in self._launches:
            self._cuda.launch(kernel, grid, block, arguments, stream)

    def copy_out(self, stream: Stream) -> None:
        """Put the copy of the result on the stream."""
        self._result.copy_out(self._result.size, stream)

    def found(self) -> Mapping[str, NDArray[Any]]:
        """What was found, once the stream has come so far: views, for the decoder."""
        return self._candidates.read(self._result.host.array)
