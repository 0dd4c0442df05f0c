"""Signed INT8 activations made unsigned while a model is loaded, where the CPU's engines are better at that.

One file is the truth for every engine: explicit S8 Q/DQ, as TensorRT wants it. On x86 ONNX Runtime runs it 1.4 to 2.8
times as fast with unsigned activations, and OpenVINO computes Concat -> S8 Q/DQ -> Conv wrongly, in silence (2025.4
and 2026.4 tried; with AVX-512 and VNNI, not with AMX).

Adding 128 to a zero point and changing its type changes no value: outputs are the same to the bit where nothing else
is optimised. Weights stay as they are. On ARM the file is loaded as it is.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

_X86 = {"x86_64", "amd64"}
_SIGN = b"DequantizeLinear"  # a model without it has nothing to rewrite, and need not be read
_SHIFT = 128


def is_x86() -> bool:
    """Whether this machine's CPU is of that kind."""
    return platform.machine().lower() in _X86


def is_quantised(model: Path) -> bool:
    """Whether a model has INT8 parts. False where it cannot be read: the engine says that better."""
    try:
        return _SIGN in model.read_bytes()
    except OSError:
        return False


def unsigned_where_better(model: Path) -> Path | bytes:
    """The model's path, or its bytes rewritten where this CPU is better off with unsigned activations."""
    return rewritten(model, make_unsigned) if is_x86() else model


def rewritten(model: Path, *rewrites: Callable[[Any], int]) -> Path | bytes:
    """The model's path, or the bytes of an INT8 model in which these rewrites, which say how many, found something.

    A model that cannot be read is left to the engine to refuse. Without the `onnx` package nothing is rewritten:
    ONNX Runtime is right then too, and slower; OpenVINO's extra brings it.
    """
    if not is_quantised(model):
        return model
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        return model
    try:
        network = onnx.load_model_from_string(model.read_bytes())
    except DecodeError:
        return model
    found = [rewrite(network) for rewrite in rewrites]
    return network.SerializeToString() if any(found) else model


def make_unsigned(network: Any) -> int:
    """Rewrite the S8 activations of an `onnx.ModelProto` to U8, in place; give how many there were.

    Only pairs of QuantizeLinear and DequantizeLinear: what is quantised and then used otherwise stays signed.
    """
    from onnx import numpy_helper

    graph = network.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    outputs = {output.name for output in graph.output}
    unsigned: dict[str, str] = {}  # zero point -> its unsigned twin
    rewritten: set[str] = set()
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants or node.output[0] in outputs:
            continue
        pair = [node, *users.get(node.output[0], [])]
        if not all(_is_signed(user, constants) for user in pair):
            continue
        for user in pair:
            name = user.input[2]
            if name not in unsigned:
                unsigned[name] = f"{name}/unsigned"
                shifted = (numpy_helper.to_array(constants[name]).astype("int16") + _SHIFT).astype("uint8")
                graph.initializer.append(numpy_helper.from_array(shifted, unsigned[name]))
            user.input[2] = unsigned[name]
        rewritten.add(node.output[0])
    kept = [value for value in graph.value_info if value.name not in rewritten]  # they say int8
    del graph.value_info[:]
    graph.value_info.extend(kept)
    return len(rewritten)


def _is_signed(node: Any, constants: dict[str, Any]) -> bool:
    from onnx import TensorProto

    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return False
    zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
    return zero_point is not None and zero_point.data_type == TensorProto.INT8
