"""Channels that matter least are taken away, a block at a time, until a network costs as little as asked.

A block is `multiple` channels of one group: of all convolutions that a sum, a concatenation or a BatchNorm ties
together. What channels are worth is measured once, on the network as it was trained. Always the block that matters
least goes next, of whichever group; so layers keep different shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engines.errors import TrainingError
from engines.training.networks.blocks import ConvBnRelu, Residual
from engines.training.networks.cost import cost_of

IMPORTANCES = ("magnitude", "taylor")
MULTIPLES = (8, 16, 32)
NARROWEST = 0.25  # of a layer's width: less of one layer costs more than it saves, and a layer without channels is none
_TINY = 1e-30  # in place of the mean of a group whose channels are all worth nothing


@dataclass(frozen=True, slots=True)
class PruningRequest:
    """What is asked for.

    `multiple`: channels stay multiples of it. TensorRT stores INT8 in vectors of 4 or 32 channels (Developer Guide,
    "Data Format Descriptions": kCHW4, kCHW32), and ONNX Runtime's float convolutions work on blocks of 8 channels
    with AVX2, 16 with AVX-512 and on ARM64 (`MlasNchwcGetBlockSize`): what is missing to a whole vector is padded, and
    computed all the same. Of nano's FLOPs 30 % gone in multiples of 8, 16, 32: 17, 28, 28 % of its time (AVX-512).
    `keep`: beginnings of the names of layers that keep all their channels, as what the network puts out always does.
    """

    share: float  # of the FLOPs, to be removed
    importance: str = "magnitude"
    multiple: int = 16
    keep: tuple[str, ...] = field(default=())


def prune_network(
    network: nn.Module, size: tuple[int, int], request: PruningRequest, add_gradients: Callable[[], None]
) -> None:
    """Take channels away, in place, until `share` of the FLOPs at this input size are gone, by a block more at most.

    `add_gradients` leaves each weight with its gradient of the loss: asked for by the importance `taylor` alone.
    Raises `TrainingError` where the share cannot be reached, or a name in `keep` is no layer's.
    """
    import torch_pruning

    if request.importance == "taylor":  # |weight x gradient|, the first order of Molchanov et al. 2019
        add_gradients()
        score = torch_pruning.importance.GroupTaylorImportance(normalizer=None)
    else:  # squared weights of all that a channel takes part in (Fang et al. 2023, section 3.3)
        score = torch_pruning.importance.GroupMagnitudeImportance(p=2, normalizer=None)
    kept = kept_layers(network, request.keep)
    example = torch.zeros(1, 3, size[1], size[0], device=next(network.parameters()).device)
    graph = torch_pruning.DependencyGraph().build_dependency(network.eval(), example_inputs=example)

    # A group by one convolution of it, and what each of its channels is worth. Weights of one layer are larger than
    # those of another for reasons of their own: what counts is what a channel is worth beside the others of its group.
    worth: dict[nn.Conv2d, Tensor] = {}
    for group in graph.get_all_groups(ignored_layers=kept, root_module_types=[nn.Conv2d]):
        values = score(group).cpu()
        worth[group[0].dep.target.module] = values / values.mean().clamp(min=_TINY)
    narrowest = {layer: max(request.multiple, NARROWEST * layer.out_channels) for layer in worth}
    before = cost_of(network, *size).flops
    while (flops := cost_of(network, *size).flops) > before * (1 - request.share):
        blocks = []
        for layer, values in worth.items():
            surplus = layer.out_channels % request.multiple or request.multiple
            if layer.out_channels - surplus >= narrowest[layer]:
                least = values.argsort()[:surplus]
                blocks.append((float(values[least].mean()), sorted(least.tolist()), layer))
        if not blocks:
            raise TrainingError(
                f"--flops {request.share:g}",
                f"{1 - flops / before:.0%} can be removed: no layer may be narrower than a quarter, "
                f"nor than {request.multiple} channels",
                "ask for less, keep fewer layers, or train a smaller network",
            )
        _, channels, layer = min(blocks, key=lambda block: block[0])
        graph.get_pruning_group(layer, torch_pruning.prune_conv_out_channels, channels).prune()
        stays = torch.ones(len(worth[layer]), dtype=torch.bool)
        stays[channels] = False
        worth[layer] = worth[layer][stays]
    network.zero_grad(set_to_none=True)


def kept_layers(network: nn.Module, keep: tuple[str, ...]) -> list[nn.Module]:
    """Convolutions that keep their channels: what the network puts out, and those of the names. `TrainingError`."""
    named: list[tuple[str, Any]] = [(name, part) for name, part in network.named_modules() if name]
    for asked in keep:
        if not any(name == asked or name.startswith(f"{asked}.") for name, _ in named):
            first = ", ".join(dict.fromkeys(name.partition(".")[0] for name, _ in named))
            raise TrainingError(f"--keep {asked}", "names no layer", f"begin with one of {first}")
    inner = {id(block.conv) for block in network.modules() if isinstance(block, ConvBnRelu | Residual)}
    return [
        layer
        for name, layer in named
        if isinstance(layer, nn.Conv2d)
        and (id(layer) not in inner or any(name.startswith(f"{asked}.") or name == asked for asked in keep))
    ]
