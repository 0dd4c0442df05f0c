"""A real CUDA device for the kernels' tests, through pycuda alone: nothing of the engine is needed or trusted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.errors import EngineMissingError
from engines.runtime.kernels import Launch, compile_kernels, source_of


@dataclass(frozen=True)
class Memory:
    allocation: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class CudaDevice:
    """What tests need of a device. Opening it skips the test, in words, where there is none."""

    def __init__(self) -> None:
        driver = pytest.importorskip("pycuda.driver", reason="needs a CUDA device and pycuda", exc_type=ImportError)
        self._driver = driver
        try:
            driver.init()
            device = driver.Device(0)
        except driver.Error as error:
            pytest.skip(f"needs a CUDA device ({error})")
        self.name = device.name()
        major, minor = device.compute_capability()
        self._architecture = 10 * major + minor
        self._context = device.retain_primary_context()
        self._context.push()
        runs = driver.get_driver_version()
        self._runs = runs // 1000, runs % 1000 // 10
        self._function = lru_cache(maxsize=None)(self._load)

    def close(self) -> None:
        self._function.cache_clear()
        self._context.pop()
        self._context.detach()

    def upload(self, array: NDArray[Any]) -> Memory:
        allocation = self._driver.mem_alloc(max(1, array.nbytes))
        self._driver.memcpy_htod(allocation, np.ascontiguousarray(array))
        return Memory(allocation, array.shape, array.dtype)

    def address(self, memory: Memory) -> int:
        return int(memory.allocation)

    def launch(self, launch: Launch) -> None:
        self._function(launch.kernel)(launch.arguments, grid=launch.grid, block=launch.block)

    def download(self, memory: Memory) -> NDArray[Any]:
        array = np.empty(memory.shape, memory.dtype)
        self._driver.memcpy_dtoh(array, memory.allocation)
        return array

    def _load(self, kernel: str) -> Any:
        try:
            ptx = compile_kernels(source_of(kernel), self._architecture, self._runs).ptx
        except EngineMissingError as error:
            pytest.skip(str(error))
        return self._driver.module_from_buffer(ptx).get_function(kernel)
