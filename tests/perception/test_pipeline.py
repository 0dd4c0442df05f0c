"""A frame's whole way with sources and engines of the test's own: what is published, in what order, and how it ends."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_networks
from fake_engine import FakeEngine, fail_on_white, nan_on_white
from rtsp_camera import RtspCamera

from engines.bundle import Bundle, BundleSettings
from engines.decoders import build_decoder
from engines.decoders.grids import total_cells
from engines.errors import EngineError
from engines.importing import ImportOptions, import_network
from engines.results import SegmentationMap, Thresholds
from perception.camera import Camera
from perception.ledger import SensorCounts
from perception.message import FrameMessage, NetworkInfo, Status, decode_message
from perception.network import Network, open_network
from perception.pipeline import Pipeline, Result
from perception.stream import Outbox
from perception.tracking import TrackerSettings
from sensors.clock import ReplayClock
from sensors.errors import SourceError
from sensors.frame import Fault, Frame, Item, PointCloud, restamped
from sensors.opening import open_source
from sensors.source import SensorInfo, Source, SourceInfo

RUN_S = 20.0  # a run that takes longer hangs
STEP_NS = 40_000_000  # between two stamps

SETTINGS = BundleSettings.model_validate(
    {
        "decoder": "yolov8",
        "input": {"width": 32, "height": 32, "colour": "BGR"},
        "fit": "letterbox-centred",
        "scale": 1 / 255,
        "outputs": {"predictions": "boxes"},
    }
)


class ListedSource:
    """Gives what a list says: a colour is a frame, a text a Fault, an error is raised. Watches its frames."""

    def __init__(
        self,
        items: Sequence[Any],
        sensor: str = "front",
        *,
        step_ns: int = STEP_NS,
        delay_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.info = SourceInfo(f"test:{sensor}", (SensorInfo(sensor, "camera", 25.0),), live=False)
        self.given = 0
        self.released: Counter[int] = Counter()
        self.frames: list[int] = []
        self._items, self._sensor, self._step_ns, self._delay_s = items, sensor, step_ns, delay_s
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        for number, item in enumerate(self._items):
            time.sleep(self._delay_s())
            if self._closed.is_set():
                return
            if isinstance(item, Exception):
                raise item
            self.given += 1
            yield self._made(number, item)

    def _made(self, number: int, item: Any) -> Item:
        stamp_ns, now_ns = number * self._step_ns, time.monotonic_ns()
        if isinstance(item, str):
            return Fault(self._sensor, number, stamp_ns, now_ns, item)
        if isinstance(item, np.ndarray):
            return PointCloud(self._sensor, number, stamp_ns, now_ns, now_ns, item, ("x", "y", "z"))
        image = tiny_networks.solid(*item)
        self.frames.append(number)

        def release() -> None:
            self.released[number] += 1
            image.fill(255)  # the source uses its memory for something else

        return Frame(self._sensor, number, stamp_ns, now_ns, now_ns, image, release=release)

    def close(self) -> None:
        self._closed.set()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Recorder:
    """A sender that keeps what it is handed."""

    def __init__(self) -> None:
        self.messages: list[FrameMessage] = []

    def send(self, topic: str, payload: bytes) -> None:
        message = decode_message(payload)
        assert topic == message.topic
        self.messages.append(message)

    def of(self, sensor: str = "front") -> list[FrameMessage]:
        return [message for message in self.messages if message.sensor == sensor]


class SlowDecoder:
    """Looks at the outputs a while after they came: whoever gives the slot away too early is seen."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def decode(self, outputs: Any, *rest: Any) -> Any:
        time.sleep(0.002)
        return self._decoder.decode(outputs, *rest)


class BadDecoder:
    def decode(self, *_arguments: Any) -> Any:
        raise ValueError("a bug in the decoder")


def fake_network(name: str = "tiny", *, decoder: Any = None, **engine: Any) -> Network:
    bundle = Bundle(Path("/bundles") / name, SETTINGS, tiny_networks.LABELS)
    shapes = {"predictions": (4 + len(tiny_networks.LABELS), total_cells(32, 32))}
    made = decoder or build_decoder("yolov8", shapes, 32, 32)
    return Network(bundle, FakeEngine(bundle, 2, **engine), made, Thresholds(score=0.05), TrackerSettings())


