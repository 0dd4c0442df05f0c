"""An exported network in torch, in which every value is rounded that INT8 rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from torch import Tensor, nn

from engines.quantize.float_network import FloatNetwork, Layer
from engines.quantize.placement import Placement, quantised
from engines.training.qat.operators import apply

_LOWEST, _HIGHEST = -128, 127  # of an activation
_LARGEST_WEIGHT = 127  # symmetric, as `placement` stores weights


class _Rounded(torch.autograd.Function):
    """Rounded to steps, half to even, and saturated. Backward the gradient goes through as if nothing had been
    rounded, and is 0 where it saturates: the straight-through estimator (Bengio et al. 2013, as in Jacob et al. 2018).
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
        steps = value / scale
        ctx.save_for_backward((steps >= lowest) & (steps <= highest))
        return steps.round().clamp(lowest, highest) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * ctx.saved_tensors[0], None, None, None


def _rounded(value: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
    found: Tensor = _Rounded.apply(value, scale, lowest, highest)  # type: ignore[no-untyped-call]
    return found


class FakeQuantised(nn.Module):
    """A float network with a rounding wherever `placement` has a pair; the layers' weights and biases are trained.

    `scales` by tensor, of which a group takes its largest, stay as they are. A weight's scale follows the weight, one
    an output channel.
    """

    def __init__(self, network: FloatNetwork, placement: Placement, scales: Mapping[str, float]) -> None:
        super().__init__()
        self._network, self._placement, self._given = network, placement, dict(scales)
        self._layers: dict[str, Layer] = {layer.name: layer for layer in placement.layers}
        trained = [
            name for node in network.proto.graph.node if node.output[0] in self._layers for name in node.input[1:]
        ]
        self._places = {name: number for number, name in enumerate(dict.fromkeys(trained))}
        self.trained = nn.ParameterList(torch.tensor(network.weights[name]) for name in self._places)
        self._constants: dict[str, str] = {}
        for name, value in network.weights.items():
            if name not in self._places and value.dtype == np.float32:
                self._constants[name] = f"constant{len(self._constants)}"
                self.register_buffer(self._constants[name], torch.tensor(value), persistent=False)
        self._scale_places: dict[str, str] = {}
        for number, group in enumerate(placement.groups):
            of_group = torch.tensor(max(scales[name] for name in group), dtype=torch.float32)
            self.register_buffer(f"scale{number}", of_group)
            self._scale_places |= dict.fromkeys(group, f"scale{number}")
        self._attributes = [
            {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            for node in network.proto.graph.node
        ]

    def forward(self, images: Tensor, wanted: str | None = None) -> Tensor:
        """Images (B, 3, H, W), as the file takes them -> the tensor `wanted`, or the file's output."""
        graph = self._network.proto.graph
        wanted = wanted or graph.output[0].name
        values: dict[str, Any] = {graph.input[0].name: images}
        behind: dict[str, Tensor] = {}

        def value_of(name: str) -> Any:
            if not name:
                return None
            if name in values:
                return values[name]
            if name in self._places:
                return self.trained[self._places[name]]
            if name in self._constants:
                return getattr(self, self._constants[name])
            return self._network.weights[name]  # whole numbers: shapes, places

        def rounded(name: str) -> Tensor:
            if name not in behind:
                scale = getattr(self, self._scale_places[name])
                behind[name] = _rounded(value_of(name), scale, _LOWEST, _HIGHEST)
            return behind[name]

        for node, attributes in zip(graph.node, self._attributes, strict=True):
            layer = self._layers.get(node.output[0])
            if layer is not None:
                inputs = [rounded(layer.data), self._weight(layer), *map(value_of, node.input[2:])]
            else:
                is_read = [(node.output[0], name) in self._placement.readers for name in node.input]
                inputs = [rounded(n) if r else value_of(n) for n, r in zip(node.input, is_read, strict=True)]
            values[node.output[0]] = apply(node.op_type, inputs, attributes)
            if node.output[0] == wanted:
                break
        found: Tensor = values[wanted]
        return found

    def _weight(self, layer: Layer) -> Tensor:
        weight = self.trained[self._places[layer.weight]]
        others = [axis for axis in range(weight.ndim) if axis != layer.channel_axis]
        scale = weight.detach().abs().amax(others, keepdim=True) / _LARGEST_WEIGHT
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        return _rounded(weight, scale, -_LARGEST_WEIGHT, _LARGEST_WEIGHT)

    def file(self) -> Any:
        """The INT8 network as it is now, an `onnx.ModelProto`: its pairs with these scales, its weights in S8."""
        proto = ModelProto()
        proto.CopyFrom(self._network.proto)
        for tensor in proto.graph.initializer:
            if tensor.name in self._places:
                value: NDArray[Any] = self.trained[self._places[tensor.name]].detach().cpu().numpy()
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return quantised(FloatNetwork(proto, self._network.where), self._placement, self._given)
