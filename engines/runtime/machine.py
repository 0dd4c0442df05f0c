"""What an engine on a GPU finds on this machine: library, driver, compiler, plan; or what is missing, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from engines.bundle import Bundle
from engines.errors import EngineError, EngineMissingError
from engines.gpu import Gpu, find_gpu, why_no_gpu
from engines.plan_file import FittingPlan, built_on, find_plan
from engines.runtime.cuda import Cuda
from engines.runtime.int8 import is_quantised
from engines.runtime.kernels import compile_kernels, source_of
from engines.runtime.opening_cuda import how_to_get_pycuda, open_cuda
from engines.tensorrt_library import FLAVORS, Library, open_library


def _pycuda_is_missing() -> tuple[str, str] | None:
    return None if find_spec("pycuda") else ("pycuda is not installed", how_to_get_pycuda())


def _compiled(gpu: Gpu, kernel: str) -> bytes:
    """A kernel's file as PTX. Raises `EngineMissingError`, `EngineError` where it cannot be compiled here."""
    major, _, minor = gpu.cuda.partition(".")
    architecture = int(gpu.architecture.removeprefix("sm_"))
    return compile_kernels(source_of(kernel), architecture, (int(major), int(minor or 0))).ptx


@dataclass(frozen=True, slots=True)
class Machine:
    """What an engine finds on this machine; the tests have one without a GPU."""

    find_gpu: Callable[[int], Gpu | None] = find_gpu
    open_library: Callable[[str], Library] = open_library
    open_cuda: Callable[[int], Cuda] = open_cuda
    cuda_is_missing: Callable[[], tuple[str, str] | None] = _pycuda_is_missing
    compiled: Callable[[Gpu, str], bytes] = _compiled


THIS_MACHINE = Machine()


def plan_of(bundle: Bundle, library: Library, machine: Machine = THIS_MACHINE) -> FittingPlan:
    """The plan that an engine runs for a bundle. Raises `EngineError` as `find_plan` does."""
    precision = "int8" if is_quantised(bundle.model) else "fp16"
    return find_plan(bundle, library.flavor, library.version, machine.find_gpu, precision)


def usable_library(flavor: str, machine: Machine = THIS_MACHINE) -> Library:
    """The TensorRT of this machine, where everything else that it needs is there too.

    Raises `EngineMissingError` with all that is missing, each with how to get it here.
    """
    lacks: list[tuple[str, str]] = []
    library: Library | None = None
    if machine.find_gpu(0) is None:
        lacks.append(why_no_gpu())
    try:
        library = machine.open_library(flavor)
    except EngineError as missing:
        lacks.append((f"{missing.thing} {missing.what}", missing.remedy))
    if (missing_cuda := machine.cuda_is_missing()) is not None:
        lacks.append(missing_cuda)
    if library is None or lacks:
        each = "; ".join(f"({number}) {what}: {how}" for number, (what, how) in enumerate(lacks, 1))
        raise EngineMissingError(f"--engine {flavor}", "cannot run here", f"what is missing, and how to get it: {each}")
    return library


def planned_engine(bundle: Bundle, machine: Machine = THIS_MACHINE) -> str | None:
    """The engine of a plan of this bundle that fits this machine; None where there is none, or no GPU.

    Raises `EngineError` where plans were built for this very GPU and do not fit any more: to go on without a word on
    the CPU would be a surprise on a vehicle. Those of other machines are passed over.
    """
    if not (bundle.folder / "plans").is_dir() or (gpu := machine.find_gpu(0)) is None:
        return None
    stale: EngineError | None = None
    for flavor in FLAVORS:
        try:
            library = usable_library(flavor, machine)
        except EngineMissingError:
            continue
        try:
            find_plan(bundle, flavor, library.version, machine.find_gpu, "int8")
        except EngineError as refusal:
            if any(flavor == of and name in (None, gpu.name) for of, name in built_on(bundle)):
                stale = stale or refusal
        else:
            return flavor
    if stale is not None:
        raise EngineError(stale.thing, stale.what, f"{stale.remedy}, or use --engine onnxruntime")
    return None