class Run:
    """A pipeline with all that it needs; `go` runs it to its end and looks at it all the while."""

    def __init__(
        self,
        sources: Sequence[ListedSource],
        networks: Sequence[Network] | None = None,
        observers: Sequence[Callable[[Result], None]] = (),
        rate: float | None = None,
        **pipeline: Any,
    ) -> None:
        self.sources = sources
        self.networks = [fake_network()] if networks is None else networks
        self.recorder = Recorder()
        infos = [NetworkInfo(network.bundle.name, "ab" * 32, "fake") for network in self.networks]
        self.outbox = Outbox(infos, [network.bundle.labels for network in self.networks], self.recorder)
        self.pipeline = Pipeline(sources, self.networks, self.outbox, ReplayClock(rate), 2, observers, **pipeline)
        self.unbalanced: list[SensorCounts] = []
        self.samples = 0
        self.raised: BaseException | None = None

    def go(self) -> Run:
        before = set(threading.enumerate())
        running = threading.Thread(target=self._run, daemon=True)
        running.start()
        deadline_s = time.monotonic() + RUN_S
        while running.is_alive() and time.monotonic() < deadline_s:
            for counts in self.pipeline.ledger.counts().values():
                self.samples += 1
                if not counts.balances:
                    self.unbalanced.append(counts)
            time.sleep(0.0005)
        assert not running.is_alive(), "the run hangs"
        for network in self.networks:
            network.engine.close()
            assert getattr(network.engine, "broken_rules", []) == []
        assert set(threading.enumerate()) <= before, "threads are left"
        assert self.unbalanced == []
        total = self.pipeline.ledger.total()
        assert total.balances
        assert total.in_flight == 0
        for source in self.sources:
            assert source.released == Counter(source.frames), "each frame is released once"
        return self

    def _run(self) -> None:
        try:
            self.pipeline.run()
        except BaseException as error:
            self.raised = error


def colours(count: int) -> list[tuple[int, int, int]]:
    """Colours of which no two are alike; none is white."""
    return [(60 + 7 * n % 150, (31 * n) % 200, (17 * n) % 200) for n in range(count)]


def assert_is_of(message: FrameMessage, colour: tuple[int, int, int], network: int = 0) -> None:
    """The message's scores are those of an image of that colour (and so of no other frame)."""
    wanted = sorted([*(level / 255 for level in colour), tiny_networks.STEADY_SCORE], reverse=True)
    best = max(colour) / 255
    found = [
        (name, score)
        for name, score, index in zip(
            message.class_names, message.detections.scores, message.network_indexes, strict=True
        )
        if index == network
    ]
    name = tiny_networks.LABELS[int(np.argmax(colour))]
    assert any(label == name and abs(score - best) < 0.005 for label, score in found), (found, wanted)


def summary(messages: Sequence[FrameMessage]) -> list[tuple[int, str]]:
    return [(message.frame_sequence, message.status.name) for message in messages]


def test_every_frame_is_published_in_order_with_its_own_results() -> None:
    wanted = colours(40)
    run = Run([ListedSource(wanted)], [fake_network(decoder=None)]).go()
    assert run.raised is None
    messages = run.recorder.of("front")
    assert summary(messages) == [*((n, "OK") for n in range(40)), (40, "END_OF_STREAM")]
    assert [message.sequence for message in messages] == list(range(41))
    for number, (message, colour) in enumerate(zip(messages, wanted, strict=False)):
        assert_is_of(message, colour)
        assert message.stamp_ns == number * STEP_NS
        assert (message.image_width, message.image_height) == (32, 32)
    assert messages[-1].stamp_ns == 39 * STEP_NS
    total = run.pipeline.ledger.total()
    assert (total.captured, total.published) == (40, 40)
    assert run.pipeline.ledger.detections == sum(len(message.detections) for message in messages)


def test_a_slot_is_given_away_only_when_its_outputs_were_read() -> None:
    plain = fake_network()
    slow = replace(plain, decoder=SlowDecoder(plain.decoder))
    wanted = colours(25)
    run = Run([ListedSource(wanted)], [slow]).go()
    assert run.raised is None
    for message, colour in zip(run.recorder.of("front"), wanted, strict=False):
        assert_is_of(message, colour)


def test_a_real_engine_and_a_real_bundle_go_the_same_way(tmp_path: Path) -> None:
    network = open_network(tiny_networks.make_bundle(tmp_path / "tiny"), thresholds=Thresholds(score=0.05))
    wanted = colours(60)
    run = Run([ListedSource(wanted)], [network]).go()
    assert run.raised is None
    for message, colour in zip(run.recorder.of("front"), wanted, strict=False):
        assert_is_of(message, colour)


def test_faults_are_failed_and_published_in_their_turn() -> None:
    items = [(200, 0, 0), "packet 1: invalid data", (0, 200, 0), "packet 3: lost", "packet 4: lost", (0, 0, 200)]
    run = Run([ListedSource(items)]).go()
    messages = run.recorder.of("front")
    failed = "DECODE_FAILED"
    assert summary(messages) == [
        *((0, "OK"), (1, failed), (2, "OK"), (3, failed), (4, failed), (5, "OK")),
        (6, "END_OF_STREAM"),
    ]
    assert messages[1].status_reason == "packet 1: invalid data"
    assert messages[1].stamp_ns == STEP_NS
    assert run.pipeline.ledger.total().failed == {"decode_failed": 3}
    assert run.pipeline.ledger.total().published == 3
    assert run.raised is None


