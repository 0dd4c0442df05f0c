"""OpenVINO on the CPU: desk replay on x86, where it runs INT8 faster than ONNX Runtime.

Float networks are run in float32: OpenVINO's own default is bfloat16 on CPUs that have it, 1.5 to 1.8 times as fast
and another answer (scores off by up to 0.045).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import BundleError, EngineError, EngineMissingError
from engines.runtime.cpu import CpuEngine
from engines.runtime.int8 import unsigned_where_better
from engines.runtime.signature import check_batch, check_outputs

_REMEDY = "export the network again, or take --engine onnxruntime"


class OpenVinoEngine(CpuEngine):
    """One bundle compiled by OpenVINO for the CPU."""

    name = "openvino"

    def __init__(self, bundle: Bundle, slots: int = 2, threads: int = 1) -> None:
        super().__init__(bundle, slots)
        image = self.inputs[0].shape[1:]
        one = _compiled(bundle, image, 1, threads)
        more = _compiled(bundle, image, self.max_rows, threads) if self.max_rows > 1 else one
        self._requests: list[list[Any]] = []
        outputs = []
        for images in self.inputs:
            of_slot = _outputs(bundle, more, len(images))
            by_rows = {rows: one if rows == 1 else more for rows in range(1, len(images) + 1)}
            self._requests.append([_request(bundle, by_rows[rows], images, of_slot, rows) for rows in by_rows])
            outputs.append(of_slot)
        self.start(outputs, self._infer)

    def _infer(self, slot: int, rows: int) -> None:
        try:
            self._requests[slot][rows - 1].infer()
        except RuntimeError as error:
            raise EngineError("openvino", f"inference failed ({what_it_says(error)})", _REMEDY) from None


def _compiled(bundle: Bundle, image: tuple[int, ...], rows: int, threads: int) -> Any:
    """Load, fix the input's shape, compile: for one image, or for two to `rows` (a free axis makes one image slower).

    Raises `BundleError`; `EngineMissingError` without the package.
    """
    try:
        import openvino
    except ImportError:
        raise EngineMissingError(
            "--engine openvino", "the package openvino is not installed", "pip install 'edge-perception[openvino]'"
        ) from None
    model = unsigned_where_better(bundle.model)
    where = str(bundle.model)
    core = openvino.Core()
    try:
        network = core.read_model(model)
    except RuntimeError as error:
        raise BundleError(where, f"does not load in OpenVINO ({what_it_says(error)})", _REMEDY) from None
    if len(network.inputs) != 1:
        raise BundleError(where, f"has {len(network.inputs)} inputs, and one image is expected", _REMEDY)
    try:
        given = network.inputs[0].get_partial_shape()
        check_batch(bundle, None if given[0].is_dynamic else given[0].get_length(), {})
        if given.is_dynamic:
            network.reshape([openvino.Dimension(2, rows) if rows > 1 else 1, *image])
        return core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": threads,
                "ENABLE_CPU_PINNING": False,  # which cores the engine has is decided where all threads are known
            },
        )
    except RuntimeError as error:
        raise BundleError(where, f"does not compile in OpenVINO ({what_it_says(error)})", _REMEDY) from None


def _ports(bundle: Bundle, compiled: Any) -> dict[str, Any]:
    """The outputs that are read, by role."""
    ports = {name: port for port in compiled.outputs for name in port.get_names()}  # an Identity's has two
    check_outputs(bundle, list(ports))
    return {role: ports[name] for role, name in bundle.settings.outputs.items()}


def _outputs(bundle: Bundle, compiled: Any, rows: int) -> dict[str, NDArray[Any]]:
    """One slot's memory for all rows, by role."""
    ports = _ports(bundle, compiled)
    shapes = {role: _shape(port, rows) for role, port in ports.items()}
    check_batch(bundle, None, {bundle.settings.outputs[role]: shape for role, shape in shapes.items()})
    return {role: np.empty(shapes[role], port.get_element_type().to_dtype()) for role, port in ports.items()}


def _request(
    bundle: Bundle, compiled: Any, images: NDArray[np.float32], outputs: dict[str, NDArray[Any]], rows: int
) -> Any:
    """Infers the first rows of a slot, in memory that we keep."""
    import openvino

    request = compiled.create_infer_request()
    request.set_tensor(compiled.inputs[0], openvino.Tensor(images[:rows], shared_memory=True))
    for role, port in _ports(bundle, compiled).items():
        part = outputs[role] if len(images) == 1 else outputs[role][:rows]
        request.set_tensor(port, openvino.Tensor(part, shared_memory=True))
    return request


def _shape(port: Any, rows: int) -> tuple[int, ...]:
    """An output's, of so many images. Raises `BundleError` where more than their number is free."""
    shape = port.get_partial_shape()
    if rows > 1 and len(shape) and shape[0].is_dynamic:
        shape[0] = rows
    if shape.is_dynamic:
        raise BundleError("openvino", f"its output {port.get_any_name()!r} has no fixed shape", _REMEDY)
    return tuple(int(side) for side in shape.to_shape())


def what_it_says(error: Exception) -> str:
    """The line of an OpenVINO error that tells something: the first ones name its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[-1][:300]
