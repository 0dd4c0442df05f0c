"""The measurements of `tests/gpu/evidence.py` with a CPU's engine in the GPU's place: they measure what they say."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_networks
from fake_engine import FakeEngine
from numpy.typing import NDArray

from engines import default_bundle
from engines.bundle import Bundle, load_bundle
from engines.errors import EngineError
from engines.plans.layer_report import LayerPrecision, LayerReport
from engines.runtime import Engine, open_engine

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
import evidence
import measurements


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_networks.make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> measurements.Footage:
    return measurements.footage(tmp_path_factory.mktemp("drive"))


@pytest.mark.data
def test_the_evidence_of_a_plan_fills_every_promise(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO in TensorRT's place, and a flavour that is not here."""
    plan = SimpleNamespace(report=LayerReport((LayerPrecision("conv", True, "int8"),)))
    monkeypatch.setattr(evidence, "FLAVORS", ("missing", "openvino"))
    monkeypatch.setattr(evidence, "build", lambda *_words: plan)
    monkeypatch.setattr(evidence, "free_on_device", lambda: 0)
    monkeypatch.setattr(evidence, "LABELLED", data / "labelled")
    monkeypatch.setattr(evidence, "IMAGES", 30)
    seen = dict.fromkeys(evidence.PROMISES, evidence.NOT_SEEN)
    found = evidence.measure_plans(tmp_path, 0.3, 1.0, seen)
    assert "--engine missing: is unknown" in found["missing"]["not_seen"]
    assert found["openvino"]["layers"]["in_int8"] == 1
    assert found["openvino"]["partners"]["share"] > 0.5
    assert 0.3 < found["openvino"]["map50"]["openvino"] < 1
    assert [promise for promise, outcome in seen.items() if outcome == evidence.NOT_SEEN] == []
    assert "openvino" in evidence.as_table(
        {"machine": {"name": "a", "architecture": "b", "driver": "c"}, "at": "now", "tests": [], "promises": seen}
    )


def on_the_cpu(bundle: Bundle, slots: int) -> Engine:
    return open_engine(bundle, "onnxruntime", slots=slots)


def slow(bundle: Bundle, slots: int) -> Engine:
    return FakeEngine(bundle, slots, delay_s=lambda _slot: 0.02)


def test_the_drawing_in_the_footages_place_is_footage_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "find_spec", lambda _name: None)
    drawn = measurements.footage(tmp_path)
    assert drawn.rate == 30
    images = measurements.images_of(drawn, 3)
    assert [image.shape for image in images] == [(720, 1280, 3)] * 3
    assert measurements.decoding_s(drawn) > 0


def test_an_engines_speed_is_that_of_all_its_slots(bundle: Bundle) -> None:
    found = measurements.raw(bundle, slow, 0.5)
    assert found["in_flight"] == measurements.SLOTS
    assert found["fps"] < measurements.SLOTS / 0.02


def test_a_pipeline_gives_every_picture(bundle: Bundle, drive: measurements.Footage) -> None:
    found = measurements.pipeline(bundle, on_the_cpu, drive, None)
    assert found["fps"] > 0
    assert found["failed"] == 0
    assert 0 < found["added_latency_ms"]["p50"] <= found["added_latency_ms"]["p99"]
    assert found["cpu_cores"] > 0


def test_four_cameras_give_120_pictures_a_second(bundle: Bundle, drive: measurements.Footage) -> None:
    found = measurements.four_cameras(bundle, on_the_cpu, drive, 2.0)
    assert found["failed"] == {}
    assert 0.5 * 240 < found["frames"] < 1.2 * 240 + 4
    assert found["published"] + sum(found["dropped"].values()) == found["frames"]
    assert found["cores_without_decoding"] < found["cores"]


def test_boxes_have_partners_where_two_engines_agree_and_none_where_they_do_not(drive: measurements.Footage) -> None:
    road, images = load_bundle(default_bundle()), measurements.images_of(drive, 60)
    same = measurements.partners(road, on_the_cpu, on_the_cpu, images)
    assert same["boxes"] == same["with_partner"] > 10
    assert same["share"] == 1

    class Mirrored:
        """Sees everything the other way round."""

        def __init__(self, engine: Engine) -> None:
            self._engine = engine

        def __getattr__(self, name: str) -> Any:
            return getattr(self._engine, name)

        def stage(self, slot: int, row: int, image: NDArray[np.uint8], *rest: Any) -> None:
            self._engine.stage(slot, row, np.ascontiguousarray(image[:, ::-1]), *rest)

        def __enter__(self) -> Mirrored:
            return self

        def __exit__(self, *_exc: object) -> None:
            self._engine.close()

    other: Any = lambda bundle, slots: Mirrored(on_the_cpu(bundle, slots))  # noqa: E731
    assert measurements.partners(road, on_the_cpu, other, images)["share"] < 0.5


def test_overlap_is_the_share_of_what_two_boxes_cover() -> None:
    box, others = np.float32([0, 0, 10, 10]), np.float32([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(measurements.overlaps(box, others), [1, 1 / 3, 0], atol=1e-6)


def test_a_soak_sees_memory_grow_and_frames_fail(bundle: Bundle, drive: measurements.Footage) -> None:
    kept, free = [], [8_000_000_000]

    def leaks(tensor: NDArray[np.float32]) -> None:
        kept.append(np.ones(4_000_000, np.uint8))
        free[0] -= 1_000_000
        if len(kept) % 5 == 0:
            raise EngineError("fake", "inference failed (every fifth)", "none")

    def leaking(bundle: Bundle, slots: int) -> Engine:
        return FakeEngine(bundle, slots, delay_s=lambda _slot: 0.03, judge=leaks)

    found = measurements.soak(bundle, leaking, drive, 2.0, lambda: free[0])
    assert found["host_growth"] > 0.02
    assert found["device_growth_mb"] > 5
    assert found["failed"]["inference_failed"] > 0
    assert found["frames"] == found["published"] + found["failed"]["inference_failed"]
    kept.clear()
    steady = measurements.soak(bundle, slow, drive, 2.0)
    assert steady["host_growth"] < found["host_growth"] / 2
    assert steady["device_growth_mb"] == 0
    assert steady["failed"] == {}