def test_a_scan_that_no_network_takes_is_published_with_its_stamp() -> None:
    run = Run([ListedSource([(200, 0, 0), np.zeros((4, 3), np.float32), (0, 200, 0)])]).go()
    assert run.raised is None
    message = run.recorder.of("front")[1]
    assert (message.status, message.frame_sequence, message.stamp_ns) == (Status.OK, 1, STEP_NS)
    assert len(message.detections) == 0
    assert run.pipeline.ledger.total().published == 3
    assert run.pipeline.ledger.inferences == 2


@pytest.mark.parametrize(
    ("judge", "reason"),
    [(fail_on_white, "tiny: fake: inference failed"), (nan_on_white, "tiny: output 'predictions' holds NaN")],
)
def test_a_frame_whose_inference_fails_is_a_message_and_the_rest_goes_on(judge: Any, reason: str) -> None:
    items = [(200, 0, 0), (255, 255, 255), (0, 200, 0), (255, 255, 255), (255, 255, 255), (0, 0, 200)]
    run = Run([ListedSource(items)], [fake_network(judge=judge)]).go()
    assert run.raised is None
    messages = run.recorder.of("front")
    bad = "INFERENCE_FAILED"
    assert summary(messages)[:-1] == [(0, "OK"), (1, bad), (2, "OK"), (3, bad), (4, bad), (5, "OK")]
    for number in (1, 3, 4):
        assert messages[number].status_reason.startswith(reason)
        assert len(messages[number].detections) == 0
    for number in (0, 2, 5):
        assert_is_of(messages[number], items[number])
    total = run.pipeline.ledger.total()
    assert (total.published, total.failed) == (3, {"inference_failed": 3})
    assert run.pipeline.last_failure.startswith(reason)


def test_the_identity_holds_at_every_sample_of_a_long_mixed_run() -> None:
    random_ = random.Random(1)
    items = [random_.choice([(255, 255, 255), "lost", (90, 0, 0), (0, 90, 0)]) for _ in range(150)]
    sources = [ListedSource(items, f"camera{n}", delay_s=lambda: random_.random() / 1000) for n in range(3)]
    run = Run(sources, [fake_network(judge=fail_on_white, delay_s=lambda slot: random_.random() / 1000)]).go()
    assert run.samples > 100
    for counts in run.pipeline.ledger.counts().values():
        assert counts.captured == 150
        assert counts.failed == {"decode_failed": items.count("lost"), "inference_failed": items.count((255,) * 3)}
        assert counts.published == 150 - counts.failed.total()


def test_several_sources_give_one_digest_and_one_order_at_any_timing() -> None:
    seen = set()
    for seed in range(5):
        random_ = random.Random(seed)
        results: list[tuple[str, int]] = []

        def jitter(random_: random.Random = random_, most_s: float = 0.004 * (seed > 0)) -> float:
            return random_.random() * most_s

        sources = [
            ListedSource(colours(20), "front", step_ns=40, delay_s=jitter),
            ListedSource([*colours(12)[::-1], "lost"], "rear", step_ns=70, delay_s=jitter),
            ListedSource(colours(5), "left", step_ns=130, delay_s=jitter),
        ]
        engine: dict[str, Any] = {"delay_s": lambda slot, jitter=jitter: jitter()}
        run = Run(
            sources,
            [fake_network(**engine)],
            [lambda result, results=results: results.append((result.entry.sensor, result.entry.sequence))],
        ).go()
        assert run.raised is None
        seen.add((run.outbox.digest(), tuple(results)))
    assert len(seen) == 1
    ((_, order),) = seen
    stamps = {"front": 40, "rear": 70, "left": 130}
    names = list(stamps)
    assert list(order) == sorted(order, key=lambda entry: (entry[1] * stamps[entry[0]], names.index(entry[0])))


def test_sources_whose_clocks_differ_start_together_and_keep_their_stamps() -> None:
    class YearsLater(ListedSource):
        def _made(self, number: int, item: Any) -> Item:
            made = super()._made(number, item)
            return restamped(made, stamp_ns=made.stamp_ns + 10**17)

    run = Run([ListedSource(colours(6)), YearsLater(colours(6), "rear")]).go()
    frames = run.recorder.messages[:-2]
    assert [message.sensor for message in frames] == ["front", "rear"] * 6
    assert [message.stamp_ns for message in run.recorder.of("rear")[:-1]] == [10**17 + n * STEP_NS for n in range(6)]


