"""How wide each convolution of a network is, written down beside its weights: a pruned one is built again from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from torch import nn

from engines.training.networks.blocks import ConvBnRelu, Residual

Widths: TypeAlias = Mapping[str, Sequence[int]]  # of each convolution, by its name: channels in, channels out


def widths_of(network: nn.Module) -> dict[str, list[int]]:
    """The widths of a network, plain enough for a checkpoint and a passport."""
    return {
        name: [layer.in_channels, layer.out_channels]
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d)
    }


def narrow(network: nn.Module, widths: Widths) -> None:
    """Give the convolutions named, and the BatchNorm behind each, these widths; their weights are new ones.

    A name that the network does not have is passed over: its weights will not fit then, and are refused.
    """
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d) and name in widths:
            inputs, outputs = widths[name]
            size, stride, padding = layer.kernel_size, layer.stride, layer.padding
            has_bias = layer.bias is not None
            network.set_submodule(name, nn.Conv2d(inputs, outputs, size, stride, padding, bias=has_bias))  # type: ignore[arg-type]
    for block in network.modules():
        if isinstance(block, ConvBnRelu | Residual) and isinstance(block.norm, nn.BatchNorm2d):
            before = block.norm
            block.norm = nn.BatchNorm2d(block.conv.out_channels, eps=before.eps, momentum=before.momentum)
