"""What all cameras share, with ones that are a file or a pipe: FFmpeg really reads them, and a pipe really blocks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import drive_media
import pytest

from sensors.cameras.connection import Lost
from sensors.cameras.reconnecting import Patience, ReconnectingCamera
from sensors.cameras.stamps import Clock, FastestArrival
from sensors.errors import SourceError
from sensors.frame import Fault, Frame

PATIENCE = Patience(first_picture_s=10.0, stall_s=1.0, first_pause_s=0.02, longest_pause_s=0.04)
FINAL = Lost("is no camera", "give another", is_final=True)


@dataclass
class FileCamera:
    """A camera that gives what a file holds, at each connection anew."""

    path: Path
    final: Lost | None = None
    uri: str = "file-camera"
    opened: int = 0

    def open(self, is_left: Callable[[], bool]) -> Any:
        self.opened += 1
        options = {"probesize": "5000", "analyzeduration": "0", "fpsprobesize": "0"}
        return av.open(str(self.path), options=options)

    def why(self, error: Exception) -> Lost:
        return self.final or Lost("is not there", "plug it in")

    def clock(self) -> Clock:
        return FastestArrival()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return drive_media.write_video(tmp_path / "camera.ts", pictures=12)


def test_a_file_that_comes_and_goes_is_followed(video: Path) -> None:
    away = video.with_suffix(".away")
    video.rename(away)
    source = ReconnectingCamera(FileCamera(video), "front", PATIENCE)
    items = iter(source)
    first = next(items)
    assert isinstance(first, Fault)
    assert "is not there; trying again until it gives frames (plug it in)" in first.reason
    away.rename(video)
    frames = list(islice(items, 5))
    video.rename(away)
    rest = []
    while not isinstance(rest[-1] if rest else None, Fault):
        rest.append(next(items))
    away.rename(video)
    after = next(items)
    assert isinstance(after, Frame)
    assert [item.sequence for item in (first, *frames, *rest, after)] == list(range(len(frames) + len(rest) + 2))
    source.close()
    assert list(items) == []


def test_a_lost_camera_is_told_before_it_is_said_goodbye_to(video: Path) -> None:
    """A frozen one keeps FFmpeg waiting once more while it is closed."""
    said_goodbye = threading.Event()

    class Reluctant:
        def __init__(self, container: Any) -> None:
            self._container = container

        def __enter__(self) -> Any:
            return self._container

        def __exit__(self, *_exc: object) -> None:
            assert said_goodbye.wait(30)
            self._container.close()

    camera = FileCamera(video)
    open_file = camera.open
    camera.open = lambda is_left: Reluctant(open_file(is_left))  # type: ignore[method-assign]
    with ReconnectingCamera(camera, "front", Patience(stall_s=20.0)) as source:
        items = iter(source)
        began_s = time.monotonic()
        while not isinstance(item := next(items), Fault):
            assert isinstance(item, Frame)
        assert "ended the stream" in item.reason
        assert not said_goodbye.is_set()
        assert time.monotonic() - began_s < 15
        said_goodbye.set()
        assert isinstance(next(items), Frame)


def test_stamps_go_on_whatever_a_clock_says(video: Path) -> None:
    class GoesBack:
        def __init__(self) -> None:
            self.now_ns = 10**15

        def stamp_ns(self, camera_ns: int, arrival_ns: int) -> int:
            self.now_ns -= 1000
            return self.now_ns

    camera = FileCamera(video)
    camera.clock = GoesBack  # type: ignore[assignment, method-assign]
    with ReconnectingCamera(camera, "front", PATIENCE) as source:
        items = list(islice(source, 40))
    assert camera.opened > 2
    assert all(one.stamp_ns < other.stamp_ns for one, other in pairwise(items))


def test_a_camera_that_gives_nothing_more_is_noticed_and_opened_again_only_when_it_lets_go(
    tmp_path: Path,
) -> None:
    video = drive_media.write_video(tmp_path / "camera.ts", pictures=48)  # enough for FFmpeg to know what it is
    pipe = tmp_path / "pipe.ts"
    os.mkfifo(pipe)
    camera = FileCamera(pipe)
    may_let_go, has_plugged_in = threading.Event(), threading.Event()

    def feed() -> None:
        with pipe.open("wb", buffering=0) as writing:
            writing.write(video.read_bytes())
            may_let_go.wait(60)
        while camera.opened < 2:  # the pipe's first reader would take what the second one is to have
            time.sleep(0.01)
        with pipe.open("wb", buffering=0) as writing:
            writing.write(video.read_bytes())
            has_plugged_in.wait(60)

    feeding = threading.Thread(target=feed, daemon=True)
    opened_while_held: list[int] = []
    feeding.start()
    with ReconnectingCamera(camera, "front", PATIENCE) as source:
        items = iter(source)
        fault = next(item for item in items if isinstance(item, Fault))
        assert "gave no picture for 1 s" in fault.reason
        threading.Timer(0.8, may_let_go.set).start()  # many pauses later
        assert camera.opened == 1
        threading.Timer(0.4, lambda: opened_while_held.append(camera.opened)).start()
        assert isinstance(next(items), Frame)
        assert opened_while_held == [1], "one connection at a time"
        assert camera.opened == 2
    has_plugged_in.set()
    feeding.join(60)


def test_what_is_final_ends_it_only_as_the_first_answer(video: Path) -> None:
    missing = FileCamera(video.with_name("none.ts"), final=FINAL)
    with pytest.raises(SourceError, match="file-camera: is no camera; give another") as caught:
        next(iter(ReconnectingCamera(missing, "front", PATIENCE)))
    assert caught.value.__context__ is None
    camera = FileCamera(video, final=FINAL)
    with ReconnectingCamera(camera, "front", PATIENCE) as source:
        items = iter(source)
        next(items)
        video.rename(video.with_suffix(".away"))
        next(item for item in items if isinstance(item, Fault))
        threading.Timer(0.5, lambda: video.with_suffix(".away").rename(video)).start()
        assert isinstance(next(items), Frame)
        assert camera.opened > 3, "it was asked while the file was away"


def test_a_camera_that_boots_may_refuse_for_a_while(video: Path) -> None:
    class Boots(FileCamera):
        def why(self, error: Exception) -> Lost:
            return Lost("is out of reach", "wait") if self.opened == 1 else FINAL

    away = video.rename(video.with_suffix(".away"))
    camera = Boots(video)
    with ReconnectingCamera(camera, "front", PATIENCE) as source:
        items = iter(source)
        assert isinstance(next(items), Fault)
        threading.Timer(0.5, lambda: away.rename(video)).start()
        assert isinstance(next(items), Frame)
    assert camera.opened > 3


def test_a_bug_in_a_camera_is_raised_where_it_is_iterated(video: Path) -> None:
    class Wrong(FileCamera):
        def open(self, is_left: Callable[[], bool]) -> Any:
            raise KeyError("a bug")

    with ReconnectingCamera(Wrong(video), "front", PATIENCE) as source, pytest.raises(KeyError, match="a bug"):
        next(iter(source))


def test_a_damaged_packet_is_a_fault_and_no_outage(video: Path) -> None:
    mp4 = drive_media.write_video(video.with_name("damaged.mp4"))
    drive_media.damage_packet(mp4, 10)
    with ReconnectingCamera(FileCamera(mp4), "front", PATIENCE) as source:
        items = list(islice(source, drive_media.PICTURES - 2))  # two are held by the decoder at the end
    faults = [item for item in items if isinstance(item, Fault)]
    assert len(faults) == 1
    assert faults[0].reason.startswith("packet 10")


def test_joining_in_the_middle_loses_nothing_that_was_there_to_see(video: Path) -> None:
    """The key frame that the first pictures need is not there, as when one joins a camera that is already watched."""
    mp4 = drive_media.write_video(video.with_name("middle.mp4"))
    drive_media.damage_packet(mp4, 0)
    with ReconnectingCamera(FileCamera(mp4), "front", PATIENCE) as source:
        first = next(iter(source))
    assert isinstance(first, Frame)
    assert first.sequence == 0


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    pipe = tmp_path / "pipe.ts"
    os.mkfifo(pipe)
    code = f"""
import threading
from pathlib import Path
from sensors.cameras.reconnecting import ReconnectingCamera
from test_reconnecting import FileCamera
source = ReconnectingCamera(FileCamera(Path({str(pipe)!r})), "front")
threading.Timer(0.5, source.close).start()
print(list(source))
"""
    return [sys.executable, "-c", code]


def test_a_camera_that_never_answers_does_not_keep_a_program_from_ending(program: list[str]) -> None:
    paths = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    environment = os.environ | {"PYTHONPATH": paths}
    ran = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n", "")