def test_another_result_gives_another_digest() -> None:
    digests = set()
    for items in ([(200, 0, 0), (0, 200, 0)], [(0, 200, 0), (200, 0, 0)], [(200, 0, 0), "lost"], [(200, 0, 0)]):
        digests.add(Run([ListedSource(items)]).go().outbox.digest())
    assert len(digests) == 4


def test_stopping_drains_what_was_captured() -> None:
    source = ListedSource(colours(3000), delay_s=lambda: 0.001)
    run = Run([source, ListedSource(colours(3000), "rear", delay_s=lambda: 0.001)])
    stopper = threading.Timer(0.2, run.pipeline.stop)
    stopper.start()
    run.go()
    stopper.join()
    assert run.raised is None
    for sensor, counts in run.pipeline.ledger.counts().items():
        assert 0 < counts.captured < 3000
        assert counts.published == counts.captured
        assert summary(run.recorder.of(sensor))[-1] == (counts.captured, "END_OF_STREAM")


class WaitsForTheEnd(ListedSource):
    """After its items it waits, as a camera does, until it is closed; then it gives the last one."""

    def __iter__(self) -> Iterator[Item]:
        *items, last = self._items
        self._items = items
        yield from super().__iter__()
        self._closed.wait(2 * RUN_S)
        if isinstance(last, Exception):
            raise last


def test_stopping_ends_a_source_that_waits() -> None:
    run = Run([WaitsForTheEnd([*colours(3), None])])
    stopper = threading.Timer(0.1, run.pipeline.stop)
    stopper.start()
    run.go()
    stopper.join()
    assert run.raised is None
    assert run.pipeline.ledger.total().published == 3


def test_stopping_ends_a_wait_for_the_clock() -> None:
    source = ListedSource(colours(3), step_ns=3_600_000_000_000)
    run = Run([source], rate=1.0)
    stopper = threading.Timer(0.1, run.pipeline.stop)
    stopper.start()
    began_s = time.monotonic()
    run.go()
    stopper.join()
    assert time.monotonic() - began_s < 5
    assert run.pipeline.ledger.total().captured == 1
    assert source.given == 2


def test_a_source_that_breaks_ends_the_run_after_what_came_before() -> None:
    broken = SourceError("front.mp4", "ends in the middle", "copy it again")
    run = Run([ListedSource([*colours(7), broken, *colours(3)])]).go()
    assert run.raised is broken
    assert summary(run.recorder.of("front")) == [*((n, "OK") for n in range(7)), (7, "END_OF_STREAM")]


def test_a_source_that_breaks_stops_the_others() -> None:
    broken = SourceError("front.mp4", "ends in the middle", "copy it again")
    other = ListedSource(colours(3000), "rear", delay_s=lambda: 0.001)
    run = Run([ListedSource([*colours(2), broken]), other]).go()
    assert run.raised is broken
    assert run.pipeline.ledger.total().captured < 3000


def test_what_broke_first_is_what_is_told() -> None:
    first = SourceError("front.mp4", "ends in the middle", "copy it again")
    after_it = SourceError("rear.mp4", "was closed", "look at the first error")
    run = Run([ListedSource([*colours(2), first]), WaitsForTheEnd([*colours(2), after_it], "rear")]).go()
    assert run.raised is first


def test_a_source_that_repeats_a_number_ends_the_run() -> None:
    class Repeats(ListedSource):
        def _made(self, number: int, item: Any) -> Item:
            return super()._made(min(number, 2), item)

    run = Run([Repeats(colours(5))]).go()
    assert run.sources[0].released == {0: 1, 1: 1, 2: 2}
    assert "frame 2 came where 3 was due" in str(run.raised)


def test_an_observer_that_raises_ends_the_run_with_its_error() -> None:
    def observe(result: Result) -> None:
        if result.entry.sequence == 5:
            raise OSError(28, "No space left on device")

    source = ListedSource(colours(3000), delay_s=lambda: 0.001)
    run = Run([source], observers=[observe]).go()
    assert isinstance(run.raised, OSError)
    assert run.pipeline.ledger.total().captured < 3000
    total = run.pipeline.ledger.total()
    assert not total.failed, "the frame's message had gone out before the observer failed"
    assert total.published == len(run.recorder.of("front")) - 1


def test_observers_see_the_frame_before_it_is_released() -> None:
    seen: dict[int, tuple[int, ...]] = {}

    def observe(result: Result) -> None:
        if result.frame is not None:
            seen[result.entry.sequence] = tuple(result.frame.image[0, 0].tolist())
        assert decode_message(result.payload).frame_sequence == result.entry.sequence

    wanted = colours(10)
    run = Run([ListedSource([*wanted, "lost"])], observers=[observe]).go()
    assert run.raised is None
    assert seen == dict(enumerate(wanted))


