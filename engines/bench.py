"""How fast a bundle's engine is by itself: no decoding of video, no postprocessing, no stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.runtime import Engine


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """Inferences a second with every slot kept full, and how long one inference took on the engine."""

    fps: float
    latency_ms: dict[str, float]  # p50, p99
    inferences: int


def measure(engine: Engine, seconds: float = 3.0, warm_up: int = 5) -> EngineSpeed:
    """Loop the engine on one staged image of noise for `seconds`."""
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    place = engine.place(image.shape[1], image.shape[0])
    for slot in range(engine.slots):
        engine.stage(slot, 0, image, place)
    for _ in range(warm_up):
        engine.submit(0, 1)
        engine.wait(0)
    latencies_ns: list[int] = []
    began_ns = time.monotonic_ns()
    end_ns = began_ns + round(seconds * 1e9)
    for slot in range(engine.slots):
        engine.submit(slot, 1)
    in_flight, slot = engine.slots, 0
    while in_flight:
        done = engine.wait(slot)
        in_flight -= 1
        latencies_ns.append(done.inferred_ns - done.started_ns)
        if done.inferred_ns < end_ns:
            engine.submit(slot, 1)
            in_flight += 1
        slot = (slot + 1) % engine.slots
    wall_s = (time.monotonic_ns() - began_ns) / 1e9
    p50, p99 = np.percentile(np.array(latencies_ns) / 1e6, [50, 99])
    return EngineSpeed(len(latencies_ns) / wall_s, {"p50": float(p50), "p99": float(p99)}, len(latencies_ns))


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
