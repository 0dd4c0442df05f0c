"""In which precision each convolution of a plan runs, and why one that has scales does not run in INT8.

Accepted is not INT8: the parser takes graphs in silence that then run in float. The builder says what it made, in the
table of its verbose log (`Layers:`, TensorRT for RTX) or by its inspector (JSON); the graph says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engines.plans.dla import DlaBuild, names
from engines.quantize.lint import FAULTS, lint

_ROW = re.compile(
    r"(?:^|\n)(?:Layers:\n)?Name: (?P<name>[^,\n]+), LayerType: (?P<kind>\w+), "
    r"Inputs: \[(?P<ins>.*?)\](?:, Constants: .*?)?, Outputs: (?P<outs>.*?), TacticName(?P<rest>[^\n]*)",
    re.S,
)
_TYPE = re.compile(r"Dimensions: .*?Datatype: (\w+)", re.S)
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_MISREAD = {"unsigned", "zero-point"}
_MOVES = ("Resize", "Concat", "MaxPool", "Reshape", "Transpose", "Slice", "Upsample")


@dataclass(frozen=True, slots=True)
class LayerPrecision:
    """A convolution. `runs_in`: `int8`, `int8-misread` (other numbers than were meant), `float`, `unknown`.

    `why` is what the graph has to do with it; `on_dla` whether it is in a piece that a DLA runs.
    """

    name: str
    has_scales: bool
    runs_in: str
    why: tuple[str, ...] = ()
    on_dla: bool = False


@dataclass(frozen=True, slots=True)
class LayerReport:
    """Every convolution of a network. `is_for_dla`: the plan is for one, and its builder told what runs there."""

    layers: tuple[LayerPrecision, ...]
    is_for_dla: bool = False

    @property
    def int8(self) -> int:
        """Convolutions that run in INT8 and read what was meant."""
        return sum(layer.runs_in == "int8" for layer in self.layers)

    @property
    def intended(self) -> int:
        """Convolutions that have scales."""
        return sum(layer.has_scales for layer in self.layers)

    @property
    def share(self) -> float:
        """Of all convolutions, those in INT8; 0 for none."""
        return self.int8 / len(self.layers) if self.layers else 0.0

    @property
    def on_dla(self) -> int:
        """Convolutions that a DLA runs; the others of a plan for one fell back to the GPU."""
        return sum(layer.on_dla for layer in self.layers)

    @property
    def dla_share(self) -> float:
        """Of all convolutions, those on the DLA; 0 for none."""
        return self.on_dla / len(self.layers) if self.layers else 0.0

    @property
    def surprises(self) -> list[LayerPrecision]:
        """Convolutions with scales that do not run as meant."""
        return [layer for layer in self.layers if layer.has_scales and (layer.runs_in != "int8" or layer.why)]

    def facts(self) -> dict[str, Any]:
        """For a passport."""
        where = {"on_dla": self.on_dla, "dla_share": round(self.dla_share, 4)} if self.is_for_dla else {}
        return {
            "convolutions": len(self.layers),
            "with_scales": self.intended,
            "in_int8": self.int8,
            "int8_share": round(self.share, 4),
            **where,
            "not_as_meant": {layer.name: list(layer.why) for layer in self.surprises},
        }


def builder_table(messages: Iterable[str]) -> list[tuple[str, str]]:
    """Rows (text, type of the first input) of the table in a builder's verbose log."""
    text = "\n".join(message for message in messages if message.startswith("Layers:"))
    rows = []
    for match in _ROW.finditer(text):
        types = _TYPE.findall(match["ins"])
        rows.append((match[0], types[0] if types else "?"))
    return rows


def inspector_table(text: str) -> list[tuple[str, str]]:
    """The same of an inspector's JSON (TensorRT 8.6 to 11): the format of the first input says its type.

    What a ForeignNode takes says nothing of the layers inside it: theirs is "?".
    """
    layers = json.loads(text).get("Layers", [])
    rows = []
    for layer in layers:
        if not isinstance(layer, dict):  # not built with DETAILED verbosity: only names
            continue
        first = (layer.get("Inputs") or [{}])[0]
        kind = str(first.get("DataType") or first.get("Format/Datatype") or first.get("Format") or "?")
        if "ForeignNode" in str(layer.get("Name")):
            kind = "?"
        rows.append((json.dumps(layer), kind))
    return rows


def layer_report(proto: Any, rows: list[tuple[str, str]], dla: DlaBuild | None = None) -> LayerReport:
    """Say for each convolution of an `onnx.ModelProto` what it became. `rows` may be empty: then nobody knows."""
    order = [node.name or node.output[0] for node in proto.graph.node]
    producers = {output: node for node in proto.graph.node for output in node.output}
    faults: dict[str, list[str]] = {}
    for fault in lint(proto):
        faults.setdefault(fault.node, []).append(fault.kind)
    layers = []
    for node in proto.graph.node:
        if node.op_type not in _CONVOLUTIONS:
            continue
        name = node.name or node.output[0]
        scaled = any(_is_dequantised(producers, tensor) for tensor in node.input[:2])
        is_on_dla = dla is not None and dla.runs(name, order)
        runs_in = dla.precision(name, order) if dla is not None and is_on_dla else _precision(name, rows)
        kinds = faults.get(name, [])
        if runs_in == "int8" and _MISREAD.intersection(kinds):
            runs_in = "int8-misread"
        why = [_reason(kind, node, producers) for kind in kinds]
        if scaled and not why and runs_in == "float":
            why.append(
                "no range of what it takes or gives follows from the scales"
                if dla is not None and name not in dla.asked_in_int8
                else f"this builder has no INT8 kernel for it on this {'DLA' if is_on_dla else 'GPU'}"
            )
        layers.append(LayerPrecision(name, scaled, runs_in, tuple(why), is_on_dla))
    return LayerReport(tuple(layers), dla is not None and dla.on_dla is not None)


def _precision(name: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return "unknown"
    kinds = [kind for text, kind in rows if kind != "?" and names(text, name, ())]
    if not kinds:
        return "unknown"
    return "int8" if any("int8" in kind.lower() for kind in kinds) else "float"


def _is_dequantised(producers: dict[str, Any], tensor: str) -> bool:
    return tensor in producers and producers[tensor].op_type == "DequantizeLinear"


def _reason(kind: str, node: Any, producers: dict[str, Any]) -> str:
    source = producers.get(node.input[0])
    if kind == "input-in-float" and source is not None and source.op_type in _MOVES:
        return f"{FAULTS[kind]}: no pair behind the {source.op_type} {source.name or source.output[0]}"
    return FAULTS[kind]