@pytest.mark.parametrize("failing", [0, 1])
def test_a_bug_in_a_decoder_ends_the_run_and_still_closes_everything(failing: int) -> None:
    networks = [fake_network("first"), fake_network("second")]
    networks[failing] = replace(networks[failing], decoder=BadDecoder())
    run = Run([ListedSource(colours(30), delay_s=lambda: 0.001)], networks).go()
    assert isinstance(run.raised, ValueError)
    assert run.pipeline.ledger.total().published == 0


class RefusesToStage(FakeEngine):
    def stage(self, slot: int, *rest: Any) -> None:
        raise EngineError("fake", "device lost", "restart it")


class RefusesToSubmit(FakeEngine):
    def submit(self, slot: int, rows: int) -> None:
        raise EngineError("fake", "device lost", "restart it")


@pytest.mark.parametrize("kind", [RefusesToStage, RefusesToSubmit])
def test_an_engine_that_takes_nothing_more_ends_the_run(kind: type[FakeEngine]) -> None:
    first, second = fake_network("first", judge=fail_on_white), fake_network("second")
    second.engine.close()
    broken = replace(second, engine=kind(second.bundle))
    items = [(255, 255, 255)] * 200  # the first network's inference of each fails as well
    run = Run([ListedSource(items, delay_s=lambda: 0.001)], [first, broken]).go()
    assert isinstance(run.raised, EngineError)
    assert "device lost" in str(run.raised)
    total = run.pipeline.ledger.total()
    assert total.published == 0
    assert total.captured < 200


def test_several_networks_fill_one_message() -> None:
    networks = [fake_network("first"), fake_network("second", delay_s=lambda slot: 0.003 * slot)]
    wanted = colours(15)
    run = Run([ListedSource(wanted)], networks).go()
    messages = run.recorder.of("front")
    assert len(messages) == 16
    for message, colour in zip(messages, wanted, strict=False):
        assert [network.name for network in message.networks] == ["first", "second"]
        by_network: dict[int, list[float]] = defaultdict(list)
        for index, score in zip(message.network_indexes, message.detections.scores, strict=True):
            by_network[index].append(float(score))
        assert by_network[0] == by_network[1]
        assert_is_of(message, colour, 0)
        assert_is_of(message, colour, 1)


def segmenter(folder: Path, **network: Any) -> Network:
    """One that runs: which of blue, green, red is the strongest, and whether it is dark."""
    return open_network(tiny_networks.make_segmenter_bundle(folder / "masks", **network))


def assert_masks_are_of(message: FrameMessage, colour: tuple[int, int, int], network: int) -> None:
    assert [(mask.group, mask.network) for mask in message.masks] == [("colour", network), ("shade", network)]
    strongest, shade = message.masks
    assert strongest.shares()[tiny_networks.LABELS[int(np.argmax(colour))]] == 1
    assert shade.shares()["dark" if sum(colour) / 3 < 255 / 2 else "light"] == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_detector_and_a_segmenter_fill_one_message(tmp_path: Path, order: tuple[int, int]) -> None:
    wanted = [*colours(12), (200, 210, 190)]
    seen: list[Result] = []

    def go() -> Run:
        networks = [fake_network(delay_s=lambda slot: 0.003 * slot), segmenter(tmp_path / str(time.monotonic_ns()))]
        return Run(
            [ListedSource(wanted), ListedSource(wanted, "rear")], [networks[i] for i in order], [seen.append]
        ).go()

    run, again = go(), go()
    assert run.raised is None
    for sensor in ("front", "rear"):
        *messages, end = run.recorder.of(sensor)
        assert len(messages) == len(wanted)
        for message, colour in zip(messages, wanted, strict=True):
            assert_masks_are_of(message, colour, order.index(1))
            assert_is_of(message, colour, order.index(0))
        assert end.masks == ()
    boxes = sum(len(message.detections) for message in run.recorder.messages)
    assert run.pipeline.ledger.detections == boxes, "a mask is no detection"
    assert isinstance(seen[0].detections[order.index(1)], SegmentationMap)
    assert run.outbox.digest() == again.outbox.digest()


def test_the_labels_are_shared_out_in_the_order_of_the_bundles_roles(tmp_path: Path) -> None:
    model = tiny_networks.write_segmenter(tmp_path / "tiny.onnx")
    labels = str(tiny_networks.write_labels(tmp_path / "names.txt", ("light", "dark", *tiny_networks.LABELS)))
    options = ImportOptions(labels=labels, colour="BGR", outputs={"shade": "shade", "colour": "colour"})
    network = open_network(import_network(model, tmp_path / "b", options))
    run = Run([ListedSource([(0, 200, 0)])], [network]).go()
    shade, colour = run.recorder.of("front")[0].masks
    assert shade.shares() == {"light": 0, "dark": 1}
    assert colour.shares() == {"blue": 0, "green": 1, "red": 0}


