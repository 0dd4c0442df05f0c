"""What kind of machine this is: it decides what is needed, and every remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from perception.doctor.facts import CudaDriver, Gpu, Machine
from perception.doctor.jetpack import RELEASE, JetPack, jetpack_of, l4t_version

_NVIDIA = "0x10de"  # PCI vendor
_DISPLAY = "0x03"  # PCI class of display and 3D controllers
RTX = {"sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121"}  # what TensorRT for RTX 1.7 builds for
# The oldest driver that runs a CUDA, by NVIDIA's release notes of the toolkit ("CUDA 12.x", "CUDA 13.x").
DRIVER_FOR_CUDA = {12: "525", 13: "580"}


@dataclass(frozen=True, slots=True)
class Kind:
    """`board` is the Jetson's name, empty elsewhere. `has_card`: an NVIDIA GPU is built in, whether it works or not."""

    board: str
    l4t: str
    jetpack: JetPack | None
    has_card: bool
    cuda: CudaDriver
    in_container: bool

    @property
    def is_jetson(self) -> bool:
        """Whether it is one of NVIDIA's modules, with TensorRT from JetPack."""
        return bool(self.board)

    @property
    def is_too_old(self) -> bool:
        """Whether it is a Jetson whose JetPack has nothing that its GPU could be used with."""
        return self.jetpack is not None and not self.jetpack.is_supported

    @property
    def gpu(self) -> Gpu | None:
        """The first GPU that the driver gives."""
        return self.cuda.gpus[0] if self.cuda.gpus else None

    @property
    def cuda_major(self) -> int:
        """The newest CUDA that the driver runs; 0 where none answers."""
        return major(self.gpu.cuda) if self.gpu else 0

    @property
    def in_words(self) -> str:
        """For the head of the report."""
        if self.is_jetson:
            return self.board
        where = ", in a container" if self.in_container else ""
        return f"A computer with an NVIDIA GPU{where}" if self.has_card else f"A computer without an NVIDIA GPU{where}"


def kind_of(machine: Machine) -> Kind:
    """Look at what cannot be installed: board, cards, container."""
    l4t = l4t_version(machine.read(RELEASE) or "")
    model = (machine.read("/proc/device-tree/model") or "").strip("\0\n ")
    board = model if "jetson" in model.lower() else "A Jetson" if l4t else ""
    cuda = machine.cuda()
    return Kind(
        board=board,
        l4t=l4t,
        jetpack=jetpack_of(l4t),
        has_card=bool(board or cuda.gpus) or _has_nvidia_on_pci(machine),
        cuda=cuda,
        in_container=any(machine.paths(mark) for mark in ("/.dockerenv", "/run/.containerenv")),
    )


def major(version: str) -> int:
    """The first number of a version; 0 where there is none."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def _has_nvidia_on_pci(machine: Machine) -> bool:
    for vendor in machine.paths("/sys/bus/pci/devices/*/vendor"):
        if (machine.read(vendor) or "").strip() == _NVIDIA:
            kind = machine.read(vendor.removesuffix("vendor") + "class") or ""
            if kind.startswith(_DISPLAY):
                return True
    return False
