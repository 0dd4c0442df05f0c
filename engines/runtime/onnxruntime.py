"""ONNX Runtime on the CPU: desk replay, CI, and vehicles without a GPU.

Inputs and outputs are bound once, to memory that a slot keeps: an inference allocates nothing of ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import BundleError, EngineError
from engines.runtime.cpu import CpuEngine
from engines.runtime.integer_layers import for_onnxruntime
from engines.runtime.signature import Signature, TensorSpec, check_batch, check_outputs

_REMEDY = "export the network again, or try it with another program that runs ONNX"
_FATAL_ONLY = 4  # ort's severity scale; what it has to say reaches people as an EngineError instead

_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def open_session(model: Path | bytes, threads: int) -> ort.InferenceSession:
    """Load a model with an exact number of threads. Raises `BundleError` when it does not load."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    # Spinning would burn the core that decodes the next frame while a thread waits for work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    where = model.name if isinstance(model, Path) else "the model"
    try:
        return ort.InferenceSession(
            str(model) if isinstance(model, Path) else model,
            options,
            providers=["CPUExecutionProvider"],
            # This pass quantises the weights of convolutions left float on purpose, and ruins them
            # (mAP50 0.67 -> 0.01 measured on an INT8 yolox_nano).
            disabled_optimizers=["WeightBiasQuantization"],
        )
    except Exception as error:  # ort raises a class of its own for each status, all straight from Exception
        raise BundleError(str(where), f"does not load in ONNX Runtime ({first_line(error)})", _REMEDY) from None


def first_line(error: Exception) -> str:
    """What an ORT error says, without its prefix and its further lines."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.removeprefix("[ONNXRuntimeError] : ")[:300]


def signature_of(session: ort.InferenceSession) -> Signature:
    """Names, types and shapes of a loaded model's inputs and outputs; a free dimension is None."""

    def spec(node: ort.NodeArg) -> TensorSpec:
        # A scalar's shape is [], a free dimension a string or None, and ort knows no shape for some outputs.
        shape = tuple(d if isinstance(d, int) and d > 0 else None for d in node.shape or ())
        return TensorSpec(node.name, str(node.type), shape)

    return Signature(
        tuple(spec(node) for node in session.get_inputs()),
        tuple(spec(node) for node in session.get_outputs()),
    )


class OnnxRuntimeEngine(CpuEngine):
    """One bundle in one ONNX Runtime session on the CPU."""

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, slots: int = 2, threads: int = 1) -> None:
        super().__init__(bundle, slots)
        self._session = open_session(for_onnxruntime(bundle.model), threads)
        signature = signature_of(self._session)
        image = signature.image_input(str(bundle.model))
        self._input_name = image.name
        check_outputs(bundle, [output.name for output in signature.outputs])
        check_batch(bundle, image.shape[0], {})
        bound = [self._bind(memory, bundle, signature) for memory in self.inputs]
        self._bindings = [bindings for bindings, _ in bound]
        self.start([outputs for _, outputs in bound], self._infer)

    def _bind(
        self, images: NDArray[np.float32], bundle: Bundle, signature: Signature
    ) -> tuple[list[Any], dict[str, NDArray[Any]]]:
        """Bind one slot's input and outputs, for each number of rows, to memory of their final shapes.

        Gives the bindings, fewest rows first, and the outputs.
        """
        roles = bundle.settings.outputs
        try:
            found = self._session.run(list(roles.values()), {self._input_name: images})
        except Exception as error:
            raise EngineError(str(bundle.model), f"does not run ({first_line(error)})", _REMEDY) from None
        shapes = {name: value.shape for name, value in zip(roles.values(), found, strict=True)}
        check_batch(bundle, None, shapes)
        types = {output.name: output.type for output in signature.outputs}
        outputs = {role: np.empty(shapes[name], _NUMPY_TYPES[types[name]]) for role, name in roles.items()}
        bindings = []
        for rows in range(1, len(images) + 1):
            binding = self._session.io_binding()
            binding.bind_input(self._input_name, "cpu", 0, np.float32, images[:rows].shape, images.ctypes.data)
            for role, name in roles.items():
                memory = outputs[role]
                part = memory if len(images) == 1 else memory[:rows]
                binding.bind_output(name, "cpu", 0, memory.dtype.type, part.shape, memory.ctypes.data)
            bindings.append(binding)
        return bindings, outputs

    def _infer(self, slot: int, rows: int) -> None:
        try:
            self._session.run_with_iobinding(self._bindings[slot][rows - 1])
        except Exception as error:
            raise EngineError("onnxruntime", f"inference failed ({first_line(error)})", _REMEDY) from None
