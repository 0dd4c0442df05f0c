"""The Engine contract and everything that fulfils it.

`engine.py` is the contract; each engine is one file and one line in `ENGINES`, imported only when it is
opened. Imports nothing of training, quantisation or plans.
"""

from __future__ import annotations

from importlib import import_module

from engines.bundle import Bundle
from engines.errors import EngineError
from engines.runtime.engine import Completed, Engine

__all__ = ["ENGINES", "Completed", "Engine", "open_engine"]

ENGINES = {
    "onnxruntime": "engines.runtime.onnxruntime:OnnxRuntimeEngine",
}
AUTO = "auto"


def open_engine(bundle: Bundle, name: str = AUTO, *, slots: int = 2, threads: int = 1) -> Engine:
    """Load a bundle; returns when it is warm. `auto` takes the best engine that this machine has.

    Raises `EngineError` when there is no such engine or it does not start, `BundleError` when the bundle is
    at fault.
    """
    if name == AUTO:
        name = "onnxruntime"
    if name not in ENGINES:
        raise EngineUnknownError(f"--engine {name}", "is unknown", f"use auto or one of {', '.join(sorted(ENGINES))}")
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(import_module(module), attribute)(bundle, slots=slots, threads=threads)
    return engine


class EngineUnknownError(EngineError):
    """An engine that does not exist: the request is wrong."""

    exit_code = 2
