"""A plan for a DLA, up to what the builder does: here it is a stand-in, because none runs without one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from int8_networks import bundle_of, network
from onnx import helper

from engines.errors import BundleError, PlanRefusedError
from engines.gpu import Gpu
from engines.plans import build as plans_build
from engines.plans.build import build
from engines.plans.building import Built
from engines.plans.dla import told
from engines.plans.preparing import PlanRequest
from engines.tensorrt_library import Library

ORIN = Gpu("Orin", "sm_87", "12.6")
ALL_ON_DLA = ["---------- Layers Running on DLA ----------", "[DlaLayer] {ForeignNode[first...second]}"]
DLA = PlanRequest("tensorrt", "dla:1")


class Asked(SimpleNamespace):
    """What the builder was handed."""


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Asked]:
    """A board with TensorRT 10.3, whose builder logs these lines; what it was asked comes back."""

    def board(log: list[str], **attributes: Any) -> Asked:
        asked = Asked()

        def build_plan(_library: Any, model: bytes, shapes: Any, settings: Any, _cache: Path, _say: Any) -> Built:
            asked.network, asked.shapes, asked.settings = onnx.load_model_from_string(model), shapes, settings
            whole = [name for name in ("first", "second") if f"{name}_out" in (settings.scales or {})]
            return Built(b"plan", [], ("INT8",), told(log, whole))

        flags = SimpleNamespace(FP16=1, INT8=2)
        trt = SimpleNamespace(
            __version__="10.3.0", BuilderFlag=flags, ITensor=SimpleNamespace(set_dynamic_range=1), **attributes
        )
        monkeypatch.setattr(plans_build, "find_gpu", lambda _index: ORIN)
        monkeypatch.setattr(plans_build, "open_library", lambda flavor: Library(flavor, trt))
        monkeypatch.setattr(plans_build, "build_plan", build_plan)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return asked

    return board


def test_it_is_built_of_a_float_network_and_ranges_and_they_lie_beside_it(
    tmp_path: Path, orin: Callable[..., Asked]
) -> None:
    asked = orin(ALL_ON_DLA)
    bundle = bundle_of(tmp_path / "net", network(batch="N"), batch=4)
    plan = build(bundle, DLA)
    assert plan.folder.name == "tensorrt-sm_87-dla1-int8"
    assert not any("Quantize" in node.op_type for node in asked.network.graph.node)
    assert asked.settings.dla == 1
    assert asked.settings.int8
    assert set(asked.settings.scales) == {"image", "first_out", "first_relu"}
    assert asked.shapes["image"].most == (1, 3, 32, 32), "a DLA takes one shape"
    cache = (plan.folder / "scales.cache").read_text()
    assert cache.splitlines()[0] == "TRT-100300-EntropyCalibration2"
    assert cache.count(": ") == 3
    passport = json.loads((plan.folder / "passport.json").read_text())
    assert passport["beside_sha256"] == {
        name: hashlib.sha256((plan.folder / name).read_bytes()).hexdigest()
        for name in ("scales.cache", "without_pairs.onnx")
    }
    assert onnx.load(plan.folder / "without_pairs.onnx") == asked.network
    assert passport["layers"]["dla_share"] == 1.0
    assert passport["layers"]["in_int8"] == 1, "the second's output is the network's, and has no range"


def test_fewer_on_it_than_are_required_are_no_plan(tmp_path: Path, orin: Callable[..., Asked]) -> None:
    orin([*ALL_ON_DLA, "[GpuLayer] CONVOLUTION: second + second/relu"])
    bundle = bundle_of(tmp_path / "net", network())
    strict = PlanRequest("tensorrt", "dla:1", require_dla=0.9)
    with pytest.raises(
        PlanRefusedError,
        match=r"1 of 2 .* on the DLA \(50.0%\), and 90.0% are required; elsewhere, or not sure: second",
    ):
        build(bundle, strict)
    assert not (bundle.folder / "plans").exists()
    assert build(bundle, PlanRequest("tensorrt", "dla:1", require_dla=0.5)).report.on_dla == 1


def test_a_share_on_the_dla_cannot_be_required_of_a_builder_that_does_not_tell(
    tmp_path: Path, orin: Callable[..., Asked]
) -> None:
    orin(["no word of it"])
    with pytest.raises(
        PlanRefusedError, match=r"90\.0% of its convolutions are required on the DLA, and this TensorRT does not"
    ):
        build(bundle_of(tmp_path / "net", network()), PlanRequest("tensorrt", "dla:1", require_dla=0.9))


def test_integers_that_no_pair_hands_on_are_refused_in_words(tmp_path: Path, orin: Callable[..., Asked]) -> None:
    orin(ALL_ON_DLA)
    proto = network()
    quantise = next(node for node in proto.graph.node if node.op_type == "QuantizeLinear")
    reader = next(node for node in proto.graph.node if quantise.output[0] in node.input)
    proto.graph.node.insert(1, helper.make_node("Identity", [quantise.output[0]], ["moved"], "mover"))
    reader.input[0] = "moved"
    with pytest.raises(BundleError, match=r"cannot be taken from \(Identity mover reads image/q in INT8"):
        build(bundle_of(tmp_path / "net", proto), DLA)


def test_where_types_bind_it_gets_the_network_as_it_is(
    tmp_path: Path, orin: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = orin(ALL_ON_DLA)
    eleven = SimpleNamespace(__version__="11.4.1", BuilderFlag=SimpleNamespace(), ITensor=SimpleNamespace())
    monkeypatch.setattr(plans_build, "open_library", lambda flavor: Library(flavor, eleven))
    plan = build(bundle_of(tmp_path / "net", network()), DLA)
    assert asked.settings.scales is None
    assert any(node.op_type == "QuantizeLinear" for node in asked.network.graph.node)
    assert not (plan.folder / "scales.cache").exists()


def test_a_gpus_plan_keeps_its_pairs(tmp_path: Path, orin: Callable[..., Asked]) -> None:
    asked = orin([])
    plan = build(bundle_of(tmp_path / "net", network(batch="N")), PlanRequest("tensorrt", "cuda:0"))
    assert asked.settings.scales is None
    assert any(node.op_type == "QuantizeLinear" for node in asked.network.graph.node)
    assert sorted(path.name for path in plan.folder.iterdir()) == ["passport.json", "plan.engine"]
