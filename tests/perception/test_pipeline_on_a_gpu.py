"""A frame's whole way with the real engine of TensorRT, on a simulated device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_networks
from host_device import needs_compiler
from numpy.typing import NDArray
from simulated_cuda import SimulatedGpu
from simulated_tensorrt import simulated_engine
from test_pipeline import ListedSource, Run, colours

from engines.inference import decoder_for
from engines.results import Thresholds
from engines.runtime import open_engine
from perception.message import FrameMessage, Status
from perception.network import Network
from perception.pipeline import Result
from perception.summary import in_words, summary
from perception.tracking import TrackerSettings
from sensors.frame import Frame, Item, PixelFormat
from sensors.yuv import to_bgr

STAGES = {"enqueue", "h2d", "preprocess", "compute", "reduce", "d2h"}


NV12_KINDS = tuple(kind for kind in PixelFormat if kind.is_nv12)


def nv12(number: int) -> tuple[NDArray[np.uint8], PixelFormat]:
    """A bright picture of 32x32 with a little colour, of another kind each time."""
    noise = np.random.default_rng(number).integers(0, 30, (48, 32), np.uint8)
    noise[:32] += 195
    noise[32:] += 120
    return noise, NV12_KINDS[number % 4]


class InNv12(ListedSource):
    def __iter__(self) -> Iterator[Item]:
        for item in super().__iter__():
            assert isinstance(item, Frame)
            image, kind = nv12(item.sequence)
            yield replace(item, image=image, format=kind)


@needs_compiler
@pytest.mark.parametrize("name", ["tensorrt", "onnxruntime"])
def test_pictures_in_nv12_are_read_by_the_standard_that_each_has(name: str, tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "net")
    gpu = SimulatedGpu(5, eagerness=0.2, has_kernels=True)
    engine = simulated_engine(bundle, 2, gpu) if name == "tensorrt" else open_engine(bundle, name)
    assert engine.reads_nv12 is (name == "tensorrt")
    network = Network(bundle, engine, decoder_for(bundle, engine), Thresholds(), TrackerSettings())
    run = Run([InNv12(colours(12))], [network]).go()
    assert run.raised is None
    wanted = [to_bgr(*nv12(number)).mean(axis=(0, 1)).max() / 255 for number in range(12)]
    messages = run.recorder.of("front")[:-1]
    assert np.ptp(wanted) > 0.05, "the standards differ"
    np.testing.assert_allclose([message.detections.scores.max() for message in messages], wanted, atol=1e-4)
    assert {(message.image_width, message.image_height) for message in messages} == {(32, 32)}


@needs_compiler
@pytest.mark.parametrize("lost_at", [None, 3], ids=["steady", "lost"])
def test_a_pipeline_publishes_what_it_does_on_a_cpu_and_outlives_a_lost_device(
    lost_at: int | None, tmp_path: Path
) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "net")
    gpu = SimulatedGpu(4, eagerness=0.2, has_kernels=True)
    published: dict[str, list[FrameMessage]] = {}

    def lose(result: Result) -> None:
        if result.entry.sequence == lost_at:
            gpu.lose()

    for name in ("tensorrt", "onnxruntime"):
        engine = simulated_engine(bundle, 2, gpu) if name == "tensorrt" else open_engine(bundle, name)
        decoder = decoder_for(bundle, engine)
        assert decoder.reduction is not None
        assert engine.reduce(decoder.reduction, Thresholds()) is (name == "tensorrt")
        network = Network(bundle, engine, decoder, Thresholds(), TrackerSettings())
        run = Run([ListedSource(colours(30))], [network], [lose] if name == "tensorrt" else []).go()
        assert run.raised is None
        assert run.pipeline.ledger.total().captured == 30
        stages = run.pipeline.ledger.gpu
        assert set(stages) == (STAGES if name == "tensorrt" else set())
        assert 0 < run.pipeline.ledger.engine_busy_ns <= run.pipeline.wall_s * 1e9, "frames that overlap count once"
        if name == "tensorrt":
            words = in_words(summary(run.pipeline, [network], run.outbox, 0.0))
            assert any(line.startswith("GPU, p50: enqueue ") for line in words)
        published[name] = run.recorder.of("front")[:-1]
    failed = [message for message in published["tensorrt"] if message.status is not Status.OK]
    assert bool(failed) is (lost_at is not None)
    assert len(failed) <= 4, "more than were on the device"
    for message in failed:
        assert message.status is Status.INFERENCE_FAILED
        assert "cuda:0" in message.status_reason
    for ours, theirs in zip(published["tensorrt"], published["onnxruntime"], strict=True):
        assert ours.frame_sequence == theirs.frame_sequence
        if ours.status is Status.OK:
            np.testing.assert_allclose(ours.detections.boxes_xyxy, theirs.detections.boxes_xyxy, atol=1e-3)
            np.testing.assert_allclose(ours.detections.scores, theirs.detections.scores, atol=1e-4)
    assert gpu.broken_rules == []
