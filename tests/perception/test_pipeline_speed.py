"""The pipeline beside the engine alone: what is told is of the two."""

from __future__ import annotations

from pathlib import Path

import tiny_networks
from fake_engine import FakeEngine

from perception.network import network_on
from perception.pipeline_speed import USUAL_RATE, measure_pipeline


def test_a_pipeline_round_a_slow_engine_keeps_up_with_it(tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "net")
    with FakeEngine(bundle, 2, delay_s=lambda _slot: 0.025) as engine:
        speed = measure_pipeline(network_on(bundle, engine), 2, 1.0)
    assert speed.of_engine > 0
    assert speed.fps <= 2 / 0.025 * 1.1, "each of two slots sleeps 25 ms a frame"
    assert speed.cpu_ms_per_frame > 0
    assert speed.rate == min(USUAL_RATE, speed.fps / 2)
    added = speed.facts()["added_latency_ms"]
    assert 0 < added["p50"] <= added["p99"]
