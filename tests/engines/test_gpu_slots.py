"""What the host and the device promise each other over a slot, on a device that does as little as it may, late.

Each synchronisation of the slots' code is taken out once (`MUTATIONS`), and the same run must fail then.
"""

from __future__ import annotations

import importlib
import itertools
import random
import sys
import threading
import time
import types
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_networks
from host_device import needs_compiler
from numpy.typing import NDArray
from simulated_cuda import SimulatedGpu
from simulated_tensorrt import simulated_engine, write_plan

from engines.bundle import Bundle
from engines.decoders.decoder import NonFiniteOutputError, Outputs
from engines.decoders.grids import total_cells
from engines.errors import EngineError
from engines.inference import decoder_for
from engines.letterbox import Preprocessor
from engines.reduction import CANDIDATES
from engines.results import Detections, Thresholds
from engines.runtime.cuda import CudaError
from engines.runtime.engine import GpuTimes
from engines.runtime.staging import MAX_PLACES
from sensors.frame import PixelFormat

pytestmark = needs_compiler

RUNTIME = Path(importlib.import_module("engines.runtime").__file__ or "").parent
TOLERANCE = 1e-4
WAIT_S = 20.0
THRESHOLDS = Thresholds(score=0.05)
FEW_SIZES = ((32, 32), (64, 20), (7, 90), (50, 48))  # in every format as many places as a slot keeps
SIZES = (*FEW_SIZES, (48, 48), (40, 30))
MS = 1_000_000
COSTS_NS = {"copy in": MS, "letterbox": 2 * MS, "inference": 4 * MS, "candidates": MS, "copy out": 8 * MS}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    made = tiny_networks.make_bundle(tmp_path_factory.mktemp("slots") / "net", batch=3)
    write_plan(made, SimulatedGpu())
    return made


def expected(bundle: Bundle, image: NDArray[np.uint8], kind: PixelFormat) -> NDArray[np.float32]:
    preprocessor = Preprocessor(bundle.settings.pixels, 32, 32)
    height = image.shape[0] * 2 // 3 if kind.is_nv12 else image.shape[0]
    tensor = np.zeros((3, 32, 32), np.float32)
    preprocessor.write(image, preprocessor.geometry(image.shape[1], height), tensor, kind)
    return tiny_networks.answer(tensor, total_cells(32, 32))


