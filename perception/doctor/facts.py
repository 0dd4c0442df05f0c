"""What is asked of a machine, as it comes: texts of files, outputs of commands, versions of libraries.

Nothing here is judged. `this_machine.py` answers for the machine that runs this; the tests answer for machines that
were recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from engines.gpu import Gpu

__all__ = ["MODULES", "CudaDriver", "Gpu", "Machine", "Module", "Ran", "Room"]

# Python packages that are looked at, each in a process of its own: a broken one may crash.
MODULES = ("onnxruntime", "openvino", "av", "tensorrt", "tensorrt_rtx", "pycuda")


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended: its exit code, and what it printed on both streams."""

    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Module:
    """A Python package that is installed: its version, or why it cannot be imported.

    `details` by package: `av` has `decoders` and `encoders`; `pycuda` has `cuda`, what it was built against; `tensorrt`
    and `tensorrt_rtx` have `cuda`, where their wheel's name says it; `openvino` has `onnx`: is that package there?
    """

    version: str = ""
    failure: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CudaDriver:
    """The CUDA driver's own word. `code` is what cuInit gave (0: it works); None: there is no libcuda.so.1."""

    code: int | None = None
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes of a file system."""

    free: int
    total: int


class Machine(Protocol):
    """One machine. No call raises: what cannot be known is None, or empty."""

    @property
    def architecture(self) -> str:
        """As `uname -m` has it."""

    @property
    def python(self) -> str:
        """Major and minor version of the Python that runs this, `3.10`."""

    @property
    def sees_system_packages(self) -> bool:
        """Whether the system's Python packages can be imported: no virtual environment, or one that lets them in."""

    @property
    def cores(self) -> int:
        """CPU cores that this process may use."""

    def read(self, path: str) -> str | None:
        """A file's text; None where it is not there or may not be read."""

    def paths(self, pattern: str) -> tuple[str, ...]:
        """Paths that fit a shell pattern, sorted."""

    def may_use(self, path: str) -> bool:
        """Whether this user may read and write it."""

    def run(self, *command: str) -> Ran | None:
        """Run a command that changes nothing; None where there is no such program."""

    def module(self, name: str) -> Module | None:
        """One of `MODULES`; None where it is not installed."""

    def cuda(self) -> CudaDriver:
        """What the CUDA driver says."""

    def room(self, path: str) -> Room | None:
        """The file system that a folder is on."""
