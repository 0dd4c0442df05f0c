"""What a DLA needs that a GPU does not, up to TensorRT 10: a range for every tensor, and a word for every convolution.

TensorRT 10.7 is the last of these with DLAs. From 11.4.1 on they read the network's own types and Q/DQ, as a GPU does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engines.plans.derived_ranges import LARGEST
from engines.tensorrt_library import Library, has

_HEADING = "Layers Running on DLA"
# With what kind of layer it is, or without: TensorRT has written both.
_ROW = re.compile(r"\[(Dla|Gpu)Layer\] (?:([A-Z_0-9]+): )?(.+)")
_ONLY_MOVES = {"COPY", "REFORMAT", "NOOP"}  # to and from what they name
_NOT_OBEYED = re.compile(r"No implementation of layer (.+?) obeys")
_FOREIGN = re.compile(r"\{ForeignNode\[(.+?)\]\}")


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

    `asked_in_int8`: convolutions that have a range on either side. `on_dla`, `on_gpu`: rows of what runs there; None
    where the log tells of no DLA. `not_obeyed`: rows of what has another precision than was asked for.
    """

    asked_in_int8: tuple[str, ...]
    on_dla: tuple[str, ...] | None
    on_gpu: tuple[str, ...]
    not_obeyed: tuple[str, ...]

    def runs(self, layer: str, order: Sequence[str]) -> bool:
        """Whether the DLA runs a layer: where that is not sure, not. `order`: the network's layers."""
        here, there = (any(names(row, layer, order) for row in rows) for rows in (self.on_dla or (), self.on_gpu))
        return here and not there

    def precision(self, layer: str, order: Sequence[str]) -> str:
        """Of a layer on the DLA: nothing tells what is inside a piece for it but what was asked, and obeyed."""
        was_refused = any(names(row, layer, order) for row in self.not_obeyed)
        return "int8" if layer in self.asked_in_int8 and not was_refused else "float"


def told(messages: Iterable[str], asked_in_int8: Iterable[str]) -> DlaBuild:
    """Read it out of a builder's log."""
    text = "\n".join(messages)
    rows: dict[str, list[str]] = {"Dla": [], "Gpu": []}
    for where, kind, row in _ROW.findall(text):
        if kind not in _ONLY_MOVES:
            rows[where].append(row)
    on_dla = tuple(rows["Dla"]) if _HEADING in text else None
    return DlaBuild(tuple(asked_in_int8), on_dla, tuple(rows["Gpu"]), tuple(_NOT_OBEYED.findall(text)))


def names(row: str, layer: str, order: Sequence[str]) -> bool:
    """Whether a row names a layer: by itself, fused with others, or between the two ends of a piece of the network.

    `order`: the network's layers. A piece of whose ends one is not among them names nothing but its ends.
    """
    for piece in _FOREIGN.findall(row):
        first, _, last = piece.partition("...")
        if layer in (first, last):
            return True
        if first in order and last in order and order.index(first) < order.index(layer) < order.index(last):
            return True
    rest = _FOREIGN.sub("", row)
    return re.search(rf"(?<![\w/.]){re.escape(layer)}(?![\w/.])", rest) is not None
