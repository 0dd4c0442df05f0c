"""How a network is trained: every setting with its unit, and its reason where it is not plain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Settings:
    """One training. `recipe` is what a resumed one must have in common with the one that it goes on with."""

    network: str = "nano"  # see `tasks.py`: its name says what kind of network it is
    width: int = 416  # pixels of the input, multiples of 32; cameras are wide
    height: int = 256
    batch: int = 16  # pictures a step, of all processes together
    accumulate: int = 1  # parts that a process does its share of a batch in, for memory
    epochs: float = 100.0  # times as many pictures as there are images
    minutes: float | None = None  # the length instead, by the clock: then no two runs are quite equal
    optimiser: str = "adamw"
    rate: float | None = None  # the highest; None: what is usual for the optimiser
    weight_decay: float = 0.02
    warm_up_steps: int = 200
    average_decay: float = 0.999
    clip: float = 20.0  # longest gradient (L2); longer ones are shortened
    freeze_norm: bool = False  # BatchNorm keeps its statistics: for fine-tuning, and small batches
    flip: bool = True  # pictures are shown mirrored too; the signs of a road mean something else then
    seed: int = 0

    @property
    def recipe(self) -> dict[str, Any]:
        """All but the length, as plain values."""
        values = asdict(self)
        del values["epochs"], values["minutes"]
        return values


@dataclass(frozen=True)
class Machine:
    """Where and how it is computed; a training may go on on another one."""

    device: str = "auto"  # auto, cpu, cuda, cuda:1
    precision: str = "auto"  # auto: bf16 where the device is quick at it, else fp32
    threads: int = 1
    workers: int = 0  # processes that make pictures; 0: the training's own
    checkpoint_seconds: float = 60.0
