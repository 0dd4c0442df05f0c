"""Real plans by TensorRT for RTX, which needs no GPU to build; skipped where it is not installed."""

from __future__ import annotations

import _thread
import hashlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from int8_networks import SILENT_FAULTS, bundle_of, network

from engines.errors import BundleError, EngineError, PlanRefusedError
from engines.gpu import Gpu
from engines.plan_file import read_plan
from engines.plans import build as plans_build
from engines.plans.build import build
from engines.plans.building import _in_thread, _Watch
from engines.plans.preparing import PlanRequest

pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'edge-perception[tensorrt_rtx]'")

RTX = PlanRequest("tensorrt_rtx")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plans_build, "find_gpu", lambda _index: None)  # what is asserted here is the same with a GPU
    return tmp_path / "cache" / "edge-perception" / "timing"


def test_a_sound_network_becomes_a_plan_with_all_convolutions_in_int8(tmp_path: Path, caches: Path) -> None:
    bundle = bundle_of(tmp_path / "net", network())
    before = bundle.sha256
    plan = build(bundle, PlanRequest("tensorrt_rtx", require_int8=1.0))
    assert plan.folder == bundle.folder / "plans" / "tensorrt_rtx-any-cuda0-int8"
    assert [(layer.name, layer.runs_in, layer.why) for layer in plan.report.layers] == [
        ("first", "int8", ()),
        ("second", "int8", ()),
    ]
    passport = json.loads((plan.folder / "passport.json").read_text())
    content = (plan.folder / "plan.engine").read_bytes()
    assert passport["plan_sha256"] == hashlib.sha256(content).hexdigest()
    assert passport["onnx_sha256"] == hashlib.sha256(bundle.model.read_bytes()).hexdigest()
    assert passport["bundle_sha256"] == before == bundle_of_again(bundle.folder)  # plans/ is not part of its hash
    (cache,) = caches.glob("*.cache")
    assert passport["timing_cache_sha256"] == hashlib.sha256(cache.read_bytes()).hexdigest()
    assert read_plan(plan.folder, bundle, passport["version"], None) == content
    assert sorted(path.name for path in plan.folder.parent.iterdir()) == [plan.folder.name]


def bundle_of_again(folder: Path) -> str:
    from engines.bundle import load_bundle

    return load_bundle(folder).sha256


@pytest.mark.parametrize("fault", SILENT_FAULTS)
def test_each_silent_fault_is_named_and_refused_by_a_required_share(fault: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "net", network(fault))
    plan = build(bundle, RTX, tmp_path / "plan")
    (surprise,) = plan.report.surprises
    assert surprise.name == "second"
    assert surprise.runs_in == ("int8-misread" if fault == "unsigned" else "float")
    assert SILENT_FAULTS[fault] in "; ".join(surprise.why)
    with pytest.raises(PlanRefusedError, match=r"second: .*" + SILENT_FAULTS[fault]):
        build(bundle, PlanRequest("tensorrt_rtx", require_int8=1.0), tmp_path / "strict")
    assert not (tmp_path / "strict").exists()


def test_a_free_batch_takes_the_bundles_size(tmp_path: Path) -> None:
    plan = build(bundle_of(tmp_path / "net", network(batch="N")), RTX)
    assert plan.passport["shapes"] == {"image": {key: [1, 3, 32, 32] for key in ("least", "usual", "most")}}


def test_a_free_batch_takes_as_many_as_the_bundle_says(tmp_path: Path) -> None:
    plan = build(bundle_of(tmp_path / "net", network(batch="N"), batch=4), RTX)
    assert plan.passport["shapes"]["image"] == {
        "least": [1, 3, 32, 32],
        "usual": [2, 3, 32, 32],
        "most": [4, 3, 32, 32],
    }
    assert [layer.runs_in for layer in plan.report.layers] == ["int8", "int8"]
    with pytest.raises(BundleError, match=r"says batch = 4, and its network takes 1 at a time; set batch = 1"):
        build(bundle_of(tmp_path / "fixed", network(), batch=4), RTX)


