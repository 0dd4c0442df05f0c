"""The engine's slots on a real CUDA device, with a kernel in place of TensorRT. Skipped where there is none."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_networks
from simulated_tensorrt import write_plan

from engines.bundle import Bundle
from engines.errors import EngineError
from engines.gpu import find_gpu
from engines.inference import decoder_for
from engines.results import Thresholds
from engines.runtime import Engine
from engines.runtime.cuda import Cuda
from engines.runtime.opening_cuda import open_cuda
from engines.runtime.tensorrt import TensorRtEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from test_engine import PROMISES, Bundles, expected, picture, start

GPU = find_gpu(0)
IS_REAL = GPU is not None and GPU.name != "Host"  # the stand-in of tests/host_driver.c does its work at once
pytestmark = pytest.mark.skipif(
    GPU is None or find_spec("pycuda") is None, reason="needs a CUDA device and pycuda: see README, GPU"
)
needs_a_real_one = pytest.mark.skipif(not IS_REAL, reason="needs a device that works while the host goes on")
MIB = 2**20


@pytest.fixture(scope="module")
def module() -> Any:
    from stand_in_tensorrt import StandInTensorRt

    return StandInTensorRt()


@pytest.fixture
def opens(module: Any) -> Iterator[Callable[[Bundle, int], TensorRtEngine]]:
    from stand_in_tensorrt import stand_in_engine

    def make(bundle: Bundle, slots: int) -> TensorRtEngine:
        if not (bundle.folder / "plans").exists():
            write_plan(bundle, CARD, checked=bundle.name == "fails")
        return stand_in_engine(bundle, slots, module)

    yield make
    module.work, module.crashes = 0, False


class CARD:
    """What a plan here is built on."""

    facts = GPU


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    folder = tmp_path_factory.mktemp("gpu_bundles")
    return Bundles(
        plain=tiny_networks.make_bundle(folder / "plain"),
        slow=tiny_networks.make_bundle(folder / "slow", work=320),
        fails=tiny_networks.make_bundle(folder / "fails", on_white="fails"),
        rows=tiny_networks.make_bundle(folder / "rows", batch=4),
    )


@pytest.fixture
def cuda() -> Iterator[Cuda]:
    opened = open_cuda(0)
    yield opened
    opened.close()


# --- pycuda behind the contract.


def test_copies_come_back_as_they_were_and_in_order(cuda: Cuda) -> None:
    with cuda.attached():
        stream, done = cuda.new_stream(), cuda.new_event()
        host, device, back = cuda.host_memory(MIB), cuda.device_memory(MIB), cuda.host_memory(MIB)
        for number in range(50):
            host.array[:] = number
            cuda.copy_in(device, host, MIB, stream)
            cuda.copy_out(back, device, MIB, stream)
            cuda.record(done, stream)
            cuda.synchronize(done)
            assert (back.array == number).all()


def test_events_know_the_time_between_them(cuda: Cuda) -> None:
    with cuda.attached():
        stream, first, second = cuda.new_stream(), cuda.new_event(), cuda.new_event()
        host, device = cuda.host_memory(64 * MIB), cuda.device_memory(64 * MIB)
        cuda.record(first, stream)
        cuda.copy_in(device, host, 64 * MIB, stream)
        cuda.record(second, stream)
        cuda.synchronize(second)
        took_ms = cuda.elapsed_ms(first, second)
        assert took_ms > 0
        if IS_REAL:
            assert 64 / took_ms < 200, "GB/s over any bus there is"


def test_a_thread_that_waits_lets_the_others_run(cuda: Cuda) -> None:
    ticks = itertools.count()
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            next(ticks)
            time.sleep(0.0005)

    with cuda.attached():
        stream, done = cuda.new_stream(), cuda.new_event()
        host, device = cuda.host_memory(256 * MIB), cuda.device_memory(256 * MIB)
        thread = threading.Thread(target=tick)
        thread.start()
        try:
            began_s = time.monotonic()
            before = next(ticks)
            for _ in range(10):
                cuda.copy_in(device, host, 256 * MIB, stream)
            cuda.record(done, stream)
            cuda.synchronize(done)
            took_s = time.monotonic() - began_s
            during = next(ticks) - before
        finally:
            stop.set()
            thread.join()
    if IS_REAL:
        assert during > took_s / 0.0005 / 10


def test_mapped_memory_is_seen_from_both_sides_where_there_is_some(cuda: Cuda) -> None:
    with cuda.attached():
        assert bool(cuda.host_memory(100).address) is cuda.is_integrated


# --- The engine.


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_the_engines_contract(promise: Callable[..., None], opens: Any, bundles: Bundles) -> None:
    if not IS_REAL and promise.__name__ == "submits_at_once":
        pytest.skip("needs a device that works while the host goes on")
    promise(opens, bundles)


@needs_a_real_one
def test_frames_of_several_slots_overlap_in_the_devices_own_events(opens: Any, module: Any, bundles: Bundles) -> None:
    module.work = 20_000
    with opens(bundles.plain, 3) as engine:
        spans = frames(engine, bundles.plain, 30)
    busy_ns = sum(end - began for began, end in spans)
    wall_ns = max(end for _, end in spans) - min(began for began, _ in spans)
    assert busy_ns > 1.5 * wall_ns


@needs_a_real_one
def test_the_host_does_not_wait_inside_a_frame(opens: Any, module: Any, bundles: Bundles) -> None:
    module.work = 20_000
    image = picture(1)
    with opens(bundles.plain, 1) as engine:
        hosts_ms, devices_ms = [], []
        for _ in range(10):
            began_s = time.monotonic()
            start(engine, 0, image)
            hosts_ms.append((time.monotonic() - began_s) * 1e3)
            done = engine.wait(0)
            devices_ms.append(done.gpu.compute_ms)
    assert min(hosts_ms) < np.median(devices_ms) / 4


@needs_a_real_one
@pytest.mark.skipif(find_spec("cuda") is None, reason="needs cuda-bindings: pip install cuda-bindings")
def test_an_inference_is_launched_as_a_graph(opens: Any, bundles: Bundles) -> None:
    with opens(bundles.plain, 2) as engine:
        assert all(slot._graph is not None for slot in engine._session.slots)
        frames(engine, bundles.plain, 10)


def test_a_fault_of_the_device_costs_its_frames_and_the_engine_comes_back(
    opens: Any, module: Any, bundles: Bundles
) -> None:
    if not IS_REAL:
        pytest.skip("needs a device that outlives a fault; here the process would not")
    with opens(bundles.plain, 2) as engine:
        for slot in engine._session.slots:
            slot._graph = None  # a graph was captured before the fault
        frames(engine, bundles.plain, 4)
        module.crashes = True
        start(engine, 0, picture(1))
        with pytest.raises(EngineError):
            engine.wait(0)
        frames(engine, bundles.plain, 4)


def test_candidates_from_the_device_are_the_decoders(opens: Any, bundles: Bundles) -> None:
    thresholds = Thresholds(score=0.05)
    with opens(bundles.plain, 2) as engine:
        decoder = decoder_for(bundles.plain, engine)
        assert decoder.reduction is not None
        assert engine.reduce(decoder.reduction, thresholds)
        for number in range(20):
            image = picture(number)
            start(engine, number % 2, image)
            place = engine.place(32, 32)
            found = decoder.decode(engine.wait(number % 2).rows[0], place, thresholds)
            wanted = decoder.decode({"predictions": expected(bundles.plain, image)}, place, thresholds)
            np.testing.assert_array_equal(found.classes, wanted.classes)
            np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=1e-2)


def test_device_memory_is_flat_over_frames_and_openings(opens: Any, cuda: Cuda, bundles: Bundles) -> None:
    def free_mib() -> float:
        with cuda.attached():
            return cuda.free_bytes()[0] / MIB

    with opens(bundles.plain, 3) as engine:
        frames(engine, bundles.plain, 30)
        before = free_mib()
        frames(engine, bundles.plain, 600)
        assert abs(free_mib() - before) < 4
    for _ in range(3):
        opens(bundles.plain, 3).close()
    before = free_mib()
    for _ in range(10):
        opens(bundles.plain, 3).close()
    assert before - free_mib() < 16


def frames(engine: Engine, bundle: Bundle, count: int) -> list[tuple[int, int]]:
    """Run so many, every slot kept full, each looked at; when the device began and ended each, in host ns."""
    images = [picture(seed) for seed in range(5)]
    wanted = [expected(bundle, image) for image in images]
    spans = []
    for number in range(count + engine.slots):
        slot = number % engine.slots
        if number >= engine.slots:
            done = engine.wait(slot)
            spans.append((done.started_ns, done.inferred_ns))
            outputs = done.rows[0]["predictions"]
            np.testing.assert_allclose(outputs, wanted[(number - engine.slots) % 5], atol=1e-4)
        if number < count:
            start(engine, slot, images[number % 5])
    return spans
