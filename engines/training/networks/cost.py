"""What a network costs: parameters, and the multiplications and additions of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Cost:
    """`flops` count a multiplication and an addition as two, of convolutions and matrix products alone."""

    parameters: int
    flops: int

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.2f} M parameters, {self.flops / 1e9:.2f} GFLOP"


def cost_of(network: nn.Module, width: int, height: int) -> Cost:
    """Count by running one image of this size through the network and looking at what each layer puts out."""
    flops = 0

    def count(layer: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal flops
        if isinstance(layer, nn.Conv2d):
            per_value = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, nn.Linear):
            per_value = layer.in_features
        else:
            return
        flops += 2 * per_value * output.numel()

    hooks = [layer.register_forward_hook(count) for layer in network.modules()]
    was_training = network.training
    network.eval()
    try:
        device = next(network.parameters()).device
        with torch.no_grad():
            network(torch.zeros(1, 3, height, width, device=device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return Cost(sum(p.numel() for p in network.parameters()), flops)
