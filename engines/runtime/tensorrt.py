"""TensorRT, and TensorRT for RTX: a bundle's plan on an NVIDIA GPU, several frames of it in flight at once.

A plan is refused by its passport before anything deserialises it. What a frame does on the device stands in
`gpu_slot.py`. A device that fails costs the frames that were on it: each is an `EngineError` from `wait`, and the next
one finds a new session, or, after too many, hears that there will be none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import BundleError, EngineError, EngineMissingError
from engines.letterbox import Geometry, Preprocessor
from engines.plan_file import device_index
from engines.reduction import Reduction
from engines.results import Thresholds
from engines.runtime.cuda import CudaError
from engines.runtime.engine import Completed
from engines.runtime.gpu_session import GpuSession
from engines.runtime.kernels import Candidates
from engines.runtime.machine import THIS_MACHINE, Machine, plan_of, usable_library
from engines.runtime.plan_session import LoadedPlan
from engines.runtime.restarts import Restarts
from engines.runtime.signature import check_batch, check_outputs
from engines.runtime.staging import OnDevice, OnHost, Staging
from sensors.errors import EdgePerceptionError
from sensors.frame import PixelFormat

_REMEDY = "see `dmesg` for Xid messages of the driver, and free device memory"


class TensorRtEngine:
    """One bundle's plan on one device. Raises as `open_engine` says."""

    name = "tensorrt"

    def __init__(
        self,
        bundle: Bundle,
        slots: int = 2,
        threads: int = 1,  # noqa: ARG002  the contract's; there are none here
        *,
        machine: Machine = THIS_MACHINE,
        restarts: Restarts | None = None,
    ) -> None:
        self.slots = slots
        self.max_rows = 1  # as the plan takes
        self.device = ""  # as the plan says
        self.notes: list[str] = []  # what a person should hear once
        self._bundle = bundle
        self._machine = machine
        self._library = usable_library(self.name, machine)
        self._restarts = restarts or Restarts()
        settings = bundle.settings
        self._preprocessor = Preprocessor(settings.pixels, settings.input.width, settings.input.height)
        self._candidates: Candidates | None = None  # what outputs are reduced to
        self._has_kernels = False
        self._failures: list[EngineError | None] = [None] * slots  # of frames that never came to the device
        self._staged_on: list[GpuSession | None] = [None] * slots
        self._refused_in_a_row = 0
        self._lost = ""  # why there is no session
        self._closed = False
        self._changing = threading.Lock()  # held while a session is opened or closed
        try:
            self._session = self._open()
        except CudaError as error:
            raise EngineError(self.device, f"does not start ({error})", _REMEDY) from None

    def place(self, width: int, height: int) -> Geometry:
        """Where an image of this size will lie in the input."""
        return self._preprocessor.geometry(width, height)

    def reduce(self, reduction: Reduction, thresholds: Thresholds) -> bool:
        """Pick the candidates on the device; False where it has no kernels, or none for this decoder or thresholds."""
        if not self._has_kernels:
            return False
        try:
            candidates = Candidates(reduction, thresholds, self._session.output_type)
        except ValueError:
            return False
        try:
            self._session.reduce(candidates)
        except CudaError as error:
            raise EngineError(self.device, f"does not take the kernels ({error})", _REMEDY) from None
        self._candidates = candidates
        return True

    @property
    def reads_nv12(self) -> bool:
        """Where the kernels are: an image is half as much to copy then, and made BGR on the device."""
        return self._has_kernels

    def stage(
        self,
        slot: int,
        row: int,
        image: NDArray[np.uint8],
        geometry: Geometry,
        kind: PixelFormat = PixelFormat.BGR,
    ) -> None:
        """Put the image on its way to the device. What fails there comes out of `wait`."""
        if row == 0:  # the first of its frame
            self._failures[slot] = self._staged_on[slot] = None
        self._attempt(slot, lambda session: session.stage(slot, row, image, geometry, kind))

    def submit(self, slot: int, rows: int) -> None:
        """Start the slot's inference. Returns at once."""
        self._attempt(slot, lambda session: session.submit(slot, rows))

    def wait(self, slot: int) -> Completed:
        """Block until the slot's inference is done."""
        failure, self._failures[slot] = self._failures[slot], None
        if failure is not None:
            raise failure
        try:
            done = self._session.wait(slot)
        except CudaError as error:
            self._lose(str(error))
            raise EngineError(self.device, f"inference failed ({error})", _REMEDY) from None
        except EngineError as refusal:
            self._refused_in_a_row += 1
            if self._refused_in_a_row >= self._restarts.refusals:
                self._lose(refusal.what)
            raise
        self._refused_in_a_row = 0
        return done

    def close(self) -> None:
        """Finish what was submitted and free everything."""
        with self._changing:
            if not self._closed:
                self._closed = True
                self._session.close()

    def __enter__(self) -> TensorRtEngine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # --- the session ----------------------------------------------------------------------------------

    def _open(self) -> GpuSession:
        """Find the plan and load it on the device that it was built for."""
        plan = plan_of(self._bundle, self._library, self._machine)
        self.device = plan.device
        is_dla = plan.device.startswith("dla")
        index = 0 if is_dla else device_index(plan.device)
        self._has_kernels = has_kernels = self._compiles("letterbox_float32", index)
        cuda = self._machine.open_cuda(index)
        size = self._bundle.settings.input
        is_nhwc = size.layout == "NHWC"
        image = (size.height, size.width, 3) if is_nhwc else (3, size.height, size.width)
        rows = 1 if is_dla else size.batch  # a DLA's plan has one shape

        def load() -> LoadedPlan:
            found = LoadedPlan(self._library, plan.content, image, rows, device_index(plan.device) if is_dla else None)
            check_outputs(self._bundle, [tensor.name for tensor in found.tensors if not tensor.is_input])
            if rows > 1:
                check_batch(self._bundle, found.fixed_rows, {tensor.name: tensor.shape for tensor in found.tensors})
            return found

        def staging(found: LoadedPlan, kernels: Callable[[str], Any]) -> Staging:
            inputs = [tensor for tensor in found.tensors if tensor.is_input]
            if len(inputs) != 1 or inputs[0].shape != (rows, *image):
                takes = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in inputs)
                what = f"its plan takes {takes}, not images {[rows, *image]}"
                raise BundleError(self._bundle.name, what, "rebuild it")
            if inputs[0].dtype not in (np.float32, np.float16):
                what = f"its plan takes pixels of {inputs[0].dtype}, and floats are expected"
                raise BundleError(self._bundle.name, what, "build the plan with `perception engine build`")
            if not has_kernels:
                return OnHost(cuda, self._preprocessor, inputs[0], is_nhwc=is_nhwc)
            return OnDevice(cuda, kernels, self._bundle.settings.pixels, inputs[0], is_nhwc=is_nhwc)

        black = np.zeros((size.height, size.width, 3), np.uint8)
        first = black, self.place(size.width, size.height)
        ptx = partial(self._ptx, index=index)
        session = GpuSession(cuda, load, ptx, staging, self._bundle.settings.outputs, self.slots, first)
        if self._candidates is not None:
            session.reduce(self._candidates)
        self.max_rows = rows
        return session

    def _ptx(self, kernel: str, index: int) -> bytes:
        gpu = self._machine.find_gpu(index)
        if gpu is None:
            raise EngineError(self.device, "is not there any more", _REMEDY)
        return self._machine.compiled(gpu, kernel)

    def _compiles(self, kernel: str, index: int) -> bool:
        """Whether there is a compiler for the GPU; without one the CPU does the work, and that is said."""
        try:
            self._ptx(kernel, index)
        except (EngineMissingError, EngineError) as missing:
            self._note(f"images are letterboxed and boxes picked on the CPU: {missing.what}; {missing.remedy}")
            return False
        return True

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def _attempt(self, slot: int, work: Callable[[GpuSession], None]) -> None:
        """Do it on a session that works, the one that has the frame's images; what goes wrong is kept for `wait`."""
        if self._failures[slot] is not None:
            return
        try:
            session = self._usable()
            if self._staged_on[slot] not in (None, session):
                raise EngineError(self.device, "was lost while images were on their way to it", _REMEDY)
            self._staged_on[slot] = session
            work(session)
        except CudaError as error:
            self._lose(str(error))
            self._failures[slot] = EngineError(self.device, f"inference failed ({error})", _REMEDY)
        except EngineError as failure:
            self._failures[slot] = failure
        except EdgePerceptionError as failure:  # a plan that was exchanged, and does not fit: a frame's failure too
            self._failures[slot] = EngineError(failure.thing, failure.what, failure.remedy)

    def _lose(self, why: str) -> None:
        if not self._lost:
            self._lost = why
            self._restarts.lost()

    def _usable(self) -> GpuSession:
        """The session, opened anew where the last one was lost. Raises `EngineError` while there is none."""
        if not self._lost:
            return self._session
        with self._changing:
            was_lost, restarts = f"was lost ({self._lost})", self._restarts
            if self._closed:
                raise EngineError(self.device, was_lost, _REMEDY)
            if restarts.is_over:
                what = f"{was_lost} and did not come back in {restarts.limit} tries"
                raise EngineError(self.device, what, "start the process again; " + _REMEDY)
            if (wait_s := restarts.wait_s()) > 0:
                what = f"{was_lost}; try {restarts.count} of {restarts.limit} failed, the next is in {wait_s:.1f} s"
                raise EngineError(self.device, what, _REMEDY)
            if self._session.is_busy:
                raise EngineError(self.device, f"{was_lost} and is started again", _REMEDY)
            restarts.began()
            self._session.close()
            try:
                self._session = self._open()
            except CudaError as error:
                raise EngineError(self.device, f"was lost, and does not start again ({error})", _REMEDY) from None
            self._lost = ""
            self._refused_in_a_row = 0
            return self._session


class TensorRtRtxEngine(TensorRtEngine):
    """The same with TensorRT for RTX."""

    name = "tensorrt_rtx"