def test_a_segmenter_alone_publishes_masks_and_a_frame_that_fails_has_none(tmp_path: Path) -> None:
    items = [(200, 0, 0), (255, 255, 255), (0, 200, 0)]
    run = Run([ListedSource(items)], [segmenter(tmp_path, on_white="nan")]).go()
    assert run.raised is None
    first, failed, last, _ = run.recorder.of("front")
    assert_masks_are_of(first, items[0], 0)
    assert_masks_are_of(last, items[2], 0)
    assert (failed.status, failed.masks) == (Status.INFERENCE_FAILED, ())
    assert failed.status_reason == "masks: output 'colour' holds NaN or infinity"


def test_the_engines_time_of_several_networks_is_from_the_first_start_to_the_last_end() -> None:
    def added_ms(networks: list[Network]) -> float:
        run = Run([ListedSource(colours(20), delay_s=lambda: 0.04)], networks).go()
        found = run.pipeline.ledger.added_latency.ms(50)
        assert found is not None
        return found

    def slow() -> Network:
        return fake_network("slow", delay_s=lambda _slot: 0.03)

    assert added_ms([slow(), fake_network("quick")]) < 15
    assert added_ms([fake_network("quick"), slow()]) < 15


def test_the_ledger_names_the_times_of_several_networks_and_only_theirs() -> None:
    slow = fake_network("slow", delay_s=lambda _slot: 0.03)
    run = Run([ListedSource(colours(6), delay_s=lambda: 0.04)], [fake_network("quick"), slow]).go()
    quick_ns: list[int] = []
    for message in run.recorder.of("front")[:-1]:
        stamps = message.ledger
        quick, of_slow = stamps.networks
        assert of_slow.inferred_ns - of_slow.started_ns >= 30_000_000
        quick_ns.append(quick.inferred_ns - quick.started_ns)
        assert stamps.submitted_ns <= quick.started_ns
        assert stamps.inferred_ns == max(quick.inferred_ns, of_slow.inferred_ns)
    assert min(quick_ns) < 30_000_000  # on a busy machine not every one
    assert run.pipeline.ledger.engine_busy_ns == sum(
        message.ledger.networks[1].inferred_ns - message.ledger.networks[1].started_ns
        for message in run.recorder.of("front")[:-1]
    )
    alone = Run([ListedSource(colours(3))]).go()
    assert all(message.ledger.networks == () for message in alone.recorder.messages)


def test_one_network_of_two_that_fails_fails_the_frame() -> None:
    networks = [fake_network("first", judge=fail_on_white), fake_network("second")]
    run = Run([ListedSource([(200, 0, 0), (255, 255, 255), (0, 200, 0)])], networks).go()
    assert run.raised is None
    of_first, of_second = run.recorder.of("front")[1].ledger.networks
    assert (of_first.started_ns, of_first.inferred_ns) == (0, 0)
    assert of_second.inferred_ns > 0
    message = run.recorder.of("front")[1]
    assert message.status is Status.INFERENCE_FAILED
    assert message.status_reason.startswith("first: ")
    assert run.pipeline.ledger.total().published == 2


def test_ids_last_from_frame_to_frame_and_belong_to_their_sensor() -> None:
    run = Run([ListedSource([(200, 0, 0)] * 10), ListedSource([(0, 200, 0)] * 10, "rear")]).go()
    for sensor in ("front", "rear"):
        later = run.recorder.of(sensor)[3:-1]
        ids = {tuple(sorted(message.detections.track_ids.tolist())) for message in later}
        assert ids == {(1, 2)}


def test_each_network_has_ids_of_its_own() -> None:
    class OtherClasses:
        def __init__(self, decoder: Any) -> None:
            self._decoder = decoder

        def decode(self, *arguments: Any) -> Any:
            found = self._decoder.decode(*arguments)
            return replace(found, classes=(found.classes + 1) % len(tiny_networks.LABELS))

    other = fake_network("other")
    networks = [fake_network("first"), replace(other, decoder=OtherClasses(other.decoder))]
    run = Run([ListedSource([(200, 0, 0)] * 5)], networks).go()
    for message in run.recorder.of("front")[2:-1]:
        by_network: dict[int, set[int]] = defaultdict(set)
        for index, track in zip(message.network_indexes, message.detections.track_ids.tolist(), strict=True):
            by_network[index].add(track)
        assert by_network == {0: {1, 2}, 1: {1, 2}}


