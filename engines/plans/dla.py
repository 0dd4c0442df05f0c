"""What a DLA needs that a GPU does not, up to TensorRT 10: a range for every tensor, and a word for every convolution.

From 11.4.1 on a DLA reads the network's own types and its Q/DQ, as the GPU does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engines.plans.implicit_scales import LARGEST
from engines.tensorrt_library import Library, has

_HEADING = "Layers Running on DLA"
_FELL_BACK = re.compile(r"\[GpuLayer\] \w+: (.+)")
_NOT_OBEYED = re.compile(r"No implementation of layer (.+?) obeys")


def wants_implicit_scales(library: Library) -> bool:
    """Whether this TensorRT's DLA takes ranges in place of Q/DQ."""
    return library.flavor == "tensorrt" and has(library.trt, "ITensor", "set_dynamic_range")


def set_ranges(trt: Any, network: Any, scales: Mapping[str, float]) -> list[str]:
    """Give a parsed float network its ranges; give the names of the convolutions that have one on either side.

    Those are asked for in INT8, the others in halves: the builder would else take whichever is faster.
    """
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    tensors += [layer.get_output(index) for layer in layers for index in range(layer.num_outputs)]
    for tensor in tensors:
        if (scale := scales.get(tensor.name)) is not None:
            tensor.set_dynamic_range(-scale * LARGEST, scale * LARGEST)
    in_int8 = []
    for layer in layers:
        if layer.type not in (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION):
            continue
        is_whole = layer.get_input(0).name in scales and layer.get_output(0).name in scales
        layer.precision = trt.int8 if is_whole else trt.float16
        if is_whole:
            in_int8.append(str(layer.name))
    return in_int8


@dataclass(frozen=True, slots=True)
class DlaBuild:
    """What a builder said of a build for a DLA.

    `asked_in_int8`: convolutions that have a range on either side. `fell_back`: rows of what runs on the GPU; None
    where the log tells of no DLA. `not_obeyed`: layers in another precision than was asked for.
    """

    asked_in_int8: tuple[str, ...]
    fell_back: tuple[str, ...] | None
    not_obeyed: tuple[str, ...]

    def precision(self, name: str) -> str:
        """Of a convolution on the DLA: nothing tells what is inside a piece for it but what was asked, and obeyed."""
        return "int8" if name in self.asked_in_int8 and name not in self.not_obeyed else "float"


def told(messages: Iterable[str], asked_in_int8: Iterable[str]) -> DlaBuild:
    """Read it out of a builder's log."""
    text = "\n".join(messages)
    fell_back = tuple(_FELL_BACK.findall(text)) if _HEADING in text else None
    return DlaBuild(tuple(asked_in_int8), fell_back, tuple(_NOT_OBEYED.findall(text)))