class Driver:
    """Drives an engine as a pipeline may at its worst, and looks at everything that comes out."""

    def __init__(
        self, bundle: Bundle, seed: int, slots: int = 3, reduces: bool = False, sizes: Any = SIZES, **gpu: Any
    ) -> None:
        self.bundle = bundle
        self.sizes = sizes
        self.random = random.Random(seed)
        self.noise = np.random.default_rng(seed)
        self.gpu = SimulatedGpu(seed, **gpu)
        self.engine = simulated_engine(bundle, slots, self.gpu)
        self.decoder = decoder_for(bundle, self.engine)
        if reduces:
            assert self.decoder.reduction is not None
            assert self.engine.reduce(self.decoder.reduction, THRESHOLDS)
        if seed % 2:
            self.engine._session.slots[0]._clock.renew_ns = 0  # the slots share it
        self.wanted: dict[int, list[NDArray[np.float32]]] = {}
        self.began_ns: dict[int, int] = {}

    def picture(self, size: tuple[int, int] | None = None) -> tuple[NDArray[np.uint8], PixelFormat]:
        width, height = size or self.random.choice(self.sizes)
        is_nv12 = size is None and width % 2 == 0 and self.random.random() < 0.3
        shape = (height * 3 // 2, width) if is_nv12 else (height, width, 3)
        levels = self.noise.integers(0, 200) if is_nv12 else self.noise.integers(0, 200, 3)
        kind = self.random.choice([kind for kind in PixelFormat if kind.is_nv12]) if is_nv12 else PixelFormat.BGR
        return np.asarray(self.noise.integers(0, 40, shape) + levels, np.uint8), kind

    def stage(self, slot: int, rows: int = 1, sizes: Sequence[tuple[int, int] | None] = (None, None, None)) -> None:
        self.began_ns[slot] = time.monotonic_ns()
        self.wanted[slot] = []
        for row in range(rows):
            image, kind = self.picture(sizes[row])
            height = image.shape[0] * 2 // 3 if kind.is_nv12 else image.shape[0]
            self.engine.stage(slot, row, image, self.engine.place(image.shape[1], height), kind)
            self.wanted[slot].append(expected(self.bundle, image, kind))
            image.fill(255)  # its owner uses the memory for something else

    def submit(self, slot: int) -> None:
        self.engine.submit(slot, len(self.wanted[slot]))

    def check(self, slot: int) -> tuple[Outputs, ...]:
        done = self.engine.wait(slot)
        assert self.began_ns[slot] <= done.started_ns <= done.inferred_ns <= time.monotonic_ns()
        self.compare(slot, done.rows)
        return done.rows

    def compare(self, slot: int, rows: tuple[Outputs, ...]) -> None:
        assert len(rows) == len(self.wanted[slot])
        for outputs, wanted in zip(rows, self.wanted[slot], strict=True):
            self.compare_row(outputs, wanted)

    def compare_row(self, outputs: Outputs, raw: NDArray[np.float32]) -> None:
        if CANDIDATES not in outputs:
            np.testing.assert_allclose(outputs["predictions"], raw, atol=TOLERANCE)
            return
        place = self.engine.place(32, 32)
        found = self.decoder.decode(outputs, place, THRESHOLDS)
        wanted = self.decoder.decode({"predictions": raw}, place, THRESHOLDS)
        assert isinstance(found, Detections)
        assert isinstance(wanted, Detections)
        assert len(wanted) == 2
        np.testing.assert_array_equal(found.classes, wanted.classes)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=TOLERANCE)
        np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=10 * TOLERANCE)

    def round(self, pool: ThreadPoolExecutor) -> None:
        slots = list(range(self.engine.slots))
        self.random.shuffle(slots)
        for slot in slots:
            while self.random.random() < 0.3:  # a frame that is given up: another network of its pipeline failed
                self.stage(slot, self.random.randint(1, self.engine.max_rows))
            self.stage(slot, self.random.randint(1, self.engine.max_rows))
            self.submit(slot)
        self.random.shuffle(slots)
        kept = []
        for slot in slots:
            waiting = pool.submit(self.check, slot) if self.random.random() < 0.3 else None
            kept.append((slot, waiting.result(WAIT_S) if waiting else self.check(slot)))
        for slot, rows in kept:  # they stay until the slot is staged again
            self.compare(slot, rows)

    def end(self) -> None:
        """Close with one slot staged and one in flight, whose result is still to be had."""
        self.stage(0, 2)
        self.stage(1, 3)
        self.submit(1)
        self.engine.close()
        self.check(1)
        assert self.gpu.broken_rules == []


def results_are_right(bundle: Bundle, seed: int, **gpu: Any) -> None:
    driver = Driver(bundle, seed, **gpu)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(6):
            driver.round(pool)
    driver.end()


def times_are_of_the_frame(bundle: Bundle, seed: int, **gpu: Any) -> None:
    """On a device with a clock on which each kind of work takes exactly so long."""
    driver = Driver(bundle, seed, slots=1, costs_ns=COSTS_NS, **gpu)
    has_kernels, is_integrated = gpu.get("has_kernels", False), gpu.get("is_integrated", False)
    for rows in (1, 1, 3, 2):
        while driver.random.random() < 0.5:
            driver.stage(0, driver.random.randint(1, 3))
        driver.stage(0, rows)
        driver.engine.submit(0, rows)
        done = driver.engine.wait(0)
        assert isinstance(done.gpu, GpuTimes)
        assert done.gpu.enqueue_ms > 0
        weights = rows if has_kernels else 0  # the first image of a size takes its weights along
        assert done.gpu.copy_in_ms in ((0.0,) if is_integrated else range(rows, rows + weights + 1))
        assert done.gpu.preprocess_ms == (2.0 * rows if has_kernels else 0.0)
        assert done.gpu.compute_ms == 4.0
        assert done.gpu.reduce_ms == (5.0 * rows if gpu.get("reduces") else 0.0)
        results = rows if gpu.get("reduces") else 1
        assert done.gpu.copy_out_ms == (0.0 if is_integrated else 8.0 * results)
    driver.engine.close()
    assert driver.gpu.broken_rules == []


