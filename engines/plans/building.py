"""One build: an ONNX network goes into the builder of whichever TensorRT is here, a plan comes out.

The builder works in a thread of its own, with Python's lock released, so that progress is told and Ctrl-C is heard.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from engines.errors import BundleError, EngineError
from engines.plans.dla import DlaBuild, set_ranges, told
from engines.plans.layer_report import builder_table, inspector_table
from engines.plans.timing_cache import keep
from engines.tensorrt_library import Library, has, log_of

_SAY_EVERY_S = 5.0

Shape = tuple[int, ...]


class Shapes(NamedTuple):
    """Of a dynamic input: what it takes at least, what kernels are chosen for, what it takes at most."""

    least: Shape
    usual: Shape
    most: Shape


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What is asked of the builder.

    `weakly_fp16`: halves by a flag, where types do not bind. `dla`: a core. `scales`: by tensor, for a network without
    Q/DQ (see `implicit_scales`).
    """

    int8: bool
    weakly_fp16: bool
    workspace_bytes: int
    dla: int | None = None
    scales: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """A plan, the builder's layer table (see `layer_report`), the flags that were set, what was said of a DLA."""

    plan: bytes
    rows: list[tuple[str, str]]
    flags: tuple[str, ...]
    dla: DlaBuild | None = None


class _Watch:
    """How far a build is, and whether it shall stop."""

    def __init__(self) -> None:
        self.cancelled = False
        self.phase = ""

    def monitor(self, trt: Any) -> Any | None:
        """A progress monitor, where this version has them (10.0 and newer)."""
        if not has(trt, "IProgressMonitor"):
            return None
        watch = self

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)
                self.steps: dict[str, int] = {}

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                self.steps[phase_name] = num_steps
                if parent_phase is None:
                    watch.phase = phase_name

            def step_complete(self, phase_name: str, step: int) -> bool:
                watch.phase = f"{phase_name}: {step + 1} of {self.steps.get(phase_name, 0)}"
                return not watch.cancelled

            def phase_finish(self, phase_name: str) -> None:
                self.steps.pop(phase_name, None)

        return Monitor()


def build_plan(
    library: Library,
    model: bytes,
    shapes: Mapping[str, Shapes],
    settings: BuildSettings,
    cache: Path,
    say: Callable[[str], None],
) -> Built:
    """Parse, configure, build. `shapes` by input, for those that are dynamic. Call it under the cache's lock.

    Raises `BundleError` where the parser refuses the network, `EngineError` where the builder fails.
    """
    trt = library.trt
    log = log_of(trt)
    log.lines.clear()
    try:
        builder = trt.Builder(log)
    except TypeError:  # pybind11: "factory function returned nullptr"
        raise EngineError(
            f"{library.flavor} {library.version}",
            f"does not start ({log.first_error()})",
            "check the NVIDIA driver with nvidia-smi; a build for TensorRT needs the GPU itself",
        ) from None
    flags: list[str] = []
    network = builder.create_network(_network_flags(library, settings, flags))
    parser = trt.OnnxParser(network, log)
    if settings.dla is not None and has(trt, "OnnxParserFlag", "ADJUST_FOR_DLA"):
        parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)
    if not parser.parse(model):
        raise BundleError("model.onnx", f"is refused by {library.flavor}: {_parser_error(parser)}", "see README, Plans")
    if network.num_outputs == 0:
        raise BundleError("model.onnx", "holds no network", "import the network again")
    config = builder.create_builder_config()
    _configure(library, builder, config, settings, flags)
    in_int8 = [] if settings.scales is None else set_ranges(trt, network, settings.scales)
    _set_profile(builder, network, config, shapes)
    timed = None
    if has(config, "create_timing_cache"):
        timed = config.create_timing_cache(cache.read_bytes() if cache.exists() else b"")
        with warnings.catch_warnings():  # deprecated by TensorRT for RTX, which times nothing
            warnings.simplefilter("ignore", DeprecationWarning)
            config.set_timing_cache(timed, False)
    watch = _Watch()
    monitor = watch.monitor(trt)  # the builder keeps no reference to it
    if monitor is not None:
        config.progress_monitor = monitor
    plan = _in_thread(lambda: builder.build_serialized_network(network, config), watch, monitor is not None, say)
    if plan is None:
        raise EngineError(f"{library.flavor} {library.version}", f"builds no plan ({log.first_error()})", "see README")
    if timed is not None:
        keep(cache, bytes(timed.serialize()))
    content = bytes(plan)
    said = [text for _, text in log.lines]
    rows = builder_table(said) or _inspected(library, log, content, settings.dla)
    return Built(content, rows, tuple(flags), None if settings.dla is None else told(said, in_int8))


