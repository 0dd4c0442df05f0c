"""The GPU that a plan is for, by the driver's own word. No driver is no error here: the caller decides."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device. `architecture` is `sm_87`; `cuda` is the newest CUDA that its driver runs, `12.6`."""

    name: str
    architecture: str
    cuda: str

    def facts(self) -> dict[str, Any]:
        """For a passport."""
        return asdict(self)


def find_gpu(index: int = 0) -> Gpu | None:
    """Ask the driver; None where there is no driver or no such device."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    calls: tuple[Callable[[], int], ...] = (
        lambda: cuda.cuInit(0),
        lambda: cuda.cuDeviceGet(ctypes.byref(device), index),
        lambda: cuda.cuDeviceGetName(name, len(name), device),
        lambda: cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        lambda: cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
        lambda: cuda.cuDriverGetVersion(ctypes.byref(version)),
    )
    if any(call() != 0 for call in calls):
        return None
    runs = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), f"sm_{major.value}{minor.value}", runs)


def why_no_gpu() -> tuple[str, str]:
    """Where `find_gpu` finds none: what is missing, and how to get it on this kind of machine."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        remedy = (
            "JetPack brings it: in a container, start that with `--runtime nvidia`"
            if is_jetson()
            else "install NVIDIA's driver for this system; in a container, start that with `--gpus all`"
        )
        return "there is no NVIDIA driver (libcuda.so.1)", remedy
    return "the NVIDIA driver finds no GPU", "see what `nvidia-smi` says; in a container, start that with `--gpus all`"


def driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The kernel driver's version, `580.95.05`; None where there is none."""
    with suppress(OSError):
        if found := re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", path.read_text(errors="replace")):
            return found[1]
    return None


def power_mode(path: Path = Path("/var/lib/nvpmodel/status")) -> str | None:
    """The power mode that a Jetson was last set to, `0002`; None elsewhere."""
    with suppress(OSError):
        if found := re.search(r"pmode:(\w+)", path.read_text(errors="replace")):
            return found[1]
    return None


def is_jetson(release: Path = Path("/etc/nv_tegra_release")) -> bool:
    """Whether this machine is one: JetPack brings its CUDA and TensorRT."""
    return release.exists()
