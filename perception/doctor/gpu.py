"""The GPU, its driver, and CUDA."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from perception.doctor.facts import Machine
from perception.doctor.finding import Finding, Group
from perception.doctor.jetpack import OLDEST
from perception.doctor.kind import DRIVER_FOR_CUDA, Kind, major

GROUP = Group("GPU")
KERNEL_DRIVER = "/proc/driver/nvidia/version"
TOOLKIT = "/usr/local/cuda/version.json"
QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
POWER = ("nvpmodel", "-q")

_NO_DEVICE = 100  # what cuInit gives, by cuda.h
_CODES = {
    34: "libcuda.so.1 is a stub, made for linking alone",
    _NO_DEVICE: "it finds no device",
    802: "the system is not ready",
    803: "the kernel's driver and its libraries are of different versions",
    804: "the compatibility library does not run on this GPU",
    999: "it ends with an unknown error",
}


def look(machine: Machine, kind: Kind) -> Iterator[Finding]:
    """GPU, driver and toolkit; on a Jetson JetPack and power mode."""
    yield _gpu(machine, kind)
    yield _driver(machine, kind)
    yield _toolkit(machine, kind)
    yield _jetpack(kind)
    yield _power_mode(machine, kind)


def _gpu(machine: Machine, kind: Kind) -> Finding:
    if kind.cuda.gpus:
        memory = _memory(machine)
        named = [f"{gpu.name} ({gpu.architecture}{memory})" for gpu in kind.cuda.gpus]
        alike = len(set(named)) == 1 and len(named) > 1
        return GROUP.ok("GPU", f"{len(named)} of {named[0]}" if alike else ", ".join(named))
    if not kind.has_card:
        return GROUP.not_needed("GPU", "no NVIDIA GPU: networks run on the CPU")
    return GROUP.missing("GPU", "there is one, and no driver that gives it to programs", "see the driver, below")


def _memory(machine: Machine) -> str:
    """Of the first GPU. A Jetson's is the machine's own, and nvidia-smi says `[N/A]`."""
    ran = machine.run(*QUERY)
    found = re.search(r",\s*(\d+) MiB", ran.output) if ran and ran.code == 0 else None
    return f", {int(found[1]) / 1024:.0f} GiB" if found else ""


def _driver(machine: Machine, kind: Kind) -> Finding:
    if not kind.has_card:
        return GROUP.not_needed("driver", "no NVIDIA GPU")
    version = _driver_version(machine)
    named = f"{version}: " if version else ""
    if kind.gpu:
        return _driver_age(machine, kind, version)
    told = machine.run(*QUERY)
    said = told.output.strip().splitlines()[0] if told and told.code and told.output.strip() else ""
    if kind.cuda.code is None:
        if kind.in_container and not told:
            return GROUP.missing("driver", "this container was not given the GPU", _driver_remedy(kind))
        if not version and not told:
            return GROUP.missing("driver", "there is none", _driver_remedy(kind))
        what = said or "its library libcuda.so.1 is not there"
        return GROUP.problem("driver", f"{named}{what}", _driver_remedy(kind, is_there=True))
    code = _CODES.get(kind.cuda.code, f"cuInit gives {kind.cuda.code}")
    if kind.cuda.code == 803 or "version mismatch" in said:
        return GROUP.problem("driver", f"{named}{_CODES[803]}", "it was updated while it ran: restart the machine")
    if kind.cuda.code == _NO_DEVICE and told and not told.code:
        what = f"{named}nvidia-smi finds the GPU, and CUDA is not shown it"
        return GROUP.problem(
            "driver", what, "look at CUDA_VISIBLE_DEVICES in the environment: unset it, or name the GPU"
        )
    return GROUP.problem("driver", f"{named}{said or code}", _driver_remedy(kind, is_there=True))


def _driver_version(machine: Machine) -> str:
    """The kernel's own, `580.95.05`."""
    found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", machine.read(KERNEL_DRIVER) or "")
    return found[1] if found else ""


def _driver_age(machine: Machine, kind: Kind, version: str) -> Finding:
    """Whether the driver runs the CUDA that what is installed was made for."""
    assert kind.gpu
    runs = f"{version or 'of unknown version'}, runs CUDA up to {kind.gpu.cuda}"
    if kind.is_jetson:
        return GROUP.ok("driver", runs)  # JetPack's own, and all of JetPack fits it
    wanted = {
        name: major(str(module.details.get("cuda", "")))
        for name in ("tensorrt", "tensorrt_rtx", "pycuda")
        if (module := machine.module(name))
    }
    too_new = {name: cuda for name, cuda in wanted.items() if cuda > kind.cuda_major}
    if too_new:
        cuda = max(too_new.values())
        names = " and ".join(f"{name} (CUDA {asked})" for name, asked in too_new.items())
        newer = f"driver {DRIVER_FOR_CUDA[cuda]} or newer" if cuda in DRIVER_FOR_CUDA else "a newer driver"
        return GROUP.problem("driver", f"{runs}; {names} cannot run on it", f"install {newer}, and restart the machine")
    if kind.cuda_major < min(DRIVER_FOR_CUDA):
        return GROUP.missing(
            "driver",
            f"{runs}: too old for TensorRT's packages",
            f"install driver {DRIVER_FOR_CUDA[min(DRIVER_FOR_CUDA)]} or newer, and restart the machine",
        )
    return GROUP.ok("driver", runs)


