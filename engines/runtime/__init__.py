"""The Engine contract and everything that fulfils it.

`engine.py` is the contract; each engine is one file and one line in `ENGINES`, imported only when it is
opened. Imports nothing of training, quantisation or plans.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from engines.bundle import Bundle
from engines.errors import EngineMissingError
from engines.runtime.engine import Completed, Engine
from engines.runtime.int8 import is_quantised, is_x86

__all__ = ["ENGINES", "ON_THE_CPU", "Completed", "Engine", "check_engine", "open_engine", "slots_for"]

ENGINES = {
    "onnxruntime": "engines.runtime.onnxruntime:OnnxRuntimeEngine",
    "openvino": "engines.runtime.openvino:OpenVinoEngine",
    "tensorrt": "engines.runtime.tensorrt:TensorRtEngine",
    "tensorrt_rtx": "engines.runtime.tensorrt:TensorRtRtxEngine",
}
ON_THE_CPU = ("onnxruntime", "openvino")
AUTO = "auto"
CPU_SLOTS = 2  # one is inferred while the other is staged or decoded
GPU_SLOTS = 3  # one is copied in and letterboxed, one computed, one copied out


def open_engine(bundle: Bundle, name: str = AUTO, *, slots: int = 2, threads: int = 1) -> Engine:
    """Load a bundle; returns when it is warm. `auto` takes the engine that `best_engine` names.

    Raises `EngineMissingError` when there is no such engine, `EngineError` when it does not start, `BundleError` when
    the bundle is at fault.
    """
    if name == AUTO:
        name = best_engine(bundle)
    check_engine(name)
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(import_module(module), attribute)(bundle, slots=slots, threads=threads)
    return engine


def check_engine(name: str) -> None:
    """Raise `EngineMissingError` for a name that is no engine's; opens nothing."""
    if name not in (AUTO, *ENGINES):
        raise EngineMissingError(f"--engine {name}", "is unknown", f"use auto or one of {', '.join(sorted(ENGINES))}")


def slots_for(bundle: Bundle, name: str) -> int:
    """How many frames an engine wants in flight. Raises `EngineError` as `best_engine` does."""
    name = best_engine(bundle) if name == AUTO else name
    return GPU_SLOTS if name in ENGINES and name not in ON_THE_CPU else CPU_SLOTS


def best_engine(bundle: Bundle) -> str:
    """The engine for this bundle on this machine: that of a plan where one fits the GPU; else on the CPU OpenVINO for
    INT8 on x86 where it is installed, else ONNX Runtime.

    Measured on one thread: a quantised yolov8n 47.6 frames/s and 37.5, a float yolox_nano 117 and 146. Raises
    `EngineError` where a plan was built for this very GPU and does not fit any more.
    """
    if (planned := _planned_engine(bundle)) is not None:
        return planned
    return "openvino" if is_x86() and is_quantised(bundle.model) and find_spec("openvino") else "onnxruntime"


def _planned_engine(bundle: Bundle) -> str | None:
    if not (bundle.folder / "plans").is_dir():  # as it is nearly everywhere: nothing has to be imported
        return None
    from engines.runtime.machine import planned_engine

    return planned_engine(bundle)
