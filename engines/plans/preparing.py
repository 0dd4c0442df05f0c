"""A bundle's network and what is asked of the builder, as this TensorRT and this device want them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from engines.bundle import Bundle
from engines.errors import BundleError, EngineError
from engines.plans.building import BuildSettings, Shapes
from engines.plans.dla import wants_implicit_scales
from engines.plans.implicit_scales import ImplicitNetwork, implicit
from engines.plans.network_file import expand_weights, has_scales, in_halves, name_nodes
from engines.runtime.signature import check_batch
from engines.tensorrt_library import Library


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is asked for. `require_int8`, `require_dla`: a share of all convolutions, 0 to 1."""

    flavor: str = "tensorrt"
    device: str = "cuda:0"
    precision: str = "int8"
    require_int8: float = 0.0
    require_dla: float = 0.0
    workspace_mib: int = 1024

    @property
    def target(self) -> tuple[str, int]:
        """Kind and number of the device. Raises `BundleError`."""
        found = re.fullmatch(r"(cuda|dla):(\d{1,2})", self.device)
        if found is None:
            raise BundleError(f"--device {self.device}", "is no device", "write it as cuda:0 or dla:0")
        return found[1], int(found[2])


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a builder gets. `bundled`: the `onnx.ModelProto` as the bundle has it; `parsed`: as the parser gets it."""

    bundled: Any
    parsed: Any
    settings: BuildSettings
    shapes: dict[str, Shapes]
    implicit: ImplicitNetwork | None = None


def prepare(bundle: Bundle, library: Library, request: PlanRequest) -> Prepared:
    """Read the bundle's network and fit it. Raises `BundleError`, `EngineError` for what cannot be built."""
    import onnx

    try:
        bundled = onnx.load(bundle.model)
    except Exception as error:  # protobuf has errors of its own
        raise BundleError(str(bundle.model), f"cannot be read ({error})", "import the network again") from None
    name_nodes(bundled)
    scaled, is_int8 = has_scales(bundled), request.precision == "int8"
    _check_precision(bundle, scaled=scaled, is_int8=is_int8)
    kind, index = request.target
    dla = index if kind == "dla" else None
    if dla is not None and library.flavor == "tensorrt_rtx":
        raise EngineError(f"dla:{dla}", "is unknown to TensorRT for RTX", "use --flavor tensorrt")
    workspace = request.workspace_mib * 2**20
    shapes = _shapes(bundled, bundle, is_for_dla=dla is not None)
    if dla is not None and is_int8 and wants_implicit_scales(library):
        try:
            taken = implicit(bundled)
        except ValueError as error:
            what = f"has Q/DQ that a DLA's ranges cannot be taken from ({error})"
            raise BundleError(bundle.name, what, "build it for --device cuda:0") from None
        return Prepared(bundled, taken.proto, BuildSettings(True, False, workspace, dla, taken.scales), shapes, taken)
    parsed = type(bundled)()
    parsed.CopyFrom(bundled)
    if scaled and library.expands_weights:
        expand_weights(parsed)
    by_flag = hasattr(library.trt.BuilderFlag, "FP16") and library.flavor == "tensorrt"
    if not is_int8 and not by_flag:
        parsed = in_halves(parsed)
    return Prepared(bundled, parsed, BuildSettings(is_int8, not is_int8 and by_flag, workspace, dla), shapes)


def _check_precision(bundle: Bundle, *, scaled: bool, is_int8: bool) -> None:
    if is_int8 and not scaled:
        raise BundleError(
            bundle.name,
            "has no scales, so nothing of it can run in INT8",
            f"make an INT8 bundle with `perception engine calibrate {bundle.folder} -o DIR`, or use --precision fp16",
        )
    if not is_int8 and scaled:
        raise BundleError(bundle.name, "is an INT8 network", "use --precision int8, or build its float bundle")


def _shapes(proto: Any, bundle: Bundle, *, is_for_dla: bool) -> dict[str, Shapes]:
    """Of dynamic inputs: one image of the bundle's size, up to as many as the bundle says. A DLA takes one shape."""
    size = bundle.settings.input
    image = (3, size.height, size.width) if size.layout == "NCHW" else (size.height, size.width, 3)
    constants = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        if value.name not in constants and value.type.tensor_type.shape.dim:
            check_batch(bundle, value.type.tensor_type.shape.dim[0].dim_value or None, {})
    shapes: dict[str, Shapes] = {}
    for value in proto.graph.input:
        axes = value.type.tensor_type.shape.dim
        if value.name in constants or len(axes) != 4 or all(axis.dim_value for axis in axes):
            continue
        most = 1 if is_for_dla else axes[0].dim_value or size.batch
        usual = (most + 1) // 2  # a frame seldom has as many crops as it may have
        shapes[value.name] = Shapes((1, *image), (usual, *image), (most, *image))
    return shapes
