"""Previews: whose picture, how large, how often, for whom; and that a run with them is the run without."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_networks
from drive_media import PICTURES, picture, write_video
from made_stream import NEVER, WAIT_S
from numpy.typing import NDArray

from engines.results import Thresholds
from perception import preview
from perception.config import Vehicle
from perception.ledger import Entry
from perception.live import LiveRun
from perception.message import FrameMessage, HealthMessage, Message, PreviewMessage, Status
from perception.message.preview_message import decode_preview
from perception.pipeline import Result
from perception.preview import LONGEST_SIDE, Previews, scaled_down
from perception.replay import Replay, ReplayRequest
from perception.stream import NullPublisher, Publisher, StreamSubscriber
from sensors.frame import Frame, PixelFormat
from sensors.yuv import bgr

PREVIEWS_FIRST = ("preview/", "health/", "detections/")  # who has the last subscription has the others


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    tiny_networks.make_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("drives") / "front.mp4")


def replayed(
    bundle: Path, drive: Path, topics: Sequence[str], rate: float | None = None
) -> tuple[list[Message], dict[str, Any]]:
    request = ReplayRequest(
        sources=[str(drive)],
        models=[str(bundle)],
        publish="tcp://127.0.0.1:0",
        wait_readers=1,
        rate=rate,
        thresholds=Thresholds(score=0.05),
    )
    with Replay(request) as replay:
        assert replay.endpoint
        with StreamSubscriber[Message](replay.endpoint, topics, timeout_s=WAIT_S) as reader:
            running = threading.Thread(target=replay.run)
            running.start()
            received = list(reader)
            running.join()
        assert reader.lost == {}
        assert reader.malformed == 0
        return received, replay.summary()


def pixels(message: PreviewMessage) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(message.jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_previews_are_pictures_of_the_frames_that_they_name(bundle: Path, drive: Path) -> None:
    received, figures = replayed(bundle, drive, PREVIEWS_FIRST, rate=2.0)  # at 20 frames/s every other one is due
    previews = [message for message in received if isinstance(message, PreviewMessage)]
    frames = {m.frame_sequence: m for m in received if isinstance(m, FrameMessage)}
    assert 1 < len(previews) <= figures["wall_s"] * 10 + 1
    assert len(previews) < PICTURES
    assert [message.sequence for message in previews] == list(range(len(previews)))
    for message in previews:
        frame = frames[message.frame_sequence]
        assert (message.stamp_ns, message.session, message.sensor) == (frame.stamp_ns, frame.session, "front")
        image = pixels(message)
        assert image.shape == (message.height, message.width, 3) == (48, 64, 3)
        wanted = picture(message.frame_sequence)
        bar = (5 * message.frame_sequence) % 64  # what differs from frame to frame
        assert image[:, bar].mean() > 180
        assert abs(float(image.mean()) - float(wanted.mean())) < 12
    assert isinstance(received[-1], HealthMessage)  # no preview comes after the last word


@pytest.mark.parametrize("live", [False, True])
def test_the_last_word_waits_for_the_last_preview(
    bundle: Path, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    send = Previews._send

    def send_late(previews: Previews, *picture: Any) -> None:
        time.sleep(0.4)
        send(previews, *picture)

    monkeypatch.setattr(Previews, "_send", send_late)
    path = tmp_path / "vehicle.toml"
    path.write_text(
        f"""
        camera = [{{ name = "front", uri = "{drive}" }}]
        network = [{{ bundle = "{bundle}" }}]
        publish = {{ endpoint = "tcp://127.0.0.1:0" }}
        """
    )
    request = ReplayRequest(
        sources=[str(drive)], models=[str(bundle)], publish="tcp://127.0.0.1:0", wait_readers=1, rate=4.0
    )
    with LiveRun(Vehicle(path)) if live else Replay(request) as run:
        assert run.endpoint
        with StreamSubscriber[Message](run.endpoint, PREVIEWS_FIRST, timeout_s=WAIT_S) as reader:
            running = threading.Thread(target=run.run)
            running.start()
            received = list(reader)
            running.join()
        assert isinstance(received[-1], HealthMessage)
        sequences = [message.sequence for message in received if isinstance(message, PreviewMessage)]
        assert sequences
        assert sequences[-1] == run._previews._sent["front"] - 1


def test_a_run_that_is_looked_at_finds_the_same(bundle: Path, drive: Path) -> None:
    looked_at, with_them = replayed(bundle, drive, PREVIEWS_FIRST)
    unseen, without = replayed(bundle, drive, ["detections/"])
    assert with_them["digest"] == without["digest"]
    assert any(isinstance(message, PreviewMessage) for message in looked_at)
    assert len(unseen) == with_them["published"] == without["published"] == PICTURES


def a_result(number: int, image: NDArray[np.uint8], **frame: Any) -> Result:
    made = Frame("front", number, number * 10, 0, 0, image, **frame)
    return Result(Entry("front", number, number * 10, 0), made, Status.OK, "", [], b"")


class Wanted:
    """A publisher with somebody who wants some topics, and who keeps what is sent."""

    endpoint = "test"

    def __init__(self, *wanted: str) -> None:
        self.wanted = wanted
        self.sent: list[PreviewMessage] = []
        self.offered: list[str] = []

    def offer(self, topics: Any) -> None:
        self.offered += topics

    def is_wanted(self, topic: str) -> bool:
        return topic in self.wanted

    def send(self, topic: str, payload: bytes) -> None:
        message = decode_preview(payload)
        assert topic == message.topic
        self.sent.append(message)


def previews_for(publisher: Any, *sensors: str) -> Previews:
    return Previews(publisher, "one", sensors or ("front",))


def test_nothing_is_made_for_nobody() -> None:
    publisher = Wanted("preview/rear/")
    with previews_for(publisher, "front", "rear") as previews:
        previews(a_result(0, tiny_networks.solid(200)))
    assert publisher.sent == []
    assert publisher.offered == ["preview/front/", "preview/rear/"]


def test_at_most_ten_a_second_are_made() -> None:
    publisher, began_s = Wanted("preview/front/"), time.monotonic()
    with previews_for(publisher) as previews:
        for number in range(200):
            previews(a_result(number, tiny_networks.solid(200)))
    assert publisher.sent[0].frame_sequence == 0
    assert len(publisher.sent) <= 10 * (time.monotonic() - began_s) + 1


def test_of_pictures_that_wait_only_the_newest_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "LEAST_PERIOD_NS", 0)
    publisher = Wanted("preview/front/")
    previews = previews_for(publisher)
    for number in range(5):  # nobody encodes yet
        previews(a_result(number, tiny_networks.solid(number * 40)))
    with previews:
        pass
    assert [message.frame_sequence for message in publisher.sent] == [4]
    assert publisher.sent[0].stamp_ns == 40
    assert abs(int(pixels(publisher.sent[0])[16, 16, 0]) - 160) < 6


def test_a_picture_is_a_copy_that_outlives_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher, image = Wanted("preview/front/"), tiny_networks.solid(0, 0, 200)
    previews = previews_for(publisher)
    previews(a_result(0, image))
    image.fill(0)  # the source uses its memory for something else
    with previews:
        pass
    assert pixels(publisher.sent[0])[16, 16, 2] > 180


def test_what_has_no_picture_gives_none() -> None:
    publisher = Wanted("preview/front/")
    with previews_for(publisher) as previews:
        previews(Result(Entry("front", 0, 0, 0), None, Status.DECODE_FAILED, "lost", [], b""))
    assert publisher.sent == []


def test_a_publisher_that_is_none_needs_no_thread() -> None:
    before = threading.active_count()
    with previews_for(NullPublisher()) as previews:
        previews(a_result(0, tiny_networks.solid(200)))
        assert threading.active_count() == before


@pytest.mark.parametrize(
    ("width", "height", "wanted"),
    [
        (1280, 720, (640, 360)),
        (960, 540, (640, 360)),
        (1080, 1920, (360, 640)),
        (64, 48, (64, 48)),
        (640, 480, (640, 480)),
        (5000, 3, (640, 1)),
    ],
)
def test_a_picture_fits_and_is_never_enlarged(width: int, height: int, wanted: tuple[int, int]) -> None:
    image = tiny_networks.solid(10, 20, 30, size=(width, height))
    small = scaled_down(Frame("front", 0, 0, 0, 0, image))
    assert small.shape == (wanted[1], wanted[0], 3)
    assert small[0, 0].tolist() == [10, 20, 30]
    assert not np.shares_memory(small, image)
    assert max(small.shape) <= LONGEST_SIDE


def test_nv12_becomes_bgr() -> None:
    yuv = np.concatenate([np.full((48, 64), 81, np.uint8), np.tile(np.uint8([90, 240]), (24, 32))])  # red, BT.601
    small = scaled_down(Frame("front", 0, 0, 0, 0, yuv, PixelFormat.NV12))
    assert small.shape == (48, 64, 3)
    blue, green, red = small[20, 20].tolist()
    assert red > 230
    assert blue + green < 40


@pytest.mark.parametrize("kind", [kind for kind in PixelFormat if kind.is_nv12])
@pytest.mark.parametrize("size", [(1280, 720), (1278, 1000), (700, 1600)])
def test_nv12_is_made_small_first_and_looks_the_same(kind: PixelFormat, size: tuple[int, int]) -> None:
    width, height = size
    luma = np.tile(np.linspace(40, 220, width).astype(np.uint8), (height, 1))
    pairs = np.tile(np.uint8([110, 150]), (height // 2, width // 2))
    frame = Frame("front", 0, 0, 0, 0, np.concatenate([luma, pairs]), kind)
    as_bgr = Frame("front", 0, 0, 0, 0, bgr(frame))
    small, wanted = scaled_down(frame), scaled_down(as_bgr)
    assert small.shape == wanted.shape
    assert np.abs(small.astype(int) - wanted).max() <= 3


def test_a_reader_that_comes_and_goes_starts_and_ends_them() -> None:
    with Publisher("tcp://127.0.0.1:0") as publisher:
        previews = previews_for(publisher)
        assert not publisher.is_wanted("preview/front/")
        with StreamSubscriber[Message](publisher.endpoint, PREVIEWS_FIRST) as reader, previews:
            assert publisher.wait_for_readers(1, NEVER, WAIT_S)
            previews(a_result(0, tiny_networks.solid(200)))
            message = reader.receive(WAIT_S)
            assert isinstance(message, PreviewMessage)
        while publisher.readers:
            publisher.wait_for_readers(10**9, NEVER, 0.01)
        publisher.wait_for_readers(10**9, NEVER, 0.05)
        assert not publisher.is_wanted("preview/front/")
