"""Optimisers, the learning rate over a training, and the running average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

OptimiserName = Literal["adam", "adamw", "rmsprop", "sgd"]

# Each with the settings that its paper or long use made usual; the rate changes with every step. Fused, where torch has
# that: one call for all tensors, in half the time.
_OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda groups: torch.optim.Adam(groups, betas=(0.9, 0.999), fused=True),  # Kingma and Ba 2015
    "adamw": lambda groups: torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True),  # Loshchilov and Hutter 2019
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, alpha=0.9, eps=1e-3, momentum=0.9),  # as MobileNet has it
    "sgd": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True, fused=True),
}
RATES: dict[str, float] = {"adam": 1e-3, "adamw": 2e-3, "rmsprop": 5e-4, "sgd": 1e-2}  # where none is asked for
FINAL_RATE = 0.02  # of the full rate, at the end


def make_optimiser(name: str, network: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Make one; only weights of two or more axes decay, never a bias or a BatchNorm."""
    decaying = [p for p in network.parameters() if p.ndim > 1]
    steady = [p for p in network.parameters() if p.ndim <= 1]
    return _OPTIMISERS[name](
        [{"params": decaying, "weight_decay": weight_decay}, {"params": steady, "weight_decay": 0.0}]
    )


def learning_rate(step: int, progress: float, *, full: float, warm_up_steps: int) -> float:
    """The rate at a step: linear warm-up, then half a cosine (Loshchilov and Hutter 2017, SGDR, equation 5).

    `progress` 0..1 of the whole training.
    """
    cosine = FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    return full * cosine * min(1.0, (step + 1) / max(1, warm_up_steps))


Network = TypeVar("Network", bound=nn.Module)


class Average(Generic[Network]):
    """Running average of a network's weights (Polyak and Juditsky 1992), which is what is evaluated and shipped.

    Early on the average forgets faster, as in TensorFlow's `ExponentialMovingAverage`: (1 + step) / (10 + step).
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Take in the weights after a step, and BatchNorm's statistics, which belong to them."""
        decay = min(self._decay, (1 + step) / (10 + step))
        averages, values = _tensors(self.network), _tensors(network)
        real = [position for position, average in enumerate(averages) if average.is_floating_point()]
        torch._foreach_lerp_([averages[i] for i in real], [values[i].detach() for i in real], 1 - decay)
        for average, value in zip(averages, values, strict=True):
            if not average.is_floating_point():
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights."""
        return self.network.state_dict()


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
