"""As much of TensorRT's Python API as an engine calls, over a simulated CUDA device; ONNX Runtime does the computing.

A plan here is a line and an ONNX file. Networks are computed when the stream comes to them; a `checked` one has sizes
that depend on its data, so that, as with TensorRT, `execute_async_v3` waits for its stream and may refuse.
"""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
from simulated_cuda import SimulatedCuda, SimulatedGpu

from engines.bundle import Bundle
from engines.errors import EngineError, EngineMissingError
from engines.gpu import Gpu
from engines.runtime.machine import Machine
from engines.runtime.restarts import Restarts
from engines.runtime.tensorrt import TensorRtEngine
from engines.tensorrt_library import Library

VERSION = "10.3.0"
MAGIC = b"simulated plan "
_TYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT64", "tensor(double)": "DOUBLE"}
_NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64}


class TensorIOMode(Enum):
    INPUT = 1
    OUTPUT = 2


class ILogger:
    Severity = Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])

    def __init__(self) -> None: ...

    def log(self, severity: Any, message: str) -> None: ...


class ExecutionContext:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shapes = dict(engine.shapes)
        self._pending: list[int] = []  # streams on which it has been started and is not done
        self._is_captured = False  # in a graph, which is good only while the shapes stay

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self._is_captured and self._shapes[name] != tuple(shape):
            self._engine.gpu.broken_rules.append("a context's shape was changed behind its graph")
        self._shapes[name] = tuple(shape)
        for output in self._engine.outputs:  # of which the batch axis alone is free
            if self._engine.shapes[output][:1] == (-1,):
                self._shapes[output] = (shape[0], *self._engine.shapes[output][1:])
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def execute_async_v3(self, handle: int) -> bool:
        engine = self._engine
        cuda = engine.gpu.current()
        if cuda is None:
            return engine.refuse("no CUDA context is current in this thread")
        if cuda.is_lost:
            return engine.refuse("Cuda Runtime (an illegal memory access was encountered)")
        if engine.gpu.refuse_enqueues > 0:
            engine.gpu.refuse_enqueues -= 1
            return engine.refuse("Cask (no more workspace)")
        if set(self._addresses) != set(self._shapes):
            return engine.refuse("a tensor has no address")
        stream = cuda.stream(handle)
        addresses, shapes = dict(self._addresses), dict(self._shapes)
        shares = any(other != handle for other in self._pending)
        if engine.is_checked:
            if stream.capture is not None:
                stream.capture_failed = True
                return engine.refuse("operation not permitted when stream is capturing")
            cuda.finish(stream)
            try:
                engine.compute(cuda, addresses, shapes, shares)
            except Exception as error:
                return engine.refuse(str(error))
            return True
        self._is_captured |= stream.capture is not None
        if cuda.is_integrated and stream.capture is None:
            for name in engine.outputs:
                cuda.poison(addresses[name], engine.size(name, shapes))
        self._pending.append(handle)

        def infer() -> None:
            if handle in self._pending:
                self._pending.remove(handle)
            engine.compute(cuda, addresses, shapes, shares)

        cuda.put(stream, "inference", infer, *addresses.values())
        return True


class Engine:
    def __init__(self, gpu: SimulatedGpu, log: Any, content: bytes) -> None:
        self.gpu = gpu
        self._log = log
        head, _, model = content.partition(b"\n")
        self.is_checked = head.endswith(b"checked")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]
        values = [*self._session.get_inputs(), *self._session.get_outputs()]
        self.types = {value.name: _TYPES[value.type] for value in values}
        self.shapes = {value.name: tuple(d if isinstance(d, int) else -1 for d in value.shape) for value in values}

    @property
    def num_io_tensors(self) -> int:
        return len(self.shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.types[name])

    def create_execution_context(self) -> ExecutionContext:
        return ExecutionContext(self)

    def refuse(self, why: str) -> bool:
        self._log.log(ILogger.Severity["ERROR"], why)
        return False

    def size(self, name: str, shapes: dict[str, tuple[int, ...]]) -> int:
        return int(np.prod(shapes[name])) * np.dtype(_NUMPY[self.types[name]]).itemsize

    def compute(
        self, cuda: SimulatedCuda, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]], is_spoilt: bool
    ) -> None:
        def tensor(name: str) -> Any:
            raw = cuda.memory(addresses[name], self.size(name, shapes))
            return raw.view(_NUMPY[self.types[name]]).reshape(shapes[name])

        feeds = {name: tensor(name).copy() for name in self._inputs}
        self.gpu.computed.append(shapes[self._inputs[0]][0])
        for name, value in zip(self.outputs, self._session.run(self.outputs, feeds), strict=True):
            np.copyto(tensor(name), np.nan if is_spoilt else value)


class SimulatedTensorRt:
    """The module `tensorrt`."""

    __version__ = VERSION
    ILogger = ILogger
    TensorIOMode = TensorIOMode

    def __init__(self, gpu: SimulatedGpu) -> None:
        self._gpu = gpu

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        def deserialize(content: bytes) -> Engine | None:
            self._gpu.calls["deserialize"] += 1
            if not content.startswith(MAGIC):
                log.log(ILogger.Severity["ERROR"], "header.magicTag == kEXPECTED_MAGIC_TAG failed")
                return None
            return Engine(self._gpu, log, content)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


def write_plan(
    bundle: Bundle, card: SimulatedGpu, /, *, checked: bool = False, name: str = "one", **changes: Any
) -> Path:
    """Put a plan into a bundle, as `perception engine build` does."""
    folder = bundle.folder / "plans" / name
    folder.mkdir(parents=True, exist_ok=True)
    content = MAGIC + (b"checked\n" if checked else b"\n") + bundle.model.read_bytes()
    passport = {
        "plan_passport_version": 1,
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "flavor": "tensorrt",
        "version": VERSION,
        "precision": "fp16",
        "device": "cuda:0",
        "gpu": card.facts.facts(),
        "plan_bytes": len(content),
        "plan_sha256": hashlib.sha256(content).hexdigest(),
        "at": "2026-01-01T00:00:00+00:00",
        **changes,
    }
    (folder / "passport.json").write_text(json.dumps(passport))
    (folder / "plan.engine").write_bytes(content)
    return folder


def machine(gpu: SimulatedGpu) -> Machine:
    """A machine with TensorRT, pycuda and this GPU."""

    def library(flavor: str) -> Library:
        if flavor != "tensorrt":
            raise EngineError(flavor, "is not installed", "install it")
        return Library(flavor, SimulatedTensorRt(gpu))

    def compiled(_gpu: Gpu, _kernel: str) -> bytes:
        if not gpu.has_kernels:
            raise EngineMissingError("the GPU's kernels", "there is no compiler", "install one")
        return b"ptx"

    return Machine(
        find_gpu=lambda _index: gpu.facts,
        open_library=library,
        open_cuda=gpu.open,
        cuda_is_missing=lambda: None,
        compiled=compiled,
    )


def simulated_engine(
    bundle: Bundle, slots: int, gpu: SimulatedGpu | None = None, restarts: Restarts | None = None
) -> TensorRtEngine:
    """The real engine on a simulated device; the bundle gets a plan where it has none."""
    gpu = gpu or SimulatedGpu()
    if not (bundle.folder / "plans").exists():
        write_plan(bundle, gpu, checked=bundle.name == "fails")
    return TensorRtEngine(bundle, slots, machine=machine(gpu), restarts=restarts)