def test_halves_of_a_float_network(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "net", network(scales=False))
    with pytest.raises(BundleError, match=r"no scales.*perception engine calibrate"):
        build(bundle, RTX)
    plan = build(bundle, PlanRequest("tensorrt_rtx", precision="fp16"))
    assert {layer.runs_in for layer in plan.report.layers} == {"float"}
    assert plan.report.intended == 0


def test_what_the_parser_refuses_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    proto = network()
    next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Det"
    bundle = bundle_of(tmp_path / "net", proto)
    with pytest.raises(BundleError, match="refused by tensorrt_rtx: Det"):
        build(bundle, RTX)
    assert not (bundle.folder / "plans").exists()


def test_a_plan_is_replaced_only_when_asked(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "net", network())
    first = build(bundle, RTX)
    with pytest.raises(BundleError, match="exists already"):
        build(bundle, RTX)
    assert build(bundle, RTX, replace_existing=True).folder == first.folder


def test_ctrl_c_ends_a_build_through_the_monitor(tmp_path: Path) -> None:
    import tensorrt_rtx

    watch = _Watch()
    monitor = watch.monitor(tensorrt_rtx)
    monitor.phase_start("Building", None, 6)
    assert monitor.step_complete("Building", 0)
    assert watch.phase == "Building: 1 of 6"
    watch.cancelled = True
    assert not monitor.step_complete("Building", 1)


def test_an_interrupt_waits_for_the_builder_and_goes_on_up() -> None:
    watch, ended = _Watch(), []

    def work() -> None:
        threading.Event().wait(0.3)  # until it is waited for
        # Not a real signal: on CPUs with AMX its frame no longer fits the stack that pytest's faulthandler gives it.
        _thread.interrupt_main()
        for _ in range(1000):
            if watch.cancelled:
                ended.append(True)
                return
            threading.Event().wait(0.01)

    # In the background a shell lets SIGINT be ignored, and Python leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _in_thread(work, watch, True, lambda _line: None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [True]


def test_the_command_says_what_it_built(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "net", network("after-resize"))
    words = ["engine", "build", str(bundle.folder), "--flavor", "tensorrt_rtx"]
    code = "from perception.commands.app import main; main()"
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "1 of 2 convolutions in INT8 (50.0%); 2 have scales" in run.stdout
    assert "second runs in float: its weights are quantised and its input is not" in run.stdout
    strict = [*words, "--force", "--require-int8", "0.9"]
    run = subprocess.run([sys.executable, "-c", code, *strict], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "90.0% are required" in run.stderr


def test_a_dla_is_unknown_to_rtx(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "net", network(scales=False))
    with pytest.raises(EngineError, match="unknown to TensorRT for RTX"):
        build(bundle, PlanRequest("tensorrt_rtx", "dla:0", "fp16"))


@pytest.mark.parametrize("jetson", [True, False])
def test_without_a_gpu_tensorrt_says_what_is_missing(
    jetson: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans_build, "is_jetson", lambda: jetson)
    bundle = bundle_of(tmp_path / "net", network(scales=False))
    with pytest.raises(EngineError, match="cuda:0: is not there, and TensorRT builds on the device") as caught:
        build(bundle, PlanRequest("tensorrt", "cuda:0", "fp16"))
    assert "NVIDIA" in str(caught.value)
    assert ("--flavor tensorrt_rtx builds plans without a GPU" in str(caught.value)) is not jetson
    why = "and TensorRT builds on the device" if jetson else "only a Jetson Orin or Xavier has DLAs"
    with pytest.raises(EngineError, match=f"dla:0: is not there.*{why}"):
        build(bundle, PlanRequest("tensorrt", "dla:0", "fp16"))


def test_a_device_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Gpu("NVIDIA L4", "sm_89", "12.6")
    monkeypatch.setattr(plans_build, "find_gpu", lambda index: card if index == 0 else None)
    bundle = bundle_of(tmp_path / "net", network(scales=False))
    with pytest.raises(EngineError, match=r"cuda:1: is not there; there is cuda:0 \(NVIDIA L4\)"):
        build(bundle, PlanRequest("tensorrt", "cuda:1", "fp16"))
