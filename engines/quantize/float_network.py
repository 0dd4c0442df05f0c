"""A float ONNX file made ready to be quantised, and the layers in it that can be.

ONNX Runtime's basic optimisations fold constants, put batch normalisation into its convolution, and undo what
exporters add (a bias shared through an Identity keeps its convolutions in float on TensorRT and on CPUs). They only
use operators of ONNX itself, so the result runs everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper, version_converter

from engines.errors import BundleError
from engines.runtime.onnxruntime import first_line

OPSET = 17  # what an older file is brought to: scales per channel need 13, and every TensorRT from 8.6 reads 17
_OLDEST_OPSET = 13
_FATAL_ONLY = 4


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with weights that can run in INT8."""

    name: str  # of its output tensor, which is unique in a graph
    op: str
    data: str  # the activation that goes in
    weight: str  # initializer
    channel_axis: int  # of the weight: its output channels
    multiplications: int  # an inference


class FloatNetwork:
    """A prepared network; `where` names it in errors. Whoever changes `proto` takes a copy."""

    def __init__(self, proto: Any, where: str = "the network") -> None:
        self.proto = proto
        self.where = where
        self.weights: dict[str, NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer
        }
        self.shapes = dict(_shapes(proto))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """What can be quantised, in the graph's order."""
        return tuple(layer for node in self.proto.graph.node if (layer := self._layer(node)) is not None)

    @cached_property
    def producers(self) -> dict[str, Any]:
        """The node that makes each tensor."""
        return {output: node for node in self.proto.graph.node for output in node.output}

    @cached_property
    def consumers(self) -> dict[str, list[Any]]:
        """The nodes that take each tensor."""
        found: dict[str, list[Any]] = {}
        for node in self.proto.graph.node:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    def is_activation(self, name: str) -> bool:
        """Whether a tensor depends on the image."""
        return name in self.producers or any(value.name == name for value in self.proto.graph.input)

    def _layer(self, node: Any) -> Layer | None:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
            return None
        data, weight = node.input[:2]
        values = self.weights.get(weight)
        if values is None or values.dtype != np.float32 or values.ndim < 2 or not self.is_activation(data):
            return None
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "Conv":
            axis = 0
        elif node.op_type == "ConvTranspose":
            axis = 1
        elif node.op_type == "Gemm":
            if attributes.get("transA", 0):
                return None
            axis = 0 if attributes.get("transB", 0) else 1
        elif values.ndim != 2:
            return None
        else:
            axis = 1
        # Each value that comes out is a sum over what feeds its channel; of a transposed convolution each that goes in
        # is spread.
        positions = self.shapes.get(data if node.op_type == "ConvTranspose" else node.output[0], ())
        spatial = int(np.prod(positions[2:])) if len(positions) > 2 else 1
        rows = int(np.prod(positions[1:-1])) if node.op_type == "MatMul" and len(positions) > 2 else spatial
        return Layer(node.output[0], node.op_type, data, weight, axis, int(values.size) * rows)


def prepare(model: Path, image: Sequence[int] = ()) -> FloatNetwork:
    """Read a bundle's float network. Raises `BundleError` where it cannot be quantised.

    `image`: the shape of what it is fed, with its batch axis. An input whose height and width are free gets them from
    it, so that what is computed of them is known; the batch stays free.
    """
    where = str(model)
    try:
        proto = onnx.load(model)
    except Exception as error:  # protobuf's own, onnx's own, OSError
        raise BundleError(where, f"cannot be read as ONNX ({first_line(error)})", "import the network again") from None
    quantised = sorted(
        {node.op_type for node in proto.graph.node if "Quantize" in node.op_type or "Integer" in node.op_type}
    )
    if quantised:
        raise BundleError(
            where, f"is quantised already ({', '.join(quantised)})", "calibrate the float network that it was made from"
        )
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        try:
            proto = version_converter.convert_version(proto, OPSET)
        except Exception as error:
            what = f"is opset {opset}, and cannot be brought to {OPSET} ({first_line(error)})"
            raise BundleError(where, what, f"export it with opset {_OLDEST_OPSET} or newer") from None
    _fix_size(proto, image)
    network = FloatNetwork(_optimised(proto, where), where)
    if not network.layers:
        raise BundleError(where, "has no layer with weights that INT8 could speed up", "use it in float")
    return network


def _fix_size(proto: Any, image: Sequence[int]) -> None:
    constants = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        axes = value.type.tensor_type.shape.dim
        if value.name in constants or len(axes) != len(image):
            continue
        for axis, size in list(zip(axes, image, strict=True))[1:]:
            if not axis.dim_value:
                axis.dim_value = size


def _optimised(proto: Any, where: str) -> Any:
    with TemporaryDirectory(prefix="edge-perception-") as folder:
        written = Path(folder) / "optimised.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(written)
        options.log_severity_level = _FATAL_ONLY
        try:
            ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleError(
                where, f"does not load in ONNX Runtime ({first_line(error)})", "export the network again"
            ) from None
        optimised = onnx.load(written)
    used = {node.domain for node in optimised.graph.node}
    domains = [entry for entry in optimised.opset_import if entry.domain in used or entry.domain in ("", "ai.onnx")]
    del optimised.opset_import[:]
    optimised.opset_import.extend(domains)
    del optimised.metadata_props[:]
    optimised.metadata_props.extend(proto.metadata_props)
    optimised.ir_version = min(optimised.ir_version, max(proto.ir_version, _ir_for(optimised)))
    return optimised


def _ir_for(proto: Any) -> int:
    """The oldest IR version that has this opset: older readers refuse a newer one."""
    return int(onnx.helper.find_min_ir_version_for(proto.opset_import))


def _shapes(proto: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    graph = inferred.graph
    for value in (*graph.value_info, *graph.input, *graph.output):
        yield value.name, tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
