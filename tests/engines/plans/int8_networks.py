"""Two convolutions in INT8, `first` and `second`, and the same with one thing wrong that parsers take in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from engines.bundle import Bundle, load_bundle

CHANNELS, SIDE = 16, 32
STEP, ZERO = np.float32(0.05), np.int8(0)
SILENT_FAULTS = {  # fault -> a piece of what the report has to say of `second`
    "activation-per-channel": "scale per channel",
    "weight-axis": "another axis",
    "after-resize": "no pair behind the Resize grown",
    "after-unequal-concat": "no pair behind the Concat joined",
    "weights-only": "its input is not",
    "unsigned": "unsigned bytes",
}


def network(fault: str = "", *, scales: bool = True, batch: int | str = 1) -> Any:
    """An `onnx.ModelProto`, float32 (batch, 3, 32, 32) to (batch, 16, h, w)."""
    random = np.random.default_rng(7)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def pair(tensor: str, scale: Any = STEP, zero: Any = ZERO) -> str:
        if not scales:
            return tensor
        names = [constant(f"{tensor}/s", scale), constant(f"{tensor}/z", zero)]
        nodes.append(helper.make_node("QuantizeLinear", [tensor, *names], [f"{tensor}/q"], axis=1))
        nodes.append(helper.make_node("DequantizeLinear", [f"{tensor}/q", *names], [f"{tensor}/dq"], axis=1))
        return f"{tensor}/dq"

    def convolution(name: str, tensor: str, inputs: int, axis: int = 0) -> str:
        shape = (CHANNELS, inputs, 3, 3)
        integers = random.integers(-127, 128, shape, np.int8)
        weight = f"{name}.w"
        if scales:
            count = shape[axis]
            names = [
                constant(f"{weight}/int8", integers),
                constant(f"{weight}/s", random.uniform(0.001, 0.01, count).astype(np.float32)),
                constant(f"{weight}/z", np.zeros(count, np.int8)),
            ]
            nodes.append(helper.make_node("DequantizeLinear", names, [weight], f"{name}/weight", axis=axis))
        else:
            constant(weight, integers.astype(np.float32) / 500)
        bias = constant(f"{name}.b", np.ones(CHANNELS, np.float32))
        nodes.append(helper.make_node("Conv", [tensor, weight, bias], [f"{name}_out"], name, pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"{name}_out"], [f"{name}_relu"]))
        return f"{name}_relu"

    seen = convolution("first", pair("image"), 3)
    inputs = CHANNELS
    if fault == "activation-per-channel":
        seen = pair(seen, np.full(CHANNELS, 0.05, np.float32), np.zeros(CHANNELS, np.int8))
    elif fault == "after-resize":
        sizes = constant("twice", np.array([1, 1, 2, 2], np.float32))
        nodes.append(helper.make_node("Resize", [pair(seen), "", sizes], ["big"], "grown", mode="nearest"))
        seen = "big"
    elif fault == "after-unequal-concat":
        other = convolution("aside", pair("image") if not scales else "image/dq", 3)
        nodes.append(helper.make_node("Concat", [pair(seen), pair(other, np.float32(0.2))], ["both"], "joined", axis=1))
        seen, inputs = "both", 2 * CHANNELS
    elif fault == "unsigned":
        seen = pair(seen, zero=np.uint8(0))
    elif fault != "weights-only":
        seen = pair(seen)
    output = convolution("second", seen, inputs, axis=1 if fault == "weight-axis" else 0)
    graph = helper.make_graph(
        nodes,
        "int8",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, CHANNELS, None, None])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def bundle_of(folder: Path, proto: Any, *, batch: int = 1) -> Bundle:
    """A bundle's folder round it; what its outputs mean is no matter to a builder."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    (folder / "labels.txt").write_text("thing\n")
    (folder / "bundle.toml").write_text(
        'decoder = "yolov8"\nfit = "stretch"\n'
        f'[input]\nwidth = {SIDE}\nheight = {SIDE}\ncolour = "BGR"\nbatch = {batch}\n'
        '[outputs]\npredictions = "second_relu"\n'
    )
    return load_bundle(folder)
