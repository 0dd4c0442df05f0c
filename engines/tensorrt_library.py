"""The TensorRT that is installed here: found by name, its features by their names.

Enum numbers move between major versions, and so do flags; only names are asked for (`has`).
"""

from __future__ import annotations

import functools
import importlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import EngineError

FLAVORS = ("tensorrt", "tensorrt_rtx")
_MAX_LINES = 200_000
RTX_OLDEST = (1, 7, 1)  # 1.4 and 1.6 refuse INT8 convolutions


@dataclass(frozen=True)
class Library:
    """An imported TensorRT. `trt` is its module, `version` its numbers."""

    flavor: str
    trt: Any

    @property
    def version(self) -> str:
        """As the library says it, `10.3.0`."""
        return str(self.trt.__version__)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version to compare by."""
        return tuple(int(part) for part in self.version.split(".") if part.isdecimal())

    @property
    def expands_weights(self) -> bool:
        """Whether its parser wants float weights with Q/DQ: 8.x refused INT8 initialisers in places."""
        return self.flavor == "tensorrt" and self.numbers[0] < 10

    @property
    def strongly_typed(self) -> bool:
        """Whether a network's own types can be binding; TensorRT for RTX knows nothing else."""
        return self.flavor == "tensorrt_rtx" or has(self.trt, "NetworkDefinitionCreationFlag", "STRONGLY_TYPED")


def has(owner: Any, *names: str) -> bool:
    """Whether `owner.a.b` exists."""
    for name in names:
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True


@functools.cache
def log_of(trt: Any) -> Any:
    """The recording logger of a library: there is one a process, whatever is handed in later."""

    class Recording(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[tuple[Any, str]] = []

        def log(self, severity: Any, message: str) -> None:
            if len(self.lines) < _MAX_LINES:
                self.lines.append((severity, message))

        def first_error(self) -> str:
            bad = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)
            found = next((text for severity, text in self.lines if severity in bad), "it gave no reason")
            return str(found).strip().splitlines()[0]

    return Recording()


def open_library(flavor: str) -> Library:
    """Import it. Raises `EngineError` that says what is missing and how to get it on this kind of machine."""
    try:
        library = Library(flavor, importlib.import_module(flavor))
    except ImportError as error:
        missing = error.name == flavor
        what = "is not installed" if missing else f"cannot be loaded ({error})"
        raise EngineError(flavor, what, how_to_get(flavor)) from None
    if flavor == "tensorrt_rtx" and library.numbers[:3] < RTX_OLDEST:
        raise EngineError(f"tensorrt_rtx {library.version}", "refuses INT8 convolutions", how_to_get(flavor))
    if flavor == "tensorrt" and library.numbers[:2] < (8, 6):
        raise EngineError(f"TensorRT {library.version}", "is older than 8.6", "use JetPack 6 or newer")
    return library


def how_to_get(flavor: str, release: Path = Path("/etc/nv_tegra_release"), machine: str | None = None) -> str:
    """The remedy for a missing TensorRT, by the kind of machine."""
    machine = machine or platform.machine()
    if flavor == "tensorrt_rtx":
        return "install it with `pip install 'tensorrt-rtx-cu13>=1.7.1.116'` (about 100 MB; RTX cards, not Jetson)"
    if release.exists():
        return (
            "JetPack brings it: `sudo apt install python3-libnvinfer libnvonnxparsers-dev`, and make the virtual "
            "environment with `python3 -m venv --system-site-packages`"
        )
    if machine == "aarch64":
        return "on a Jetson JetPack brings it (python3-libnvinfer); on other ARM machines `pip install tensorrt-cu13`"
    return (
        "install it with `pip install tensorrt-cu12` (CUDA 12) or `pip install tensorrt-cu13` (CUDA 13; several GB, "
        "NVIDIA driver needed), or try --flavor tensorrt_rtx; --engine onnxruntime runs on the CPU without it"
    )