def _driver_remedy(kind: Kind, *, is_there: bool = False) -> str:
    if kind.in_container and not kind.is_jetson:
        return "start the container with `--gpus all` (Docker) or `--device nvidia.com/gpu=all` (Podman)"
    if kind.in_container:
        return "start the container with `--runtime nvidia`"
    if kind.is_jetson:
        return "it is part of JetPack; let this user at it: `sudo usermod -aG video,render $USER`, and log in again"
    if is_there:
        return "restart the machine; with Secure Boot the driver has to be signed. Else install it anew"
    return "install NVIDIA's driver (Ubuntu: `sudo ubuntu-drivers install`); networks run on the CPU without it"


def _toolkit(machine: Machine, kind: Kind) -> Finding:
    if not kind.has_card:
        return GROUP.not_needed("CUDA toolkit", "no NVIDIA GPU")
    if kind.is_too_old:
        return GROUP.not_needed("CUDA toolkit", "JetPack is too old to use the GPU")
    if found := toolkit_version(machine):
        return GROUP.ok("CUDA toolkit", found)
    if kind.is_jetson:
        remedy = "`sudo apt install nvidia-jetpack`, and put /usr/local/cuda/bin on the PATH"
    else:
        remedy = f"NVIDIA's package cuda-toolkit of CUDA {kind.gpu.cuda if kind.gpu else '12'} or older"
    return GROUP.missing("CUDA toolkit", "no nvcc: pycuda cannot be built, nor kernels compiled", remedy)


def toolkit_version(machine: Machine) -> str:
    """What is in /usr/local/cuda, else what nvcc says; empty where there is none."""
    try:
        return str(json.loads(machine.read(TOOLKIT) or "")["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        pass
    for nvcc in ("nvcc", "/usr/local/cuda/bin/nvcc"):
        ran = machine.run(nvcc, "--version")
        if ran and (found := re.search(r"release (\d+\.\d+)", ran.output)):
            return found[1]
    return ""


def _jetpack(kind: Kind) -> Finding:
    if not kind.is_jetson:
        return GROUP.not_needed("JetPack", "no Jetson")
    if kind.jetpack is None:
        where = "in this container" if kind.in_container else "in /etc/nv_tegra_release"
        return GROUP.missing(
            "JetPack", f"its version is not {where}", "mount /etc/nv_tegra_release, or flash the board"
        )
    brings = " and ".join(
        f"{name} {version}"
        for name, version in (("TensorRT", kind.jetpack.tensorrt), ("CUDA", kind.jetpack.cuda))
        if version
    )
    found = f"{kind.jetpack.version} (L4T {kind.l4t})" + (f", with {brings}" if brings else "")
    if not kind.jetpack.is_supported:
        return GROUP.problem(
            "JetPack",
            f"{found}: TensorRT 8.6 and Python 3.10 are needed",
            f"flash JetPack {OLDEST} or newer (Orin and newer boards; older ones run networks on the CPU)",
        )
    return GROUP.ok("JetPack", found)


def _power_mode(machine: Machine, kind: Kind) -> Finding:
    if not kind.is_jetson:
        return GROUP.not_needed("power mode", "no Jetson")
    ran = machine.run(*POWER)
    said = re.search(r"NV Power Mode:\s*(\S+)", ran.output) if ran else None
    if ran is None or said is None:
        what = "nvpmodel is not there" if ran is None else "nvpmodel does not tell it"
        return GROUP.missing("power mode", what, "on the board itself: `sudo apt install nvidia-l4t-nvpmodel`")
    fastest = _fastest_mode(machine.read("/etc/nvpmodel.conf") or "")
    if fastest and fastest[0] != said[1]:
        return GROUP.ok(
            "power mode",
            f"{said[1]}; {fastest[0]} is the fastest",
            f"for the most speed, where power and cooling allow: `sudo nvpmodel -m {fastest[1]}`",
        )
    return GROUP.ok("power mode", said[1])


def _fastest_mode(settings: str) -> tuple[str, str] | None:
    """Name and number of the mode without caps: MAXN_SUPER where there is one, else MAXN."""
    modes = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", settings)
    for wanted in ("MAXN_SUPER", "MAXN"):
        for number, name in modes:
            if name == wanted:
                return name, number
    return None
