"""Where a training computes, in which precision, and beside which other processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from engines.errors import TrainingError

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Processes:
    """The trainers that work on one training together, as `torchrun` started them; alone: rank 0 of 1."""

    rank: int = 0
    local_rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one writes the files and shows the bar."""
        return self.rank == 0

    def mean(self, values: list[float]) -> list[float]:
        """The mean of each value over all of them, for the log. All have to ask."""
        if self.world == 1:
            return values
        together = torch.tensor(values, dtype=torch.float64)
        if torch.distributed.get_backend() == "nccl":
            together = together.to(f"cuda:{self.local_rank}", torch.float32)
        torch.distributed.all_reduce(together)
        return [float(value) for value in together / self.world]

    def any(self, said: bool) -> bool:
        """Whether it is true in any of them: none may leave a step that the others begin. All have to ask."""
        return self.mean([float(said)])[0] > 0

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Do the block in the first process, then in all others: what it writes they read."""
        if not self.is_first:
            torch.distributed.barrier()
        yield
        if self.is_first and self.world > 1:
            torch.distributed.barrier()

    def leave(self) -> None:
        """Wait for the others, and part."""
        if self.world > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()


def join_processes(device: str) -> Processes:
    """Meet the others where `torchrun` says there are some: over NCCL on GPUs, over gloo on CPUs."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes()
    processes = Processes(int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), world)
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if not torch.distributed.is_initialized():
        if on_gpu:
            torch.cuda.set_device(processes.local_rank)
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    return processes


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a name; `auto`: this process's GPU where there is one. Raises `TrainingError`."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TrainingError(f"--device {name}", "is unknown", "use auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise TrainingError(f"--device {name}", "there is no such GPU, or torch cannot use it", "use --device cpu")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """What convolutions compute in. `auto`: bf16 where the device multiplies it faster than fp32.

    That is: a GPU from Ampere on; an x86 CPU with AMX or AVX-512 BF16 (2.7 times as fast on one with AMX).
    """
    if name not in {"auto", "fp32", *_TYPES}:
        raise TrainingError(f"--precision {name}", "is unknown", "use auto, fp32, bf16 or fp16")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "fp32"
    return "bf16" if "amx_bf16" in flags or "avx512_bf16" in flags else "fp32"


def autocast_type(precision: str) -> torch.dtype | None:
    """Torch's type of a precision, None for fp32: no autocast."""
    return _TYPES.get(precision)
