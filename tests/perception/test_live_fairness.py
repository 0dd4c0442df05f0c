"""Several live cameras on one engine: each gets its share, one frame of each waits, and every drop has its reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import drive_media
import pytest
import tiny_networks
from fake_engine import FakeEngine

from engines.bundle import load_bundle
from engines.results import Thresholds
from perception.intake import Captured, NewestFirst
from perception.message import NetworkInfo
from perception.network import Network, decoder_for
from perception.pipeline import Pipeline, Result
from perception.stream import NullPublisher, Outbox
from perception.tracking import TrackerSettings
from sensors.clock import ReplayClock
from sensors.frame import Item
from sensors.opening import open_source

CAMERAS = ("front", "left", "right", "rear")
PICTURES = 30
RATE = 3.0  # times real time: four times 30 frames a second
OVERLOADED_S = 0.04  # an inference, of which two run at once: 50 a second
WAIT_S = 30.0
SOME = 25  # results of a camera, of which one more or less is not yet 5 %


class Watched(NewestFirst):
    """The live intake, and how many items of one sensor have ever waited in it at once."""

    most_waiting = 0

    def put(self, source: int, captured: Captured) -> Captured | None:
        superseded = super().put(source, captured)
        with self._changed:
            self.most_waiting = max(self.most_waiting, *map(len, self._waiting.values()))
        return superseded


class Around:
    """A source around another one's items."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.info = source.info
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        raise NotImplementedError

    def close(self) -> None:
        self._closed.set()
        self._source.close()

    def __enter__(self) -> Around:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Stalling(Around):
    """Gives one item and then nothing, without ending."""

    def __iter__(self) -> Iterator[Item]:
        yield next(iter(self._source))
        self._closed.wait()


class Patient(Around):
    """Gives the next item once the one before is published: a camera that its network keeps up with, at any speed."""

    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self.may_go_on = threading.Semaphore()

    def __iter__(self) -> Iterator[Item]:
        for item in self._source:
            assert self.may_go_on.acquire(timeout=WAIT_S)
            yield item


class Cameras:
    """Recordings that play at their own pace, each decoded by itself, through the live pipeline and a slow engine."""

    def __init__(self, folder: Path, opened: ExitStack, *, inference_s: float) -> None:
        clip = drive_media.write_video(folder / "clip.mp4", pictures=PICTURES)
        self.sources: dict[str, Any] = {name: open_source(str(clip), loop=0, name=name) for name in CAMERAS}
        tiny_networks.make_bundle(folder / "tiny")
        bundle = load_bundle(folder / "tiny")
        engine = opened.enter_context(FakeEngine(bundle, delay_s=lambda _slot: inference_s))
        self.network = Network(bundle, engine, decoder_for(bundle, engine), Thresholds(), TrackerSettings())
        self.observers: list[Any] = []
        self._opened = opened

    def run(self, *, rate: float | None = RATE, until: str = "", results: int = 0) -> tuple[Pipeline, Watched]:
        """Run until so many results of one camera are out; of all of them where none is named, to the end."""

        def see(result: Result) -> None:
            if result.entry.sensor == until and pipeline.ledger.counts()[until].published >= results:
                pipeline.stop()

        for source in self.sources.values():
            self._opened.enter_context(source)
        info = NetworkInfo("tiny", "ab" * 32, "fake")
        outbox = Outbox([info], [self.network.bundle.labels], NullPublisher())
        sources = list(self.sources.values())
        observers = [*self.observers, see]
        pipeline = Pipeline(sources, [self.network], outbox, ReplayClock(rate), 2, observers, live=True)
        pipeline._intake = intake = Watched(len(sources), CAMERAS)
        unbalanced: list[Any] = []

        def look() -> None:
            unbalanced.extend(counts for counts in pipeline.ledger.counts().values() if not counts.balances)

        timer = threading.Timer(WAIT_S, pipeline.stop)
        timer.start()
        pipeline.run(look, watch_every_s=0.001)
        assert timer.is_alive(), "it took too long"
        timer.cancel()
        assert unbalanced == []
        for counts in pipeline.ledger.counts().values():
            assert counts.in_flight == 0
            assert counts.captured == counts.published + sum(counts.dropped.values())
        return pipeline, intake


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_above_saturation_each_of_four_cameras_gets_its_share(tmp_path: Path, opened: ExitStack) -> None:
    cameras = Cameras(tmp_path, opened, inference_s=OVERLOADED_S)
    pipeline, intake = cameras.run(until="rear", results=SOME)
    counts = pipeline.ledger.counts()
    published = [counts[name].published for name in CAMERAS]
    assert max(published) - min(published) <= 2, published
    assert intake.most_waiting == 1
    for of_camera in counts.values():
        assert of_camera.dropped.keys() == {"superseded"}
        assert of_camera.dropped["superseded"] > 0


def test_below_saturation_nothing_is_dropped(tmp_path: Path, opened: ExitStack) -> None:
    cameras = Cameras(tmp_path, opened, inference_s=0.001)
    patient = {name: Patient(open_source(str(tmp_path / "clip.mp4"), name=name)) for name in CAMERAS}
    cameras.sources = patient
    cameras.observers = [lambda result: patient[result.entry.sensor].may_go_on.release()]
    pipeline, intake = cameras.run(rate=None)
    for counts in pipeline.ledger.counts().values():
        assert (counts.captured, counts.published, counts.dropped) == (PICTURES, PICTURES, {})
    assert intake.most_waiting == 1


def test_a_stalled_camera_takes_nothing_from_the_others(tmp_path: Path, opened: ExitStack) -> None:
    cameras = Cameras(tmp_path, opened, inference_s=OVERLOADED_S)
    cameras.sources["front"] = Stalling(cameras.sources["front"])
    pipeline, intake = cameras.run(until="rear", results=SOME)
    counts = pipeline.ledger.counts()
    others = [counts[name].published for name in CAMERAS[1:]]
    assert counts["front"].published == 1
    assert min(others) >= SOME - 2, "each turn of the camera that has nothing is one of the others'"
    assert intake.most_waiting == 1
