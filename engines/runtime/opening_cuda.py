"""CUDA as it is on this machine: by pycuda, or what is missing for it."""

from __future__ import annotations

from engines.errors import EngineMissingError
from engines.gpu import is_jetson
from engines.runtime.cuda import Cuda


def open_cuda(index: int) -> Cuda:
    """Open a device through pycuda. Raises `EngineMissingError` without pycuda, `CudaError` where it does not start."""
    try:
        from engines.runtime.pycuda import PyCuda
    except ImportError as error:
        raise EngineMissingError("pycuda", missing_pycuda(error), how_to_get_pycuda()) from None
    return PyCuda(index)


def missing_pycuda(error: ImportError) -> str:
    """Why it cannot be imported: it is not there, or what it needs is not."""
    return "is not installed" if error.name == "pycuda" else f"cannot be loaded ({error})"


def how_to_get_pycuda() -> str:
    """The remedy, by the kind of machine: it is compiled against the CUDA that is here."""
    compiler = "sudo apt install cuda-toolkit" if is_jetson() else "install NVIDIA's CUDA toolkit"
    return f"`pip install 'edge-perception[gpu]'` compiles it, with nvcc on the PATH ({compiler})"