def _network_flags(library: Library, settings: BuildSettings, flags: list[str]) -> int:
    names = library.trt.NetworkDefinitionCreationFlag
    bits = 0
    if hasattr(names, "EXPLICIT_BATCH"):  # the only way in 8.6, without effect in 10, gone in 11
        bits |= 1 << int(names.EXPLICIT_BATCH)
    if library.strongly_typed and not settings.weakly_fp16 and settings.scales is None:
        flags.append("STRONGLY_TYPED")
        if hasattr(names, "STRONGLY_TYPED"):
            bits |= 1 << int(names.STRONGLY_TYPED)
    return bits


def _configure(library: Library, builder: Any, config: Any, settings: BuildSettings, flags: list[str]) -> None:
    trt = library.trt
    if has(trt, "ProfilingVerbosity", "DETAILED"):
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if has(trt, "MemoryPoolType", "WORKSPACE") and has(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_bytes)
    wanted = []
    if "STRONGLY_TYPED" not in flags:  # where types bind these must not be set
        wanted = (["INT8"] if settings.int8 else []) + (["FP16"] if settings.weakly_fp16 or settings.int8 else [])
    if settings.dla is not None:
        if settings.dla >= builder.num_DLA_cores:  # a core that is not there is ignored in silence
            raise EngineError(
                f"dla:{settings.dla}", f"is not there; {builder.num_DLA_cores} found", "use --device cuda:0"
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = settings.dla
        wanted.append("GPU_FALLBACK")
    if settings.scales is not None:
        wanted.append("PREFER_PRECISION_CONSTRAINTS")
    for name in wanted:
        if has(trt, "BuilderFlag", name):
            config.set_flag(getattr(trt.BuilderFlag, name))
            flags.append(name)


def _set_profile(builder: Any, network: Any, config: Any, shapes: Mapping[str, Shapes]) -> None:
    profile = None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if -1 not in tuple(tensor.shape):
            continue
        profile = profile or builder.create_optimization_profile()
        profile.set_shape(tensor.name, *shapes[tensor.name])
    if profile is not None:
        config.add_optimization_profile(profile)


def _in_thread(work: Callable[[], Any], watch: _Watch, can_cancel: bool, say: Callable[[str], None]) -> Any:
    done: list[Any] = []
    failed: list[BaseException] = []
    finished = threading.Event()  # not Thread.join: once interrupted, it takes the thread for dead

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # raised again where it is waited for
            failed.append(error)
        finally:
            finished.set()

    began_s = said_s = time.monotonic()
    threading.Thread(target=run, name="plan-builder", daemon=True).start()
    try:
        while not finished.wait(0.1):
            now_s = time.monotonic()
            if now_s - said_s >= _SAY_EVERY_S:
                said_s = now_s
                say(watch.phase or f"still building, {now_s - began_s:.0f} s")
    except BaseException:  # Ctrl-C; the next step of the builder asks whether to go on
        watch.cancelled = True
        if can_cancel:
            finished.wait()
        raise
    if failed:
        raise failed[0]
    return done[0]


def _parser_error(parser: Any) -> str:
    if parser.num_errors == 0:
        return "it gave no reason"
    error = parser.get_error(0)  # those behind it are noise
    where = error.node_name() if hasattr(error, "node_name") else f"node {error.node()}"
    operator = f"{error.node_operator()} " if hasattr(error, "node_operator") else ""
    return f"{operator}{where}: {error.desc().strip().splitlines()[0]}"


def _inspected(library: Library, log: Any, plan: bytes, dla: int | None) -> list[tuple[str, str]]:
    """The inspector's table; it wants the GPU, and is not asked where TensorRT for RTX wrote its own."""
    if library.flavor != "tensorrt" or not has(library.trt, "LayerInformationFormat", "JSON"):
        return []
    runtime = library.trt.Runtime(log)
    if dla is not None:
        runtime.DLA_core = dla
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return []
    return inspector_table(
        engine.create_engine_inspector().get_engine_information(library.trt.LayerInformationFormat.JSON)
    )