def test_latency_ends_when_the_message_is_handed_over() -> None:
    run = Run([ListedSource(colours(5), delay_s=lambda: 0.05)])
    send = run.recorder.send

    def slowly(topic: str, payload: bytes) -> None:
        time.sleep(0.03)
        send(topic, payload)

    run.recorder.send = slowly
    run.go()
    for latency in (run.pipeline.ledger.latency, run.pipeline.ledger.added_latency):
        assert latency.ms(1) >= 29


def test_a_paced_frame_arrives_when_it_is_due() -> None:
    run = Run([ListedSource(colours(5), step_ns=50_000_000)], rate=1.0).go()
    arrivals = [message.ledger.arrival_ns for message in run.recorder.of("front")[:-1]]
    gaps_ms = np.diff(arrivals) / 1e6
    assert sum(gaps_ms) == pytest.approx(200, abs=40)
    assert run.pipeline.wall_s >= 0.2
    latency_ms = run.pipeline.ledger.latency.ms(50)
    assert latency_ms is not None
    assert latency_ms < 45, "what was decoded ahead of its time has not been late since"


def test_a_paced_fault_was_never_decoded() -> None:
    run = Run([ListedSource([(9, 9, 9), "lost"], step_ns=10_000_000)], rate=1.0).go()
    _, fault, _ = run.recorder.of("front")
    assert fault.status is Status.DECODE_FAILED
    assert fault.ledger.arrival_ns > 0
    assert fault.ledger.decoded_ns == 0


def test_times_on_the_message_are_in_the_order_of_the_way() -> None:
    began_ns = time.time_ns()
    run = Run([ListedSource([*colours(5), "lost"])]).go()
    *frames, fault, end = run.recorder.of("front")
    for message in frames:
        stamps = message.ledger
        way = [stamps.arrival_ns, stamps.decoded_ns, stamps.staged_ns, stamps.submitted_ns, stamps.inferred_ns]
        way += [stamps.postprocessed_ns, stamps.published_ns]
        assert way == sorted(way)
        assert began_ns - 1_000_000 <= way[0] <= way[-1] <= time.time_ns() + 1_000_000
    assert fault.ledger.staged_ns == fault.ledger.inferred_ns == 0
    assert end.status is Status.END_OF_STREAM


def test_a_step_of_the_wall_clock_shows_in_the_ledger_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    hour_ns, real_ns = 3_600_000_000_000, time.time_ns

    def set_the_clock(result: Result) -> None:
        if result.entry.sequence == 2:
            monkeypatch.setattr(time, "time_ns", lambda: real_ns() + hour_ns)

    run = Run([ListedSource(colours(6))], observers=[set_the_clock], rate=1.0).go()
    monkeypatch.undo()
    messages = run.recorder.of()[:-1]
    assert [message.stamp_ns for message in messages] == [number * STEP_NS for number in range(6)]
    now_ns = time.time_ns()
    hours = [round((message.ledger.published_ns - now_ns) / hour_ns) for message in messages]
    assert hours == [0, 0, 0, 1, 1, 1]
    for message in messages:
        assert 0 <= message.ledger.published_ns - message.ledger.arrival_ns < 10 * 10**9
    assert (run.pipeline.ledger.latency.ms(100) or 0) < 10_000


def test_a_run_over_a_source_with_nothing_only_ends_its_stream() -> None:
    run = Run([ListedSource([])]).go()
    assert run.raised is None
    assert summary(run.recorder.of("front")) == [(0, "END_OF_STREAM")]


def slow_network(delay_s: float = 0.02) -> Network:
    return fake_network(delay_s=lambda _slot: delay_s)


def test_live_the_newest_frame_wins_and_what_it_replaces_is_counted() -> None:
    source = ListedSource(colours(120), delay_s=lambda: 0.003)
    run = Run([source], [slow_network()], live=True).go()
    counts = run.pipeline.ledger.counts()["front"]
    published = [m.frame_sequence for m in run.recorder.of() if m.status is Status.OK]
    assert counts.captured == 120
    assert counts.published == len(published)
    assert counts.dropped == {"superseded": 120 - len(published)}
    assert 5 < len(published) < 60
    assert published == sorted(published)
    for message in run.recorder.of()[:-1]:
        assert_is_of(message, colours(120)[message.frame_sequence])


def test_live_sources_share_an_engine_evenly_and_a_stalled_one_holds_up_nobody() -> None:
    names = ["a", "b", "c"]
    sources = [ListedSource(colours(150), name, delay_s=lambda: 0.004) for name in names]
    stalled = ListedSource(colours(2), "stalled", delay_s=lambda: 0.3)
    run = Run([*sources, stalled], [slow_network(0.01)], live=True).go()
    counts = run.pipeline.ledger.counts()
    published = [counts[name].published for name in names]
    assert min(published) > 10
    assert max(published) - min(published) <= max(2, 0.05 * max(published))
    assert counts["stalled"].published == 2


