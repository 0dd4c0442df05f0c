"""Builds the stand-in for NVIDIA's driver of host_driver.c, and the kernels that it launches."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import host_device
import pytest

from engines.gpu import find_gpu

SOURCE = Path(__file__).with_suffix(".c")

needs_pycuda = pytest.mark.skipif(
    find_spec("pycuda") is None or shutil.which("gcc") is None or find_gpu() is not None,
    reason="needs pycuda and gcc, and no GPU: pip install pycuda (see README), apt install gcc",
)


def build(folder: Path) -> dict[str, str]:
    """Make libcuda.so.1 in `folder`; give the environment in which it is found."""
    (extension,) = Path((find_spec("pycuda") or pytest.skip("no pycuda")).submodule_search_locations[0]).glob(
        "_driver*.so"
    )
    undefined = _output("nm", "-D", "--undefined-only", str(extension))
    known = set(re.findall(r"^int (cu[A-Z]\w+)\(", SOURCE.read_text(), re.MULTILINE))
    missing = sorted(set(re.findall(r"\b(cu[A-Z]\w+)", undefined)) - known)
    rest = folder / "rest.c"
    rest.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in missing))
    library = folder / "libcuda.so.1"
    flags = ["-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1"]
    _output("gcc", *flags, "-o", str(library), str(SOURCE), str(rest), "-ldl")
    stand_in = folder / "stand_in.so"
    here = Path(__file__).parent
    program = folder / "stand_in.cpp"
    program.write_text(
        '#include "host_cuda.h"\n#include "stand_in.cu"\nHOST_KERNEL(stand_in_infer, StandInArguments, true)\n'
    )
    folders = [f"-I{here / 'engines' / 'kernels'}", f"-I{here / 'gpu'}"]
    _output("g++", *host_device._FLAGS, *folders, "-o", str(stand_in), str(program))
    kernels = f"{host_device._library()._name}:{stand_in}"
    return {"LD_LIBRARY_PATH": str(folder), "HOST_KERNELS": kernels}


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