def closing_waits_for_who_waits(bundle: Bundle, seed: int, **gpu: Any) -> None:
    driver = Driver(bundle, seed, **gpu)
    is_waiting, may_go_on = threading.Event(), threading.Event()

    def hold_the_first() -> None:
        if not is_waiting.is_set():
            is_waiting.set()
            assert may_go_on.wait(WAIT_S)

    driver.stage(0)
    driver.engine.submit(0, 1)
    driver.gpu.before_waiting = hold_the_first
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(driver.check, 0)
        assert is_waiting.wait(WAIT_S)
        closing = pool.submit(driver.engine.close)
        try:
            with pytest.raises(FutureTimeoutError):
                closing.result(0.05)
        finally:
            may_go_on.set()
        waiting.result(WAIT_S)
        closing.result(WAIT_S)
    assert driver.gpu.broken_rules == []


def slots_overlap_and_the_host_waits_in_wait_alone(bundle: Bundle, seed: int, **gpu: Any) -> None:
    driver = Driver(bundle, seed, **{**gpu, "eagerness": 0.0})
    before = len(driver.gpu.waits)
    for slot in range(3):
        driver.stage(slot)
        driver.engine.submit(slot, 1)
    assert len(driver.gpu.waits) == before, "the host waited inside a frame"
    began = len(driver.gpu.journal)
    for slot in range(3):
        driver.check(slot)
    streams = [stream for _, stream in driver.gpu.journal[began:]]
    changes = sum(one != after for one, after in itertools.pairwise(streams))
    assert len(set(streams)) >= 3, "slots share a stream"
    assert changes > 2, "one slot after another"
    driver.engine.close()


def weights_stay_until_their_kernel_is_done(bundle: Bundle, seed: int, **gpu: Any) -> None:
    """Of an image's size, also where it is the oldest of all and another row's new size takes its place."""
    driver = Driver(bundle, seed, **gpu)
    for number in range(MAX_PLACES):
        driver.stage(0, 1, [(32 + 2 * number, 20)])
        driver.submit(0)
        driver.check(0)
    for number in range(3):
        driver.stage(0, 3, [(32 + 2 * number, 20), (200 + 2 * number, 20), (300 + 2 * number, 20)])
        driver.submit(0)
        driver.check(0)
    driver.engine.close()
    assert driver.gpu.broken_rules == []


def it_may_be_closed_at_once(bundle: Bundle, seed: int, **gpu: Any) -> None:
    driver = Driver(bundle, seed, **gpu)
    driver.engine.close()
    assert driver.gpu.broken_rules == []


