"""How fast a bundle's engine is by itself: no decoding of video, no postprocessing, no stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engines.runtime import Completed, Engine

_HOST_BOUND = 0.8  # of compute, as trtexec has it
_UNSTEADY = 0.01  # coefficient of variation of compute, as trtexec has it


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """Images a second with `in_flight` inferences at once, and how long one took; each figure with p50, p90, p99, max.

    On a GPU the latency of one is that of its copies, preprocessing and compute by the device's own events, and an
    image is staged for each: throughput has the transfers in it, and more than one in flight may exceed 1 / latency.
    """

    fps: float
    latency_ms: dict[str, float]
    inferences: int
    in_flight: int
    gpu_ms: dict[str, dict[str, float]]  # by stage (see `GpuTimes`); empty on a CPU
    batch: int = 1  # images an inference
    remarks: tuple[str, ...] = ()  # what makes the figures less than they seem


def measure(engine: Engine, seconds: float = 3.0, warm_up: int = 5, batch: int = 1) -> EngineSpeed:
    """Loop the engine on images of noise, `batch` an inference, for `seconds`, with every slot kept full."""
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    place = engine.place(image.shape[1], image.shape[0])

    def stage(slot: int) -> None:
        for row in range(batch):
            engine.stage(slot, row, image, place)

    for slot in range(engine.slots):
        stage(slot)
    is_on_gpu = False
    for _ in range(warm_up):
        engine.submit(0, batch)
        is_on_gpu = engine.wait(0).gpu is not None

    def start(slot: int) -> None:
        if is_on_gpu:  # the copy in belongs to a query there
            stage(slot)
        engine.submit(slot, batch)

    completed: list[Completed] = []
    began_ns = time.monotonic_ns()
    end_ns = began_ns + round(seconds * 1e9)
    for slot in range(engine.slots):
        start(slot)
    in_flight, slot = engine.slots, 0
    while in_flight:
        done = engine.wait(slot)
        in_flight -= 1
        completed.append(replace(done, rows=()))
        if done.inferred_ns < end_ns:
            start(slot)
            in_flight += 1
        slot = (slot + 1) % engine.slots
    fps = batch * len(completed) / ((time.monotonic_ns() - began_ns) / 1e9)
    gpu = [done.gpu for done in completed if done.gpu is not None]
    if not gpu:
        latency_ms = _spread([(done.inferred_ns - done.started_ns) / 1e6 for done in completed])
        return EngineSpeed(fps, latency_ms, len(completed), engine.slots, {}, batch)
    each = [times.by_stage() for times in gpu]
    stages = {name: [one[name] for one in each] for name in each[0]}
    on_device = [values for name, values in stages.items() if name != "enqueue"]
    return EngineSpeed(
        fps,
        _spread([sum(one) for one in zip(*on_device, strict=True)]),
        len(completed),
        engine.slots,
        {name: _spread(values) for name, values in stages.items()},
        batch,
        _remarks(stages),
    )


def _spread(values_ms: Sequence[float]) -> dict[str, float]:
    values = np.array(values_ms)
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return {"p50": float(p50), "p90": float(p90), "p99": float(p99), "max": float(values.max())}


def _remarks(stages: dict[str, list[float]]) -> tuple[str, ...]:
    """What trtexec warns of, by its limits."""
    median = {name: float(np.median(values)) for name, values in stages.items()}
    compute = np.array(stages["compute"])
    said = []
    if median["enqueue"] > _HOST_BOUND * median["compute"]:
        said.append("starting an inference takes the host nearly as long as the GPU computes: it waits for the host")
    if max(median["h2d"], median["d2h"]) >= median["compute"]:
        said.append("copies take as long as computing: the GPU waits for them")
    if compute.mean() > 0 and compute.std() / compute.mean() > _UNSTEADY:
        said.append("the GPU's times vary by more than 1 %: lock its clocks (jetson_clocks, nvidia-smi -lgc)")
    return tuple(said)


def cpu_ms(engines: Sequence[Engine], rounds: int = 9, inferences: int = 5) -> list[float]:
    """Milliseconds of CPU an inference takes on each engine, all threads counted: medians of interleaved rounds."""
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    for engine in engines:
        engine.stage(0, 0, image, engine.place(image.shape[1], image.shape[0]))
    spent = np.zeros((rounds, len(engines)))
    for turn in range(rounds):
        for position, engine in enumerate(engines):
            began_ns = time.process_time_ns()
            for _ in range(inferences):
                engine.submit(0, 1)
                engine.wait(0)
            spent[turn, position] = (time.process_time_ns() - began_ns) / 1e6 / inferences
    medians: list[float] = np.median(spent, axis=0).tolist()
    return medians
