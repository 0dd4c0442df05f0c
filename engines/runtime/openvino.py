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
from engines.runtime.cpu import CpuEngine, check_outputs
from engines.runtime.int8 import unsigned_where_better

_REMEDY = "export the network again, or take --engine onnxruntime"


class OpenVinoEngine(CpuEngine):
    """One bundle compiled by OpenVINO for the CPU."""

    name = "openvino"

    def __init__(self, bundle: Bundle, slots: int = 2, threads: int = 1) -> None:
        super().__init__(bundle, slots)
        compiled = _compiled(bundle, self.inputs[0].shape, threads)
        ports = {name: port for port in compiled.outputs for name in port.get_names()}  # an Identity's has two
        check_outputs(bundle, list(ports))
        self._requests: list[Any] = []
        outputs = []
        for image in self.inputs:
            request, of_slot = _bound(compiled, image, {r: ports[n] for r, n in bundle.settings.outputs.items()})
            self._requests.append(request)
            outputs.append(of_slot)
        self.start(outputs, self._infer)

    def _infer(self, slot: int) -> None:
        try:
            self._requests[slot].infer()
        except RuntimeError as error:
            raise EngineError("openvino", f"inference failed ({what_it_says(error)})", _REMEDY) from None


def _compiled(bundle: Bundle, shape: tuple[int, ...], threads: int) -> Any:
    """Load, fix the input's shape, compile. Raises `BundleError`; `EngineMissingError` without the package."""
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
        if network.inputs[0].get_partial_shape().is_dynamic:
            network.reshape(list(shape))
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


def _bound(compiled: Any, image: NDArray[np.float32], ports: dict[str, Any]) -> tuple[Any, dict[str, NDArray[Any]]]:
    """One slot's request, with its input and outputs in memory that we keep."""
    import openvino

    request = compiled.create_infer_request()
    request.set_tensor(compiled.inputs[0], openvino.Tensor(image, shared_memory=True))
    outputs: dict[str, NDArray[Any]] = {}
    for role, port in ports.items():
        if port.get_partial_shape().is_dynamic:
            what = f"its output {port.get_any_name()!r} has no fixed shape"
            raise BundleError("openvino", what, _REMEDY)
        memory = outputs[role] = np.empty(tuple(port.get_shape()), port.get_element_type().to_dtype())
        request.set_tensor(port, openvino.Tensor(memory, shared_memory=True))
    return request, outputs


def what_it_says(error: Exception) -> str:
    """The line of an OpenVINO error that tells something: the first ones name its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[-1][:300]