def test_live_below_saturation_nothing_is_dropped() -> None:
    run = Run([ListedSource(colours(12), delay_s=lambda: 0.06)], live=True).go()
    assert run.pipeline.ledger.counts()["front"].published == 12


def test_live_a_source_that_breaks_leaves_the_others_running() -> None:
    broken = ListedSource([(10, 20, 30), SourceError("front", "was unplugged", "plug it in")])
    whole = ListedSource(colours(20), "rear", delay_s=lambda: 0.01)
    run = Run([broken, whole], live=True).go()
    assert run.raised is None
    assert run.pipeline.ledger.counts()["rear"].captured == 20
    assert run.recorder.of("rear")[-2].frame_sequence == 19
    assert list(run.pipeline.source_failures) == [0]
    assert "was unplugged" in str(run.pipeline.source_failures[0])


def test_a_sensor_fails_until_a_result_of_its_own_is_good_again() -> None:
    seen: list[dict[str, str]] = []
    sources = [ListedSource(["cut", *colours(1)]), ListedSource(["lost", "lost again"], "rear")]
    run = Run(sources, observers=[lambda _result: seen.append(dict(run.pipeline.failing))])
    run.go()
    assert seen == [{"front": "cut"}, {"front": "cut", "rear": "lost"}, {"rear": "lost"}, {"rear": "lost again"}]


def test_live_a_bug_in_a_source_still_ends_the_run() -> None:
    broken = ListedSource([(10, 20, 30), ZeroDivisionError("a bug")])
    run = Run([broken, ListedSource(colours(20), "rear", delay_s=lambda: 0.01)], live=True).go()
    assert isinstance(run.raised, ZeroDivisionError)


def test_live_a_recorded_source_keeps_the_clocks_pace_and_a_camera_its_own() -> None:
    camera = ListedSource(colours(20), "camera", step_ns=10**9)  # its stamps say 20 s, and it gives them at once
    camera.info = replace(camera.info, live=True)
    recorded = ListedSource(colours(5), "recorded", step_ns=50_000_000)
    began_s = time.monotonic()
    run = Run([camera, recorded], rate=1.0, live=True).go()
    assert 0.2 <= time.monotonic() - began_s < 5
    assert run.pipeline.ledger.counts()["recorded"].published == 5


def test_only_each_nth_frame_is_inferred_and_the_others_are_counted() -> None:
    items = [*colours(8), "cut short", (10, 20, 30)]
    run = Run([ListedSource(items)], cameras={"front": Camera(every=3)}).go()
    counts = run.pipeline.ledger.counts()["front"]
    assert (counts.captured, counts.published) == (10, 4)
    assert counts.dropped == {"skipped": 5}
    assert counts.failed == {"decode_failed": 1}
    assert [m.frame_sequence for m in run.recorder.of()[:-1]] == [0, 3, 6, 8, 9]


def test_what_lies_in_a_region_to_ignore_is_not_found() -> None:
    everywhere = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    sources = [ListedSource(colours(3)), ListedSource(colours(3), "rear")]
    run = Run(sources, cameras={"front": Camera(ignore=(everywhere,))}).go()
    assert [len(m.detections) for m in run.recorder.of()[:-1]] == [0, 0, 0]
    assert all(len(m.detections) for m in run.recorder.of("rear")[:-1])


def test_a_network_slower_than_the_camera_sees_what_the_camera_shows_now() -> None:
    """A real camera, 30 a second, and inferences of 0.3 s; counted in frames, so a busy machine changes nothing."""
    behind: list[int] = []
    network = fake_network(delay_s=lambda slot: 0.3)

    def see(result: Result) -> None:
        behind.append(pipeline.ledger.counts()["front"].captured - result.entry.sequence)
        if len(behind) == 30:
            pipeline.stop()

    outbox = Outbox([NetworkInfo("tiny", "ab" * 32, "fake")], [network.bundle.labels], Recorder())
    with RtspCamera() as camera, open_source(camera.uri(), name="front") as source, network.engine:
        pipeline = Pipeline([source], [network], outbox, ReplayClock(1.0), 2, [see], live=True)
        pipeline.run()
    total = pipeline.ledger.total()
    assert total.balances
    assert total.in_flight == 0
    assert total.captured > 2 * total.published
    assert total.dropped["superseded"] == total.captured - total.published
    assert max(behind[-10:]) < total.captured / 3, "a reader that falls behind would be most of them back"
