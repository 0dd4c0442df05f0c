"""A stand-in for TensorRT on a real CUDA device: its API as an engine calls it, over one kernel (stand_in.cu).

With it the slots, streams, events, graphs and restarts of the engine run on any CUDA machine. It computes the networks
of tests/tiny_networks.py; `work` makes it slow, `crashes` makes the next inference a fault of the device.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tiny_networks
from simulated_tensorrt import MAGIC, VERSION, Engine, ExecutionContext, ILogger, TensorIOMode

from engines.errors import EngineError
from engines.gpu import find_gpu
from engines.runtime.kernels import compile_kernels
from engines.runtime.machine import Machine
from engines.runtime.restarts import Restarts
from engines.runtime.tensorrt import TensorRtEngine
from engines.tensorrt_library import Library

SOURCE = Path(__file__).with_name("stand_in.cu")
THREADS = 256


class Arguments(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("image", "weight", "bias", "output")),
        *((name, ctypes.c_int) for name in ("pixels", "outputs", "work")),
    ]


def _checked(error: int) -> None:
    if error:
        raise RuntimeError(f"CUDA error {error}")


class StandInTensorRt:
    """The module `tensorrt`."""

    __version__ = VERSION
    ILogger = ILogger
    TensorIOMode = TensorIOMode

    def __init__(self) -> None:
        self.work = 0
        self.crashes = False
        self.cuda = ctypes.CDLL("libcuda.so.1")
        gpu = find_gpu(0)
        assert gpu is not None
        major, _, minor = gpu.cuda.partition(".")
        architecture = int(gpu.architecture.removeprefix("sm_"))
        self.ptx = compile_kernels(SOURCE, architecture, (int(major), int(minor))).ptx

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        def deserialize(content: bytes) -> StandInEngine | None:
            return StandInEngine(self, log, content) if content.startswith(MAGIC) else None

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


class StandInEngine(Engine):
    def __init__(self, module: StandInTensorRt, log: Any, content: bytes) -> None:
        super().__init__(SimpleNamespace(), log, content)  # type: ignore[arg-type]
        self.module = module
        self.is_slow = b"enlarged" in content
        loaded = ctypes.c_void_p()
        _checked(module.cuda.cuModuleLoadData(ctypes.byref(loaded), module.ptx))
        self.kernel = ctypes.c_void_p()
        _checked(module.cuda.cuModuleGetFunction(ctypes.byref(self.kernel), loaded, b"stand_in_infer"))
        cells = self.shapes[tiny_networks.OUTPUT][-1]
        self.weight, self.bias = (self._on_device(values) for values in tiny_networks.weights(cells))

    def _on_device(self, values: Any) -> int:
        address = ctypes.c_uint64()
        _checked(self.module.cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(values.nbytes)))
        values = np.ascontiguousarray(values)
        _checked(self.module.cuda.cuMemcpyHtoD_v2(address, ctypes.c_void_p(values.ctypes.data), values.nbytes))
        return address.value

    def create_execution_context(self) -> ExecutionContext:
        return StandInContext(self)


class StandInContext(ExecutionContext):
    def execute_async_v3(self, handle: int) -> bool:
        engine = self._engine
        assert isinstance(engine, StandInEngine)
        module, stream = engine.module, ctypes.c_void_p(handle)
        if engine.is_checked and not self._is_dark(module.cuda, stream):
            return engine.refuse("a white image")
        shape = self._shapes[tiny_networks.OUTPUT]
        arguments = Arguments(
            image=self._addresses["image"],
            weight=engine.weight,
            bias=engine.bias,
            output=0 if module.crashes else self._addresses[tiny_networks.OUTPUT],
            pixels=int(np.prod(self._shapes["image"][-2:])),
            outputs=int(np.prod(shape[1:])),
            work=max(module.work, 3000 if engine.is_slow else 0),
        )
        module.crashes = False
        given = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        grid_and_block = (shape[0], 1, 1, THREADS, 1, 1)
        error = module.cuda.cuLaunchKernel(engine.kernel, *grid_and_block, 0, stream, given, None)
        return bool(error == 0) or engine.refuse(f"CUDA error {error}")

    def _is_dark(self, cuda: Any, stream: ctypes.c_void_p) -> bool:
        """Waits within the inference, as TensorRT does where sizes depend on data."""
        values = np.empty(self._shapes["image"], np.float32)
        if cuda.cuStreamSynchronize(stream):
            return False
        source = ctypes.c_uint64(self._addresses["image"])
        if cuda.cuMemcpyDtoH_v2(ctypes.c_void_p(values.ctypes.data), source, ctypes.c_size_t(values.nbytes)):
            return False
        return bool(values[0, 0].mean() <= tiny_networks.WHITE)


def stand_in_engine(
    bundle: Any, slots: int, module: StandInTensorRt, restarts: Restarts | None = None
) -> TensorRtEngine:
    """The real engine, over pycuda and the stand-in."""

    def library(flavor: str) -> Library:
        if flavor != "tensorrt":
            raise EngineError(flavor, "is not installed", "install it")
        return Library(flavor, module)

    machine = Machine(open_library=library, cuda_is_missing=lambda: None)
    return TensorRtEngine(bundle, slots, machine=machine, restarts=restarts)
