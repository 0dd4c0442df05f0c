"""The engine of TensorRT beside its slots: which plan it takes, what it says, how it comes back from a lost device."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_networks
from file_limit import files_no_larger_than
from host_device import needs_compiler
from numpy.typing import NDArray
from simulated_cuda import SimulatedGpu
from simulated_tensorrt import machine, simulated_engine, write_plan

from engines import gpu as gpu_facts
from engines.bench import measure
from engines.bundle import Bundle, load_bundle
from engines.decoders.decoder import Outputs
from engines.decoders.grids import total_cells
from engines.errors import EngineError, EngineMissingError
from engines.gpu import Gpu
from engines.importing import import_network
from engines.inference import decoder_for
from engines.letterbox import Preprocessor
from engines.measured import note
from engines.reduction import CANDIDATE, CANDIDATES
from engines.results import Thresholds
from engines.runtime import best_engine, open_engine, opening_cuda, slots_for
from engines.runtime.engine import Engine
from engines.runtime.machine import Machine, plan_of, planned_engine, usable_library
from engines.runtime.restarts import Restarts
from engines.runtime.tensorrt import TensorRtEngine

GREY = tiny_networks.solid(90, 60, 30)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_networks.make_bundle(tmp_path / "net")


@pytest.fixture
def gpu() -> SimulatedGpu:
    return SimulatedGpu()


def inferred(engine: Engine, slot: int = 0, image: NDArray[np.uint8] = GREY) -> NDArray[np.float32]:
    return np.array(waited(engine, slot, image)["predictions"])


def waited(engine: Engine, slot: int = 0, image: NDArray[np.uint8] = GREY) -> Outputs:
    engine.stage(slot, 0, image, engine.place(image.shape[1], image.shape[0]))
    engine.submit(slot, 1)
    return engine.wait(slot).rows[0]


def expected(bundle: Bundle, image: NDArray[np.uint8] = GREY) -> NDArray[np.float32]:
    size = bundle.settings.input
    preprocessor = Preprocessor(bundle.settings.pixels, size.width, size.height)
    tensor = np.zeros((3, size.height, size.width), np.float32)
    preprocessor.write(image, preprocessor.geometry(image.shape[1], image.shape[0]), tensor)
    return tiny_networks.answer(tensor, total_cells(size.width, size.height))


# --- What is missing, in words.


def test_all_that_is_missing_is_said_at_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    bare = Machine(find_gpu=lambda _index: None, cuda_is_missing=lambda: ("pycuda is not installed", "install pycuda"))
    with pytest.raises(EngineMissingError) as caught:
        TensorRtEngine(bundle, machine=bare)
    said = str(caught.value)
    assert said.startswith("--engine tensorrt: cannot run here; what is missing, and how to get it: (1) ")
    for words in ("NVIDIA driver", "tensorrt is not installed", "pycuda is not installed", "pip install tensorrt-cu12"):
        assert words in said
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_without_a_gpu_asking_for_it_is_refused_and_auto_takes_the_cpu(
    name: str, bundle: Bundle, gpu: SimulatedGpu
) -> None:
    if gpu_facts.find_gpu() is not None:
        pytest.skip("a GPU is here")
    write_plan(bundle, gpu)
    with pytest.raises(EngineMissingError, match=rf"--engine {name}: cannot run here; .*driver"):
        open_engine(bundle, name)
    with open_engine(bundle) as engine:
        assert engine.device == "cpu"
        np.testing.assert_allclose(inferred(engine), expected(bundle), atol=1e-4)


def test_a_jetson_hears_what_a_jetson_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.3\n")
    assert gpu_facts.is_jetson(release)
    monkeypatch.setattr(gpu_facts, "is_jetson", lambda: True)
    monkeypatch.setattr(opening_cuda, "is_jetson", lambda: True)
    if gpu_facts.find_gpu() is None:
        assert "--runtime nvidia" in gpu_facts.why_no_gpu()[1]
    assert "apt install cuda-toolkit" in opening_cuda.how_to_get_pycuda()


def test_a_pycuda_that_cannot_be_loaded_is_told_from_one_that_is_not_there() -> None:
    assert opening_cuda.missing_pycuda(ImportError(name="pycuda")) == "is not installed"
    broken = ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")
    assert "cannot be loaded (libcuda.so.1: cannot open" in opening_cuda.missing_pycuda(broken)


def test_one_missing_part_is_named_alone(gpu: SimulatedGpu) -> None:
    whole = machine(gpu)
    lacking = Machine(whole.find_gpu, whole.open_library, whole.open_cuda, lambda: ("pycuda is not there", "get it"))
    with pytest.raises(EngineMissingError, match=r"get it: \(1\) pycuda is not there: get it$"):
        usable_library("tensorrt", lacking)
    assert usable_library("tensorrt", whole).version == "10.3.0"


# --- Which plan.


def test_what_was_measured_is_noted_in_the_plans_passport_and_the_plan_is_still_taken(
    bundle: Bundle, gpu: SimulatedGpu
) -> None:
    assert note(bundle, "onnxruntime", "speed", {"fps": 1}) is None, "no plan, no passport of one"
    folder = write_plan(bundle, gpu)
    plan = (folder / "plan.engine").read_bytes()
    assert note(bundle, "tensorrt", "speed", {"fps": 100.0}, machine(gpu)) == folder
    note(bundle, "tensorrt", "accuracy", {"measure": "AP50", "value": 0.4}, machine(gpu))
    note(bundle, "tensorrt", "speed", {"fps": 200.0}, machine(gpu))
    measured = json.loads((folder / "passport.json").read_text())["measured"]
    assert (measured["speed"]["fps"], measured["accuracy"]["value"]) == (200.0, 0.4)
    assert measured["speed"]["gpu"] == gpu.facts.facts()
    assert sorted(path.name for path in folder.iterdir()) == ["passport.json", "plan.engine"]
    assert plan_of(bundle, usable_library("tensorrt", machine(gpu)), machine(gpu)).content == plan


def test_a_passport_that_cannot_be_written_is_said(bundle: Bundle, gpu: SimulatedGpu) -> None:
    folder = write_plan(bundle, gpu)
    before = (folder / "passport.json").read_bytes()
    with (
        files_no_larger_than(10),
        pytest.raises(EngineError, match=r"passport\.json: cannot be written \(.*\); make room"),
    ):
        note(bundle, "tensorrt", "speed", {"fps": 100.0}, machine(gpu))
    assert (folder / "passport.json").read_bytes() == before


def test_without_a_plan_the_command_that_builds_one_is_given(bundle: Bundle, gpu: SimulatedGpu) -> None:
    with pytest.raises(EngineError, match="has no plan of tensorrt") as caught:
        TensorRtEngine(bundle, machine=machine(gpu))
    assert f"perception engine build {bundle.folder} --flavor tensorrt --precision fp16" in caught.value.remedy
    assert not gpu.opened


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bundle_sha256": "0" * 64}, "another bundle than net"),
        ({"version": "8.6.2"}, r"built by tensorrt 8\.6\.2, and 10\.3\.0 is here"),
        ({"gpu": Gpu("Thor", "sm_110", "13.0").facts()}, "GPU Thor, and Simulated is here"),
        ({"plan_bytes": 7}, "truncated"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_before_anything_deserialises_it(
    change: dict[str, Any], words: str, bundle: Bundle, gpu: SimulatedGpu
) -> None:
    folder = write_plan(bundle, gpu, **change)
    with pytest.raises(EngineError, match=words) as caught:
        TensorRtEngine(bundle, machine=machine(gpu))
    assert f"-o {folder} --force" in caught.value.remedy
    assert gpu.calls["deserialize"] == 0


def test_the_newest_plan_that_fits_is_taken_and_a_dlas_last(bundle: Bundle, gpu: SimulatedGpu) -> None:
    write_plan(bundle, gpu, name="stale", version="8.6.2", at="2030-01-01T00:00:00+00:00")
    write_plan(bundle, gpu, name="dla", device="dla:1", at="2029-01-01T00:00:00+00:00")
    write_plan(bundle, gpu, name="fits", at="2026-06-01T00:00:00+00:00")
    write_plan(bundle, gpu, name="damaged", at="2027-01-01T00:00:00+00:00")
    (bundle.folder / "plans" / "damaged" / "plan.engine").write_bytes(b"")
    with simulated_engine(bundle, 1, gpu) as engine:
        assert engine.device == "cuda:0"
    shutil.rmtree(bundle.folder / "plans" / "fits")
    with simulated_engine(bundle, 1, gpu) as engine:
        assert engine.device == "dla:1"


def test_what_tensorrt_says_of_a_plan_it_does_not_load_is_passed_on(bundle: Bundle, gpu: SimulatedGpu) -> None:
    folder = write_plan(bundle, gpu)
    content = (folder / "plan.engine").read_bytes()
    foreign = b"x" * len(content)
    write_plan(bundle, gpu, plan_sha256=hashlib.sha256(foreign).hexdigest())
    (folder / "plan.engine").write_bytes(foreign)
    with pytest.raises(EngineError, match=r"tensorrt 10\.3\.0: does not load the plan \(header\.magicTag"):
        TensorRtEngine(bundle, machine=machine(gpu))
    assert gpu.opened[0].is_closed


def test_auto_takes_a_plan_that_fits_and_says_when_one_built_here_does_not(bundle: Bundle, gpu: SimulatedGpu) -> None:
    assert planned_engine(bundle, machine(gpu)) is None
    folder = write_plan(bundle, gpu, gpu=Gpu("Thor", "sm_110", "13.0").facts())
    assert planned_engine(bundle, machine(gpu)) is None, "another machine's plan is nobody's business here"
    write_plan(bundle, gpu)
    assert planned_engine(bundle, machine(gpu)) == "tensorrt"
    write_plan(bundle, gpu, version="8.6.2")
    with pytest.raises(EngineError, match=r"built by tensorrt 8\.6\.2") as caught:
        planned_engine(bundle, machine(gpu))
    assert f"-o {folder} --force" in caught.value.remedy
    assert caught.value.remedy.endswith("or use --engine onnxruntime")


def test_auto_asks_for_plans_before_it_turns_to_the_cpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle.folder / "plans").mkdir()
    monkeypatch.setattr("engines.runtime.machine.planned_engine", lambda found: "tensorrt")
    assert best_engine(bundle) == "tensorrt"
    assert slots_for(bundle, "auto") == slots_for(bundle, "tensorrt_rtx") == 3
    assert slots_for(bundle, "openvino") == 2


# --- Networks of other kinds.


def imported(folder: Path, **network: Any) -> Bundle:
    return tiny_networks.make_bundle(folder, **network)


def with_more_outputs(folder: Path) -> Bundle:
    bundle = imported(folder)
    tiny_networks.write_network(bundle.model, second_output=True)
    return load_bundle(folder)


def dynamic(folder: Path) -> Bundle:
    model = tiny_networks.write_network(folder.with_suffix(".onnx"), names=str([*tiny_networks.LABELS]), free_size=True)
    return import_network(model, folder, dataclasses.replace(tiny_networks.OPTIONS, size=(32, 32)))


def in_halves(folder: Path) -> Bundle:
    """With float16 at both ends."""
    bundle = imported(folder)
    model = onnx.load(bundle.model)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for constant in model.graph.initializer:
        array = onnx.numpy_helper.to_array(constant)
        if array.dtype == np.float32:
            constant.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), constant.name))
    onnx.save(model, str(bundle.model))
    return load_bundle(folder)


@pytest.mark.parametrize("has_kernels", [True, False])
@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (lambda folder: imported(folder, layout="NHWC"), 1e-4),
        (dynamic, 1e-4),
        (with_more_outputs, 1e-4),
        (in_halves, 0.05),
    ],
    ids=["NHWC", "dynamic", "an output that nobody reads", "halves"],
)
def test_networks_of_other_kinds(
    make: Callable[[Path], Bundle], tolerance: float, has_kernels: bool, tmp_path: Path
) -> None:
    if has_kernels and shutil.which("g++") is None:
        pytest.skip("needs g++ to compile the kernels for the host")
    bundle = make(tmp_path / "net")
    with simulated_engine(bundle, 2, gpu := SimulatedGpu(1, has_kernels=has_kernels)) as engine:
        for image in (GREY, tiny_networks.solid(200, 10, 50, (50, 20))):
            outputs = inferred(engine, 1, image)
            assert outputs.dtype == np.float32
            np.testing.assert_allclose(outputs, expected(bundle, image), atol=tolerance)
        assert bool(engine.notes) is not has_kernels
    assert gpu.broken_rules == []


def test_pixels_that_are_no_floats_are_refused(tmp_path: Path, gpu: SimulatedGpu) -> None:
    bundle = imported(tmp_path / "net")
    model = onnx.load(bundle.model)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    cast = onnx.helper.make_node("Cast", ["image"], ["floats"], to=onnx.TensorProto.FLOAT)
    model.graph.node[0].input[0] = "floats"
    model.graph.node.insert(0, cast)
    onnx.save(model, str(bundle.model))
    with pytest.raises(Exception, match="pixels of int64, and floats are expected"):
        simulated_engine(load_bundle(bundle.folder), 1, gpu)
    assert gpu.broken_rules == []


def test_a_device_without_room_is_an_error_in_words_that_leaves_nothing(bundle: Bundle) -> None:
    gpu = SimulatedGpu()
    gpu.memory_limit = 20_000
    with pytest.raises(EngineError, match=r"cuda:0: does not start .*out of memory"):
        simulated_engine(bundle, 3, gpu)
    assert gpu.opened[0].is_closed


# --- A device that fails.


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def fails(engine: Engine, slot: int = 0, match: str = "inference failed") -> None:
    with pytest.raises(EngineError, match=match):
        inferred(engine, slot)


def test_a_frame_that_is_staged_when_the_device_is_lost_is_not_inferred_from_what_another_session_holds(
    bundle: Bundle, gpu: SimulatedGpu
) -> None:
    with simulated_engine(bundle, 2, gpu) as engine:
        engine.stage(0, 0, GREY, engine.place(32, 32))
        engine.stage(1, 0, GREY, engine.place(32, 32))
        engine.submit(1, 1)
        gpu.lose()
        with pytest.raises(EngineError, match="inference failed"):
            engine.wait(1)
        engine.submit(0, 1)  # on a session that never saw its image
        with pytest.raises(EngineError, match="was lost while images were on their way to it"):
            engine.wait(0)
        engine.stage(0, 0, GREY, engine.place(32, 32))
        engine.submit(0, 1)
        assert len(engine.wait(0).rows) == 1


@needs_compiler
@pytest.mark.parametrize("has_kernels", [True, False])
def test_nv12_is_less_work_only_where_a_kernel_reads_it(has_kernels: bool, bundle: Bundle) -> None:
    with simulated_engine(bundle, 1, SimulatedGpu(has_kernels=has_kernels)) as engine:
        assert engine.reads_nv12 is has_kernels


def test_a_row_that_never_came_fails_its_frame_though_the_others_did(tmp_path: Path, gpu: SimulatedGpu) -> None:
    with simulated_engine(tiny_networks.make_bundle(tmp_path / "rows", batch=2), 1, gpu) as engine:
        assert engine.max_rows == 2
        gpu.fail_calls["copy_in"] = 0
        for row in range(2):
            engine.stage(0, row, GREY, engine.place(32, 32))
        engine.submit(0, 2)
        with pytest.raises(EngineError, match="inference failed"):
            engine.wait(0)
        for row in range(2):
            engine.stage(0, row, GREY, engine.place(32, 32))
        engine.submit(0, 2)
        assert len(engine.wait(0).rows) == 2


@pytest.mark.parametrize("call", ["copy_in", "record", "copy_out", "synchronize", "elapsed_ms", "launch_graph"])
def test_a_lost_device_costs_its_frames_and_comes_back(call: str, bundle: Bundle, gpu: SimulatedGpu) -> None:
    with simulated_engine(bundle, 2, gpu) as engine:
        inferred(engine, 0)
        gpu.fail_calls[call] = 0
        fails(engine, 0)
        for slot in (1, 0):
            np.testing.assert_allclose(inferred(engine, slot), expected(bundle), atol=1e-4)
        assert len(gpu.opened) == 2
        assert engine._restarts.count == 1
    assert [cuda.is_closed for cuda in gpu.opened] == [True, True]
    assert gpu.broken_rules == []


def test_every_frame_on_a_lost_device_fails_and_none_hangs(bundle: Bundle, gpu: SimulatedGpu) -> None:
    with simulated_engine(bundle, 3, gpu) as engine:
        for slot in range(3):
            engine.stage(slot, 0, GREY, engine.place(32, 32))
            engine.submit(slot, 1)
        gpu.lose()
        with pytest.raises(EngineError, match="illegal memory access"):
            engine.wait(0)
        fails(engine, 0, "was lost .* and is started again")  # two frames are still on the old one
        for slot in (1, 2):
            with pytest.raises(EngineError, match="illegal memory access"):
                engine.wait(slot)
        np.testing.assert_allclose(inferred(engine), expected(bundle), atol=1e-4)
    assert gpu.broken_rules == []


def test_an_inference_that_tensorrt_refuses_costs_one_frame_and_many_a_restart(
    bundle: Bundle,
) -> None:
    gpu = SimulatedGpu(can_capture=False)
    with simulated_engine(bundle, 1, gpu) as engine:
        gpu.refuse_enqueues = 2
        for _ in range(2):
            fails(engine, match=r"TensorRT: inference failed \(Cask \(no more workspace\)\)")
        inferred(engine)
        assert len(gpu.opened) == 1
        gpu.refuse_enqueues = 3
        for _ in range(3):
            fails(engine)
        np.testing.assert_allclose(inferred(engine), expected(bundle), atol=1e-4)
        assert len(gpu.opened) == 2
    assert gpu.broken_rules == []


def test_tries_to_come_back_are_ever_rarer_and_end(bundle: Bundle, gpu: SimulatedGpu) -> None:
    clock = Clock()
    restarts = Restarts(limit=3, first_wait_s=1.0, clock_s=clock)
    with simulated_engine(bundle, 1, gpu, restarts) as engine:
        gpu.refuse_to_open = 100
        gpu.lose()
        fails(engine, match="illegal memory access")
        tried_at_s = []
        for _ in range(800):  # 200 s: longer than a device has to hold to be trusted again
            before = gpu.refuse_to_open
            with pytest.raises(EngineError) as caught:
                inferred(engine)
            if gpu.refuse_to_open < before:
                tried_at_s.append(clock.now_s)
            clock.now_s += 0.25
        assert len(tried_at_s) == 3
        waits_s = np.diff(tried_at_s)
        assert waits_s.tolist() == [1.0, 2.0]
        assert "did not come back in 3 tries" in str(caught.value)
        assert "start the process again" in caught.value.remedy


def test_a_device_that_held_for_a_while_may_fail_anew(bundle: Bundle, gpu: SimulatedGpu) -> None:
    clock = Clock()
    with simulated_engine(bundle, 1, gpu, Restarts(limit=2, clock_s=clock)) as engine:
        for _ in range(5):
            gpu.lose()
            fails(engine, match="illegal memory access")
            inferred(engine)
            clock.now_s += 100
        assert len(gpu.opened) == 6
    assert gpu.broken_rules == []


@needs_compiler
def test_candidates_are_picked_on_the_device_where_it_can_and_after_a_restart_too(bundle: Bundle) -> None:
    with simulated_engine(bundle, 1, gpu := SimulatedGpu(has_kernels=True)) as engine:
        reduction = decoder_for(bundle, engine).reduction
        assert reduction is not None
        assert not engine.reduce(reduction, Thresholds(every_label=True)), "the device knows a box's best class alone"
        assert "predictions" in waited(engine)
        assert engine.reduce(reduction, Thresholds())
        before = waited(engine)[CANDIDATES].tobytes()
        assert len(before) == 2 * CANDIDATE.itemsize, "the box by colour, and the steady one"
        gpu.lose()
        fails(engine, match="illegal memory access")
        assert waited(engine)[CANDIDATES].tobytes() == before
    assert gpu.broken_rules == []
    with simulated_engine(bundle, 1, SimulatedGpu()) as engine:
        assert not engine.reduce(reduction, Thresholds()), "there is no compiler"


def test_a_plan_that_was_exchanged_for_one_that_does_not_fit_is_a_frames_failure(
    bundle: Bundle, gpu: SimulatedGpu
) -> None:
    with simulated_engine(bundle, 1, gpu) as engine:
        tiny_networks.write_network(bundle.model, inputs=2)
        write_plan(bundle, gpu)
        gpu.lose()
        fails(engine, match="illegal memory access")
        fails(engine, match="its plan takes image")
    assert gpu.broken_rules == []


def test_a_plan_that_has_gone_stays_an_error_of_frames(bundle: Bundle, gpu: SimulatedGpu) -> None:
    with simulated_engine(bundle, 1, gpu) as engine:
        shutil.rmtree(bundle.folder / "plans" / "one")
        gpu.lose()
        fails(engine, match="illegal memory access")
        fails(engine, match="has no plan of tensorrt")


# --- As the tools see it.


def test_the_bench_tells_the_stages_in_trtexecs_words(bundle: Bundle) -> None:
    costs_ns = {"copy in": 1_000_000, "inference": 4_000_000, "copy out": 8_000_000}
    with simulated_engine(bundle, 1, SimulatedGpu(costs_ns=costs_ns)) as engine:
        speed = measure(engine, 0.05)
    stages = {name: (found["p50"], found["p99"], found["max"]) for name, found in speed.gpu_ms.items()}
    assert stages.pop("enqueue")[0] > 0
    assert stages == {
        stage: (took_ms,) * 3
        for stage, took_ms in (("h2d", 1), ("preprocess", 0), ("compute", 4), ("reduce", 0), ("d2h", 8))
    }
    assert speed.latency_ms == {"p50": 13, "p90": 13, "p99": 13, "max": 13}
    assert speed.in_flight == 1
    assert any("copies take as long" in remark for remark in speed.remarks)
    assert speed.inferences > 1
