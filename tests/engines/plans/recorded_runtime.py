"""Our running of a plan against real bindings whose factories give null: only what this version has can be called.

Run as a program with the bindings on the path. Runtime, engine and context are objects that take exactly the attributes
of the version's own classes, called with as many arguments as the version's own signature has; the device below them is
simulated. Prints what was called.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from recorded_builder import Only
from simulated_cuda import SimulatedGpu

from engines.letterbox import Pixels, Preprocessor
from engines.runtime.gpu_session import GpuSession
from engines.runtime.plan_session import LoadedPlan, PlanTensor
from engines.runtime.staging import OnHost
from engines.tensorrt_library import Library, open_library

SHAPES = {"image": (2, 3, 32, 32), "boxes": (2, 7, 21)}


class Exact(Only):
    """Also counts the arguments, by the signature in the bindings' own documentation."""

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if not callable(found):
            return found

        def call(*words: Any) -> Any:
            signatures = re.findall(rf"{name}\((self.*)\) ->", getattr(self._real, name).__doc__ or "")
            assert any(_takes(signature, len(words)) for signature in signatures), f"{name}{words}: {signatures}"
            self.calls.append((name, words))
            return found(*words)

        return call


def _takes(signature: str, count: int) -> bool:
    parameters = re.split(r", (?=\w+: )", signature)[1:]
    return sum(" = " not in parameter for parameter in parameters) <= count <= len(parameters)


def main(flavor: str) -> None:
    library = open_library(flavor)
    trt = library.trt
    contexts: list[Exact] = []

    def context() -> Exact:
        contexts.append(
            Exact(
                trt.IExecutionContext,
                get_tensor_shape=SHAPES.__getitem__,
                set_input_shape=lambda _name, _shape: True,
                set_tensor_address=lambda _name, _address: True,
                execute_async_v3=lambda _stream: True,
            )
        )
        return contexts[-1]

    engine = Exact(
        trt.ICudaEngine,
        num_io_tensors=2,
        get_tensor_name=list(SHAPES).__getitem__,
        get_tensor_mode=lambda name: trt.TensorIOMode.INPUT if name == "image" else trt.TensorIOMode.OUTPUT,
        get_tensor_dtype=lambda _name: trt.DataType.FLOAT,
        get_tensor_shape=lambda name: (-1, *SHAPES[name][1:]),
        create_execution_context=context,
    )
    runtime = Exact(trt.Runtime, deserialize_cuda_engine=lambda _content: engine)

    class Bindings:
        """The version's module, but for the factory that its empty libraries cannot fulfil."""

        Runtime = staticmethod(lambda _log: runtime)

        def __getattr__(self, name: str) -> Any:
            return getattr(trt, name)

    seen = Library(flavor, Bindings())
    cuda = SimulatedGpu().open()
    pixels = Preprocessor(Pixels(), 32, 32)
    image = np.zeros((32, 32, 3), np.uint8)
    session = GpuSession(
        cuda,
        lambda: LoadedPlan(seen, b"plan", SHAPES["image"][1:], 2, dla=0),
        lambda _kernel: b"",
        lambda plan, _kernels: OnHost(cuda, pixels, _input_of(plan), is_nhwc=False),
        {"predictions": "boxes"},
        2,
        (image, pixels.geometry(32, 32)),
    )
    for rows in (2, 1):
        for row in range(rows):
            session.stage(0, row, image, pixels.geometry(32, 32))
        session.submit(0, rows)
        assert [row["predictions"].shape for row in session.wait(0).rows] == [SHAPES["boxes"][1:]] * rows
    session.close()
    print(
        json.dumps(
            {
                "version": library.version,
                "calls": sorted({name for one in (runtime, engine, *contexts) for name, _ in one.calls}),
                "contexts": len(contexts),
                "dla": runtime._answers.get("DLA_core"),
            }
        )
    )


def _input_of(plan: LoadedPlan) -> PlanTensor:
    return next(tensor for tensor in plan.tensors if tensor.is_input)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tensorrt")