KINDS: dict[str, dict[str, Any]] = {
    "discrete": {"has_kernels": True},
    "discrete, eager, no graphs": {"has_kernels": True, "eagerness": 0.4, "can_capture": False},
    "discrete, letterbox on the CPU": {},
    "discrete, candidates picked there": {"has_kernels": True, "reduces": True, "eagerness": 0.2},
    "jetson, candidates picked there": {"has_kernels": True, "reduces": True, "is_integrated": True},
    "jetson": {"has_kernels": True, "is_integrated": True},
    "jetson, letterbox on the CPU": {"is_integrated": True, "eagerness": 0.4},
}
PROMISES = (
    results_are_right,
    times_are_of_the_frame,
    slots_overlap_and_the_host_waits_in_wait_alone,
    closing_waits_for_who_waits,
    weights_stay_until_their_kernel_is_done,
    it_may_be_closed_at_once,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_a_slot(promise: Any, kind: str, bundle: Bundle) -> None:
    for seed in range(8 if promise is results_are_right else 2):
        promise(bundle, seed, **KINDS[kind])


def test_nothing_is_allocated_once_the_sizes_are_known(bundle: Bundle) -> None:
    driver = Driver(bundle, 2, has_kernels=True, sizes=FEW_SIZES)
    with ThreadPoolExecutor(1) as pool:
        for slot in range(3):
            for _ in range(60):  # every size in every kind
                driver.stage(slot, 3)
        for _ in range(3):
            driver.round(pool)
        makers = ("host_memory", "device_memory", "new_stream", "new_event", "kernel", "captured")
        before = {name: driver.gpu.calls[name] for name in makers}
        for _ in range(5):
            driver.round(pool)
    assert {name: driver.gpu.calls[name] for name in makers} == before
    driver.engine.close()


@pytest.mark.parametrize("can_capture", [True, False])
def test_no_more_rows_are_computed_than_were_submitted(can_capture: bool, bundle: Bundle) -> None:
    driver = Driver(bundle, 4, can_capture=can_capture)
    driver.gpu.computed.clear()
    for rows in (3, 1, 2, 3):
        driver.stage(0, rows)
        driver.submit(0)
        driver.check(0)
    assert driver.gpu.computed == [3, 1, 2, 3]
    driver.engine.close()


def test_an_inference_is_launched_as_a_graph_where_that_can_be_had(bundle: Bundle) -> None:
    for can_capture in (True, False):
        driver = Driver(bundle, 3, can_capture=can_capture)
        driver.stage(0)
        driver.engine.submit(0, 1)
        driver.check(0)
        assert (driver.gpu.calls["launch_graph"] > 0) is can_capture
        driver.engine.close()


# --- Each synchronisation taken out, and the run that must fail.


@dataclass(frozen=True)
class Edit:
    """`old` becomes `new` in the one line that has it, and whose next line begins with `then`; "": is empty.

    An `old` with space in front is a line's beginning.
    """

    old: str
    new: str
    then: str | None = None

    def line_in(self, lines: list[str]) -> int:
        def fits(line: str, after: str) -> bool:
            has_old = line.startswith(self.old) if self.old.startswith(" ") else self.old in line
            if self.then is None or not has_old:
                return has_old
            return after.strip().startswith(self.then) if self.then else not after.strip()

        pairs = zip(lines, [*lines[1:], ""], strict=True)
        found = [number for number, (line, after) in enumerate(pairs) if fits(line, after)]
        assert len(found) == 1, f"{self.old}: the code has changed; change the list of mutations too"
        return found[0]


@dataclass(frozen=True)
class Mutation:
    file: str
    edits: tuple[Edit, ...]

    def __str__(self) -> str:
        return f"{self.file}: " + ", ".join(f"{edit.old} -> {edit.new or 'nothing'}" for edit in self.edits)


def mutation(file: str, old: str, new: str = "pass", then: str | None = None) -> Mutation:
    return Mutation(file, (Edit(old, new, then),))


SLOT, STAGING, REDUCING = "gpu_slot.py", "staging.py", "reducing.py"
SESSION, CLOCK = "gpu_session.py", "gpu_clock.py"
ELSEWHERE = "self._cuda.new_stream()"  # a stream that nothing ties to the slot's
ATTACHED, NOT_ATTACHED = "with self._cuda.attached():", "if True:"
COPIED = "self._cuda.record(copied, stream)"
MUTATIONS = [
    # what the slot waits for
    mutation(SLOT, "self._cuda.synchronize(events.there)"),
    mutation(SLOT, "self._cuda.synchronize(self._done)", then="self.in_flight = False"),
    mutation(SLOT, "self._cuda.synchronize(self._done)", then=""),
    mutation(SLOT, "self._cuda.synchronize(self._rows_in[self._staged[-1]].there)"),
    mutation(SLOT, "self.in_flight = True"),
    # what it waits on
    mutation(SLOT, "self._cuda.record(events.begun, self._stream)"),
    mutation(SLOT, "self._cuda.record(events.there, self._stream)"),
    mutation(SLOT, "self._cuda.record(self._started, self._stream)"),
    mutation(SLOT, "self._cuda.record(self._computed, self._stream)"),
    mutation(SLOT, "self._cuda.record(self._reduced, self._stream)"),
    mutation(SLOT, "self._cuda.record(self._done, self._stream)", then="self.in_flight = True"),
    mutation(SLOT, "self._cuda.record(self._done, self._stream)", then="self._cuda.synchronize"),
    Mutation(
        SLOT,
        (
            Edit("self._cuda.record(self._done, self._stream)", "pass", "self.in_flight = True"),
            Edit(
                "self._cuda.record(self._computed, self._stream)",
                "self._cuda.record(self._computed, self._stream); self._cuda.record(self._done, self._stream)",
            ),
        ),
    ),
    # the order on its stream
    mutation(SLOT, "write(row, image, place, kind, self._stream", f"write(row, image, place, kind, {ELSEWHERE}"),
    mutation(SLOT, "launch_graph(self._graph, self._stream)", f"launch_graph(self._graph, {ELSEWHERE})"),
    mutation(
        SLOT, "_context.execute_async_v3(self._stream", f"_context.execute_async_v3({ELSEWHERE}", "self._enqueued"
    ),
    mutation(
        SLOT, "_context.execute_async_v3(self._stream", f"_context.execute_async_v3({ELSEWHERE}", "if is_enqueued"
    ),
    mutation(SLOT, "_of_fewer.execute_async_v3(self._stream", f"_of_fewer.execute_async_v3({ELSEWHERE}"),
    mutation(SLOT, "self._cuda.captured(self._stream)", f"self._cuda.captured({ELSEWHERE})"),
    mutation(SLOT, "reducing.copy_out(self._stream)", f"reducing.copy_out({ELSEWHERE})"),
    mutation(SLOT, "self._row_sizes[name], self._stream)", f"self._row_sizes[name], {ELSEWHERE})"),
    mutation(STAGING, "copy_in(self._row_size, stream,", f"copy_in(self._row_size, {ELSEWHERE},"),
    mutation(STAGING, "copy_in(image.nbytes, stream)", f"copy_in(image.nbytes, {ELSEWHERE})"),
    mutation(STAGING, "self._at(place, kind, stream)", f"self._at(place, kind, {ELSEWHERE})"),
    mutation(STAGING, "copy_in(weights.size, stream)", f"copy_in(weights.size, {ELSEWHERE})"),
    mutation(STAGING, "arguments.tobytes(), stream", f"arguments.tobytes(), {ELSEWHERE}"),
    mutation(SLOT, "reducing.launch(self._stream)", f"reducing.launch({ELSEWHERE})"),
    mutation(REDUCING, "block, arguments, stream)", f"block, arguments, {ELSEWHERE})"),
    mutation(REDUCING, "copy_out(self._result.size, stream)", f"copy_out(self._result.size, {ELSEWHERE})"),
    mutation(REDUCING, "copy_in(self._limits.size, stream)", f"copy_in(self._limits.size, {ELSEWHERE})"),
    mutation(SLOT, "outputs, self._stream))", f"outputs, {ELSEWHERE}))"),
    # the copies themselves
    mutation(SLOT, "reducing.copy_out(self._stream)"),
    mutation(SLOT, "output.copy_out(rows * self._row_sizes[name], self._stream)"),
    mutation(SLOT, "output.copy_out(rows * self._row_sizes", "output.copy_out((rows - 1 or 1) * self._row_sizes"),
    mutation(SLOT, "self._staged.clear()"),
    mutation(SLOT, "self._of_fewer = plan.new_context() if", "self._of_fewer = self._context if"),
    mutation(
        STAGING,
        "self._left.append(self._places.pop(next(iter(self._places))))",
        "self._places.pop(next(iter(self._places)))",
    ),
    mutation(SLOT, ".address + row * self._row_sizes[name]", ".address"),
    mutation(STAGING, "self._input.address + row * self._row_size,", "self._input.address,"),
    mutation(STAGING, "memory = self._images[row]", "memory = self._images[0]"),
    mutation(REDUCING, "self._limits.copy_in(self._limits.size, stream)"),
    mutation(REDUCING, "self._result.copy_out(self._result.size, stream)"),
    mutation(STAGING, "self._buffer.copy_in(self._row_size, stream, row * self._row_size)"),
    mutation(STAGING, "self._row_size, stream, row * self._row_size", "self._row_size, stream"),
    mutation(STAGING, "memory.copy_in(image.nbytes, stream)"),
    mutation(STAGING, "weights.copy_in(weights.size, stream)"),
    mutation(STAGING, COPIED, then="pitch ="),
    mutation(STAGING, COPIED, then=""),
    # what each slot has of its own
    mutation(SLOT, "self._stream = cuda.new_stream()", "self._stream = cuda._streams[0]"),
    mutation(
        SLOT, "self._context = plan.new_context()", "self._context = vars(plan).setdefault('one', plan.new_context())"
    ),
    mutation(
        REDUCING,
        "cuda.device_memory(candidates.work_bytes)",
        "vars(candidates).setdefault('one', cuda.device_memory(candidates.work_bytes))",
    ),
    mutation(SLOT, "= Buffer(cuda, tensor.size)", "= vars(plan).setdefault('one', Buffer(cuda, tensor.size))"),
    # where the device is attached, and what threads wait for
    mutation(SESSION, "with cuda.attached():", NOT_ATTACHED),
    mutation(SESSION, ATTACHED, NOT_ATTACHED, "for slot in self.slots"),
    mutation(SESSION, ATTACHED, NOT_ATTACHED, "self.slots[slot].stage"),
    mutation(SESSION, ATTACHED, NOT_ATTACHED, "self._collected[slot] = None"),
    mutation(SESSION, ATTACHED, NOT_ATTACHED, "self._collected[slot] = self"),
    mutation(SESSION, "with suppress(CudaError), self._cuda.attached():", NOT_ATTACHED),
    mutation(SESSION, "            with self._locks[slot]:", "            if True:"),
    mutation(SESSION, "        with self._locks[slot]:", "        if True:"),
    mutation(SESSION, "self._collect(slot)", "pass", "with suppress"),
    mutation(SESSION, "slot.finish()"),
    # the clock's anchors
    mutation(CLOCK, "self._cuda.record(anchor.event, self._stream)"),
    mutation(CLOCK, "self._cuda.synchronize(anchor.event)"),
]
SYNCHRONISES = (
    *(".record(", ".synchronize(", "copy_in(", "copy_out("),
    *("attached()", "_locks[slot]", "(self._stream", ", self._stream", "stream)"),
)


@pytest.fixture
def _mutated(change: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (RUNTIME / change.file).read_text().splitlines()
    for edit in change.edits:
        number = edit.line_in(lines)
        lines[number] = lines[number].replace(edit.old, edit.new)
    name = f"engines.runtime.{Path(change.file).stem}"
    original, changed = sys.modules[name], types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, changed)  # dataclasses look their module up
    exec(compile("\n".join(lines), change.file, "exec"), vars(changed))
    monkeypatch.setitem(sys.modules, name, original)
    for user, module in list(sys.modules.items()):
        if user.startswith("engines.runtime."):
            for key, value in list(vars(module).items()):
                if getattr(value, "__module__", "") == name and vars(changed).get(key) is not None:
                    monkeypatch.setattr(module, key, vars(changed)[key])


# Results that are wrong or not there, and what the device, the engine or the decoder say of them.
WRONG = (AssertionError, IndexError, ValueError, CudaError, EngineError, NonFiniteOutputError, pytest.fail.Exception)


def all_promises(bundle: Bundle) -> None:
    for seed in range(5):
        for promise in PROMISES:
            for kind in KINDS.values():
                promise(bundle, seed, **kind)


@pytest.mark.parametrize("change", MUTATIONS, ids=str)
@pytest.mark.usefixtures("_mutated")
def test_a_synchronisation_that_is_missing_shows(change: Mutation, bundle: Bundle) -> None:
    with pytest.raises(WRONG):
        all_promises(bundle)


def test_every_synchronisation_has_a_mutation() -> None:
    for file in (SLOT, STAGING, REDUCING, SESSION, CLOCK):
        lines = (RUNTIME / file).read_text().splitlines()
        edited = {edit.line_in(lines) for change in MUTATIONS if change.file == file for edit in change.edits}
        first = next(number for number, line in enumerate(lines) if line.startswith("class "))
        for number, line in enumerate(lines):
            if number > first and any(word in line for word in SYNCHRONISES) and "def " not in line:
                assert number in edited, f"{file}:{number + 1}: {line.strip()}"
