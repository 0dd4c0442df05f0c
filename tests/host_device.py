"""A stand-in for a CUDA device: the kernels' own source compiled by g++, launched on the host's memory."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.runtime import kernels
from engines.runtime.kernels.launch import Launch

_HERE = Path(__file__).parent / "engines" / "kernels"
_KERNELS = Path(kernels.__file__).parent
_FLAGS = ["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Werror", "-Wno-unknown-pragmas"]

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="needs g++ to compile the kernels for the host: apt install g++"
)


_built = tempfile.TemporaryDirectory(prefix="edge-perception-kernels-")  # for as long as the session lasts


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = Path(_built.name) / "kernels.so"
    command = ["g++", *_FLAGS, f"-I{_HERE}", f"-I{_KERNELS}", "-o", str(library), str(_HERE / "host_kernels.cpp")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ctypes.CDLL(str(library))


class HostDevice:
    """What tests need of a device: memory with an address, and launches, one after another.

    `is_backward`: the last thread of the last block is the first to run.
    """

    def __init__(self, *, is_backward: bool = False) -> None:
        self._is_backward = is_backward

    def upload(self, array: NDArray[Any]) -> NDArray[Any]:
        """Memory that holds a copy of `array`."""
        return np.ascontiguousarray(array).copy()

    def address(self, memory: NDArray[Any]) -> int:
        return memory.ctypes.data

    def launch(self, launch: Launch) -> None:
        grid = np.array(launch.grid, np.uint32)
        block = np.array(launch.block, np.uint32)
        ctypes.c_bool.in_dll(_library(), "host_is_backward").value = self._is_backward
        run = getattr(_library(), f"host_{launch.kernel}")
        run(launch.arguments.tobytes(), grid.ctypes.data_as(ctypes.c_void_p), block.ctypes.data_as(ctypes.c_void_p))

    def download(self, memory: NDArray[Any]) -> NDArray[Any]:
        return memory
