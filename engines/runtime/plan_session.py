"""A plan that was let in, deserialised: its tensors by name, and contexts to run it in.

One way for TensorRT 8.6 to 11 and TensorRT for RTX: named tensors and `execute_async_v3`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.errors import EngineError
from engines.tensorrt_library import Library, has, log_of

# By TensorRT's names: `trt.nptype` fails with newer numpy before 8.5.3, and enum numbers move.
_NUMPY_TYPES: dict[str, type] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


@dataclass(frozen=True, slots=True)
class PlanTensor:
    """One input or output with its final shape."""

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class LoadedPlan:
    """Opened in a thread that is attached to the device, and closed in one."""

    def __init__(
        self, library: Library, content: bytes, image_shape: tuple[int, ...], rows: int = 1, dla: int | None = None
    ) -> None:
        """Deserialise. A dynamic input takes up to `rows` images of `image_shape`, which has no batch axis.

        Raises `EngineError` with what TensorRT says.
        """
        self._trt = library.trt
        self._what = f"{library.flavor} {library.version}"
        self._log = log_of(library.trt)
        self._log.lines.clear()
        try:
            self._runtime = library.trt.Runtime(self._log)
        except TypeError:  # pybind11: "factory function returned nullptr"
            raise self._error("does not start", "check the NVIDIA driver with nvidia-smi") from None
        if dla is not None and has(self._runtime, "DLA_core"):
            self._runtime.DLA_core = dla
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise self._error("does not load the plan", "build the plan again, here, with `perception engine build`")
        self._image_shape = image_shape
        self.rows = rows
        self._spare: list[Any] = []  # a context costs milliseconds and device memory: the first one is used too
        first = self.new_context()
        self.tensors = tuple(self._tensor(index, first) for index in range(self._engine.num_io_tensors))
        self._spare.append(first)
        self._log.lines.clear()  # loading is talkative

    def new_context(self) -> Any:
        """An execution context, set to all its rows. Each holds device memory of its own: one a stream."""
        if self._spare:
            return self._spare.pop()
        context = self._engine.create_execution_context()
        if context is None:
            raise self._error("gives no execution context", "free device memory, or take fewer slots")
        if not self.set_rows(context, self.rows):
            what = f"does not take {self.rows} images of {list(self._image_shape)}"
            raise self._error(what, "build the plan again, here, with `perception engine build`")
        return context

    @property
    def fixed_rows(self) -> int | None:
        """Images that its input takes, where that is fixed."""
        name = next(tensor.name for tensor in self.tensors if tensor.is_input)
        shape = tuple(self._engine.get_tensor_shape(name))
        return None if -1 in shape else int(shape[0])

    def set_rows(self, context: Any, rows: int) -> bool:
        """Let a context take so many images from now on. False where TensorRT refuses, see `last_words`."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        return all(
            context.set_input_shape(name, (rows, *self._image_shape))
            for name in names
            if self._is_input(name) and -1 in tuple(self._engine.get_tensor_shape(name))
        )

    def last_words(self) -> str:
        """The first error that TensorRT has logged since it was last asked."""
        words: str = self._log.first_error()
        self._log.lines.clear()
        return words

    def close(self) -> None:
        """Let go of contexts, engine and runtime, in that order."""
        self._spare = []
        self._engine = self._runtime = None

    def _tensor(self, index: int, context: Any) -> PlanTensor:
        name = self._engine.get_tensor_name(index)
        kind = self._engine.get_tensor_dtype(name).name
        shape = tuple(int(side) for side in context.get_tensor_shape(name))
        if kind not in _NUMPY_TYPES:
            raise EngineError(name, f"is a tensor of {kind}, which is not supported", "export the network with floats")
        if any(side < 0 for side in shape):
            raise EngineError(name, f"has no fixed shape ({list(shape)})", "export the network with fixed shapes")
        return PlanTensor(name, self._is_input(name), np.dtype(_NUMPY_TYPES[kind]), shape)

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT)

    def _error(self, what: str, remedy: str) -> EngineError:
        return EngineError(self._what, f"{what} ({self.last_words()})", remedy)
