"""What a run says of itself once a second, over a real socket: the account, rates, states, and its last word."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_networks
from drive_media import PICTURES, write_images, write_video
from made_stream import NEVER, WAIT_S

from engines.bundle import load_bundle
from engines.errors import EngineError
from engines.results import Thresholds
from perception.config import Vehicle
from perception.health import Health, _percentile_ms
from perception.live import LiveRun
from perception.message import FrameMessage, HealthMessage, Message, NetworkInfo, SensorHealth, SensorState
from perception.network import open_network
from perception.pipeline import Pipeline
from perception.replay import Replay, ReplayRequest
from perception.stream import NullPublisher, Outbox, Publisher, StreamSubscriber
from sensors.clock import ReplayClock
from sensors.frame import Fault, Frame, Item
from sensors.source import SensorInfo, Source, SourceInfo

TOPICS = ("health/", "detections/")  # in this order: who has the second has the first


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    tiny_networks.make_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("drives") / "front.mp4")


class Heard:
    """Everything that one run said, by kind."""

    def __init__(
        self, endpoint: str, run: Callable[[], None], watch: Callable[[Message], None] = lambda message: None
    ) -> None:
        self.raised: BaseException | None = None

        def running() -> None:
            try:
                run()
            except BaseException as error:
                self.raised = error

        with StreamSubscriber[Message](endpoint, TOPICS, timeout_s=WAIT_S) as reader:
            thread = threading.Thread(target=running)
            thread.start()
            received = []
            for message in reader:
                watch(message)
                received.append(message)
            thread.join()
        self.lost = reader.lost
        self.health = [message for message in received if isinstance(message, HealthMessage)]
        self.frames = [message for message in received if isinstance(message, FrameMessage)]
        self.ended_with_health = isinstance(received[-1], HealthMessage)

    def of(self, sensor: str) -> list[SensorHealth]:
        return [told for message in self.health for told in message.sensors if told.sensor == sensor]


def replayed(bundle: Path, *sources: object, **options: Any) -> tuple[Heard, dict[str, Any]]:
    request = ReplayRequest(
        sources=[str(source) for source in sources],
        models=[str(bundle)],
        publish="tcp://127.0.0.1:0",
        wait_readers=1,
        thresholds=Thresholds(score=0.05),
        **options,
    )
    with Replay(request) as replay:
        assert replay.endpoint
        heard = Heard(replay.endpoint, replay.run)
        return heard, replay.summary()


def test_a_replay_tells_of_itself_from_its_beginning_to_after_its_end(bundle: Path, drive: Path) -> None:
    heard, figures = replayed(bundle, drive, rate=1.0)
    assert heard.raised is None
    assert heard.lost == {}
    assert heard.ended_with_health
    first, *_, last = heard.health
    assert len(heard.health) >= 4  # 2.3 s of drive: at 0, 1 and 2 s, and the last word
    assert [message.sequence for message in heard.health] == list(range(len(heard.health)))
    assert [message.last for message in heard.health] == [False] * (len(heard.health) - 1) + [True]
    assert {message.session for message in heard.health} == {heard.frames[0].session}
    assert (first.networks[0].name, first.networks[0].engine) == ("tiny", "onnxruntime")
    assert len(first.networks[0].bundle_sha256) == 64
    assert {message.readers for message in heard.health} == {1}
    assert last.failure == ""
    (front,) = last.sensors
    assert front.state is SensorState.ENDED
    assert (front.captured, front.published, front.in_flight) == (PICTURES, PICTURES, 0)
    assert (figures["captured"], figures["published"]) == (PICTURES, PICTURES)
    assert front.last_stamp_ns == heard.frames[-1].stamp_ns
    assert front.messages == PICTURES + 1  # and the end of its stream
    assert heard.of("front")[0].state is SensorState.RUNNING


def test_the_account_balances_in_every_message_and_rates_are_those_of_the_counts(bundle: Path, drive: Path) -> None:
    heard, _ = replayed(bundle, drive, rate=1.0, loop=2)
    assert all(told.balances for told in heard.of("front"))
    before = None
    for message in heard.health:
        (front,) = message.sensors
        if before is not None:
            (earlier,) = before.sensors
            elapsed_s = (message.uptime_ns - before.uptime_ns) / 1e9
            captured, published = front.captured - earlier.captured, front.published - earlier.published
            assert front.captured_hz == pytest.approx(captured / elapsed_s, rel=1e-4)
            assert front.published_hz == pytest.approx(published / elapsed_s, rel=1e-4)
            if published:
                assert 0 < front.latency_p50_ms <= front.latency_p99_ms
            else:
                assert front.latency_p50_ms == front.latency_p99_ms == 0
            assert message.sent_ns > before.sent_ns
        before = message
    assert max(told.captured_hz for told in heard.of("front")) > 5


def test_what_fails_is_told_by_its_reason(bundle: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    (images / "frame3.png").write_bytes(b"no image")
    (images / "frame5.png").write_bytes(b"no image")
    heard, figures = replayed(bundle, images)
    last = heard.of("images")[-1]
    assert last.failed == figures["failed"] == {"decode_failed": 2}
    assert (last.captured, last.published) == (12, 10)
    assert last.balances


def test_the_digest_is_that_of_a_replay_which_publishes_nothing(bundle: Path, drive: Path) -> None:
    _, published = replayed(bundle, drive)
    request = ReplayRequest(sources=[str(drive)], models=[str(bundle)], thresholds=Thresholds(score=0.05), rate=4.0)
    with Replay(request) as replay:
        before = set(threading.enumerate())
        seen: set[str] = set()
        replay.run(lambda: seen.update(thread.name for thread in set(threading.enumerate()) - before))
        assert replay.summary()["digest"] == published["digest"]
    assert "completer" in seen
    assert not seen & {"health", "previews"}  # nobody can hear them


def test_a_live_run_tells_of_drops_and_of_the_camera_that_broke(bundle: Path, drive: Path, tmp_path: Path) -> None:
    content = drive.read_bytes()
    (tmp_path / "rear.mp4").write_bytes(content[: len(content) * 2 // 3])
    path = tmp_path / "vehicle.toml"
    path.write_text(
        f'''
        camera = [
            {{ name = "front", uri = "{drive}", every = 3, loop = true }},
            {{ name = "rear", uri = "rear.mp4" }},
        ]
        network = [{{ bundle = "{bundle}" }}]
        publish = {{ endpoint = "tcp://127.0.0.1:0" }}
        '''
    )
    with LiveRun(Vehicle(path)) as live:
        assert live.endpoint

        def stop_once_broken(message: Message) -> None:
            if isinstance(message, HealthMessage) and message.sensors[1].state is SensorState.BROKEN:
                live.stop()

        heard = Heard(live.endpoint, live.run, stop_once_broken)
        figures = live.summary()
    assert heard.raised is None
    assert all(told.balances for message in heard.health for told in message.sensors)
    front, rear = heard.health[-1].sensors
    assert front.dropped == figures["sensors"]["front"]["dropped"]
    assert front.dropped["skipped"] > 0
    assert front.state is SensorState.ENDED
    assert rear.state is SensorState.BROKEN
    assert rear.state_reason == figures["broken"]["rear"]
    states = [(message.sensors[0].state, message.sensors[1].state) for message in heard.health]
    assert (SensorState.RUNNING, SensorState.BROKEN) in states  # told while the other goes on
    assert not heard.health[-1].failure


# --- sources and engines of the test's own ---------------------------------------------------------------


class SilentSource:
    """A live camera that gives some frames, and then nothing until it is closed."""

    def __init__(self, frames: int) -> None:
        self.info = SourceInfo("test:front", (SensorInfo("front", "camera", 25.0),), live=True)
        self._frames = frames
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        for number in range(self._frames):
            now_ns = time.monotonic_ns()
            yield Frame("front", number, 7 + number, now_ns, now_ns, tiny_networks.solid(200))
        self._closed.wait()

    def close(self) -> None:
        self._closed.set()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Silent:
    """A pipeline over some sources with a publisher, and its health."""

    def __init__(self, bundle: Path, sources: Sequence[Source], submit: Callable[..., None] | None = None) -> None:
        self.network = open_network(load_bundle(bundle), thresholds=Thresholds(score=0.05))
        if submit:
            self.network.engine.submit = submit  # type: ignore[method-assign]
        self.publisher = Publisher("tcp://127.0.0.1:0")
        info = NetworkInfo("tiny", "ab" * 32, "onnxruntime")
        self.outbox = Outbox([info], [self.network.bundle.labels], self.publisher)
        self.pipeline = Pipeline(sources, [self.network], self.outbox, ReplayClock(None), 2, live=True)

    def run(self) -> None:
        with self.publisher, self.network.engine:
            self.publisher.wait_for_readers(1, NEVER, WAIT_S)
            with Health(self.pipeline, self.outbox, self.publisher):
                self.pipeline.run()


def test_silent_cameras_are_told_of_although_no_frame_comes(bundle: Path) -> None:
    def stop_once_stalled(message: Message) -> None:
        if isinstance(message, HealthMessage) and message.sensors[0].state is SensorState.STALLED:
            silent.pipeline.stop()

    silent = Silent(bundle, [SilentSource(3)])
    heard = Heard(silent.publisher.endpoint, silent.run, stop_once_stalled)
    assert heard.raised is None
    told = heard.of("front")
    assert [each.state for each in told][-3:] == [SensorState.RUNNING, SensorState.STALLED, SensorState.ENDED]
    stalled = heard.health[-2]
    assert stalled.uptime_ns >= 2e9
    assert stalled.sensors[0].captured == 3
    assert stalled.sensors[0].captured_hz == stalled.sensors[0].published_hz == stalled.sensors[0].latency_p50_ms == 0
    assert stalled.sensors[0].last_stamp_ns == 9
    assert heard.frames[-1].frame_sequence == 2


class FaultySource(SilentSource):
    """A live camera of which nothing can be read, ten times a second."""

    def __iter__(self) -> Iterator[Item]:
        for number in range(10**6):
            if self._closed.wait(0.1):
                return
            yield Fault("front", number, number, time.monotonic_ns(), "damaged")


def test_a_camera_of_which_nothing_can_be_read_is_not_silent(bundle: Path) -> None:
    def stop(message: Message) -> None:
        if isinstance(message, HealthMessage) and message.uptime_ns > 2.5e9:
            silent.pipeline.stop()

    silent = Silent(bundle, [FaultySource(0)])
    told = Heard(silent.publisher.endpoint, silent.run, stop).of("front")
    assert {each.state for each in told[:-1]} == {SensorState.RUNNING}
    assert told[-1].published == 0
    assert told[-1].failed["decode_failed"] == told[-1].captured > 0


def test_a_sensor_that_never_gave_anything_is_told_of_too(bundle: Path) -> None:
    def stop(message: Message) -> None:
        if isinstance(message, HealthMessage) and message.sequence == 1:
            silent.pipeline.stop()

    silent = Silent(bundle, [SilentSource(0)])
    told = Heard(silent.publisher.endpoint, silent.run, stop).of("front")
    assert told[0] == SensorHealth(sensor="front", state=SensorState.RUNNING)
    assert told[-1] == SensorHealth(sensor="front", state=SensorState.ENDED, messages=1)


def test_what_ends_the_whole_run_is_in_its_last_word(bundle: Path) -> None:
    def break_down(_slot: int, _rows: int) -> None:
        raise EngineError("tiny", "lost its device", "start again")

    silent = Silent(bundle, [SilentSource(3)], break_down)
    heard = Heard(silent.publisher.endpoint, silent.run)
    assert isinstance(heard.raised, EngineError)
    last = heard.health[-1]
    assert (last.last, last.failure) == (True, "tiny: lost its device; start again")
    assert last.sensors[0].balances
    assert last.sensors[0].failed
    assert heard.ended_with_health


def test_where_nothing_is_published_nothing_runs(bundle: Path) -> None:
    network = open_network(load_bundle(bundle))
    outbox = Outbox([], [], NullPublisher())
    with network.engine:
        pipeline = Pipeline([SilentSource(0)], [network], outbox, ReplayClock(None), 2)
        before = threading.active_count()
        with Health(pipeline, outbox, NullPublisher()):
            assert threading.active_count() == before


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    durations = [n * 1_000_000 for n in (9, 1, 7, 3, 5, 2, 8, 4, 6, 10)]
    assert _percentile_ms(durations, 50) == 5
    assert _percentile_ms(durations, 99) == 10
    assert _percentile_ms(durations[:1], 50) == _percentile_ms(durations[:1], 99) == 9
    assert _percentile_ms([], 50) == 0
