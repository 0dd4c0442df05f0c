"""How fast a network is with the whole pipeline round it, to be read beside the engine alone: nothing is decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bench import measure
from perception.message import NetworkInfo
from perception.network import Network
from perception.pipeline import Pipeline
from perception.stream import NullPublisher, Outbox
from sensors.clock import ReplayClock
from sensors.frame import Frame
from sensors.source import SensorInfo, SourceInfo

USUAL_RATE = 30.0  # frames a second; a slower network gets half of what it can
_NS_PER_S = 1_000_000_000
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class PipelineSpeed:
    """As fast as it goes: frames a second, share of the engine's alone, CPU of a frame. At `rate`: what it adds."""

    fps: float
    of_engine: float
    cpu_ms_per_frame: float
    rate: float
    added_latency_ms: dict[str, float | None]

    def facts(self) -> dict[str, Any]:
        """As `--json` has them."""
        return {
            "fps": round(self.fps, 3),
            "of_engine": round(self.of_engine, 4),
            "cpu_ms_per_frame": round(self.cpu_ms_per_frame, 3),
            "rate": round(self.rate, 3),
            "added_latency_ms": self.added_latency_ms,
        }


def measure_pipeline(network: Network, slots: int, seconds: float) -> PipelineSpeed:
    """Run it for `seconds` as fast as it goes, in turns with the engine alone; then as long at a camera's pace."""
    rounds = []
    for _ in range(_ROUNDS):
        alone = measure(network.engine, seconds / _ROUNDS)
        began_s = time.process_time()
        fastest = _run(network, slots, seconds / _ROUNDS, None)
        cpu_s = time.process_time() - began_s
        frames = fastest.ledger.total().captured
        fps = frames / fastest.wall_s
        rounds.append((fps, fps / alone.fps, cpu_s / frames * 1e3))
    fps, of_engine, cpu_ms = np.median(rounds, axis=0).tolist()
    rate = min(USUAL_RATE, fps / 2)
    added = _run(network, slots, seconds, rate).ledger.added_latency
    return PipelineSpeed(fps, of_engine, cpu_ms, rate, {"p50": added.ms(50), "p99": added.ms(99)})


def _run(network: Network, slots: int, seconds: float, rate: float | None) -> Pipeline:
    outbox = Outbox(
        [NetworkInfo(network.bundle.name, network.bundle.sha256, network.engine.name)],
        [network.bundle.labels],
        NullPublisher(),
    )
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    with _StillCamera(image, rate or USUAL_RATE, seconds) as camera:
        pipeline = Pipeline([camera], [network], outbox, ReplayClock(1.0 if rate else None), slots)
        pipeline.run()
    return pipeline


class _StillCamera:
    """A source of one image over and over, for a while."""

    def __init__(self, image: NDArray[np.uint8], rate: float, seconds: float) -> None:
        self.info = SourceInfo("bench:still", (SensorInfo("still", "camera", rate),), live=False)
        self._image, self._step_ns, self._seconds = image, round(_NS_PER_S / rate), seconds
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        end_s = time.monotonic() + self._seconds
        sequence = 0
        while not self._closed.is_set() and (sequence == 0 or time.monotonic() < end_s):
            now_ns = time.monotonic_ns()
            yield Frame("still", sequence, sequence * self._step_ns, now_ns, now_ns, self._image)
            sequence += 1

    def close(self) -> None:
        self._closed.set()

    def __enter__(self) -> _StillCamera:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
