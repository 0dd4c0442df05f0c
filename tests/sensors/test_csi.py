"""CSI cameras: a real GStreamer pipeline and pipe, with a test picture where the sensor would be."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from csi_camera import REAL, WHY_NOT, CsiCameras

from sensors.cameras.addresses import CsiAddress, csi_address
from sensors.cameras.csi import CsiCamera, elements, open_csi
from sensors.cameras.gstreamer import PipelineError, Silent
from sensors.cameras.reconnecting import Patience
from sensors.errors import RequestError, SourceError
from sensors.frame import Fault, Frame
from sensors.opening import default_name, open_source

PATIENCE = Patience(first_picture_s=10.0, stall_s=1.0, first_pause_s=0.02, longest_pause_s=0.04)
SMALL = "csi://0?width=320&height=240&fps=30"

needs_gstreamer = pytest.mark.skipif(not REAL, reason=WHY_NOT)


@pytest.fixture
def cameras(tmp_path: Path) -> Iterator[CsiCameras]:
    with CsiCameras(tmp_path / "jetson") as plugged_in:
        yield plugged_in


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@needs_gstreamer
def test_pictures_come_as_they_are_with_even_stamps(cameras: CsiCameras) -> None:
    with open_csi(SMALL, "front", PATIENCE) as source:
        items = list(islice(source, 20))
        assert "sensor-id=0" in cameras.asked
        assert "video/x-raw(memory:NVMM),format=NV12,width=320,height=240,framerate=30/1" in cameras.asked
    frames = [item for item in items if isinstance(item, Frame)]
    assert len(frames) == 20
    assert frames[0].image.shape == (240, 320, 3)
    left, right = frames[5].image[60, 10].astype(int), frames[5].image[60, 310].astype(int)
    assert left.min() > 150, "the first bar of the test picture is white"
    assert right[0] > 150, "and the last blue"
    assert right[1:].max() < 60
    steps_ms = np.diff([frame.stamp_ns for frame in frames[5:]]) / 1e6
    assert np.abs(steps_ms - 100 / 3).max() < 0.3, "GStreamer's own times, to 0.1 ms"
    now_ns = time.monotonic_ns()
    assert all(0 < frame.stamp_ns <= frame.arrival_ns <= now_ns for frame in frames)


@needs_gstreamer
@pytest.mark.parametrize(
    ("turn", "shape", "white"),
    [(180, (240, 320), (180, 310)), (90, (320, 240), (10, 180)), (270, (320, 240), (310, 60))],
)
def test_a_camera_that_is_mounted_otherwise_is_turned(
    cameras: CsiCameras, turn: int, shape: tuple[int, int], white: tuple[int, int]
) -> None:
    with open_csi(f"{SMALL}&rotate={turn}", "front", PATIENCE) as source:
        frame = next(iter(source))
    assert isinstance(frame, Frame)
    assert frame.image.shape[:2] == shape
    assert frame.image[white].min() > 150


@needs_gstreamer
def test_closing_ends_the_pipeline(cameras: CsiCameras) -> None:
    with open_csi(SMALL, "front", PATIENCE) as source:
        items = iter(source)
        next(items)
        pid = cameras.pid
        assert is_running(pid)
        source.close()
        assert len(list(items)) <= 3, "what was under way"
    until = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


@needs_gstreamer
@pytest.mark.parametrize("how", ["freeze", "crash"])
def test_a_pipeline_that_hangs_or_dies_is_one_outage_and_its_camera_comes_back(cameras: CsiCameras, how: str) -> None:
    with open_csi(SMALL, "front", PATIENCE) as source:
        items = iter(source)
        assert isinstance(next(items), Frame)
        first = cameras.pid
        getattr(cameras, how)()
        outage = next(item for item in items if isinstance(item, Fault))
        assert isinstance(next(items), Frame)
        assert cameras.pid != first
        assert not is_running(first), "none is left behind"
    assert "trying again until it gives frames" in outage.reason


@needs_gstreamer
def test_a_camera_that_starts_slowly_is_no_outage(cameras: CsiCameras) -> None:
    cameras.start_late(2.0)
    with open_csi(SMALL, "front", PATIENCE) as source:
        assert isinstance(next(iter(source)), Frame), "it may be silent for 1 s, but only once it has begun"


@needs_gstreamer
def test_an_outage_is_told_once(cameras: CsiCameras) -> None:
    with open_csi(SMALL, "front", PATIENCE) as source:
        items = iter(source)
        next(items)
        cameras.say("Error generated. gstnvarguscamerasrc.cpp, execute:656 Failed to create CaptureSession")
        cameras.crash()
        fault = next(item for item in items if isinstance(item, Fault))
        time.sleep(1.5)
        cameras.say(None)
        assert isinstance(next(items), Frame)
    assert "csi://0: ended" in fault.reason


@needs_gstreamer
def test_leaving_a_pipeline_that_hangs_does_not_wait_for_its_time_limit(cameras: CsiCameras) -> None:
    patience = Patience(first_picture_s=60.0, stall_s=60.0)
    with open_csi(SMALL, "front", patience) as source:
        items = iter(source)
        next(items)
        cameras.freeze()
        began = time.monotonic()
        source.close()
        list(items)
    while is_running(cameras.pid):
        assert time.monotonic() - began < 10
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Error generated. x.cpp, execute:751 No cameras available", "Argus finds no camera at all; look at cable"),
        (
            "Error generated. x.cpp, execute:740 Invalid camera device specified 3 specified, 1 max index",
            "give a lower",
        ),
        ('WARNING: erroneous pipeline: no element "nvarguscamerasrc"', "on a Jetson: sudo apt install nvidia-l4t"),
    ],
)
def test_what_will_not_come_right_by_itself_ends_the_source_in_words(cameras: CsiCameras, said: str, told: str) -> None:
    cameras.say(said)
    with open_csi(SMALL, "front", PATIENCE) as source, pytest.raises(SourceError) as caught:
        next(iter(source))
    assert str(caught.value).startswith("csi://0: is ")
    assert told in str(caught.value)


@needs_gstreamer
def test_a_gstreamer_without_argus_is_told_from_one_without_a_camera() -> None:
    """This machine's own GStreamer, asked for what only a Jetson has."""
    with open_csi(SMALL, "front", PATIENCE) as source, pytest.raises(SourceError, match="without nvarguscamerasrc"):
        next(iter(source))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            PipelineError("ERROR: from element /GstPipeline:pipeline0: streaming stopped, reason not-negotiated (-4)"),
            "size",
        ),
        (PipelineError("Error generated. Failed to create CaptureSession"), "used by another program, or Argus hangs"),
        (
            PipelineError("a line\nERROR: from element x: Internal data stream error.\nmore"),
            "ended: ERROR: from element x",
        ),
        (PipelineError(""), "ended without a word"),
        (Silent(), "gave no picture for too long"),
    ],
)
def test_what_argus_says_is_said_in_words(error: Exception, told: str) -> None:
    lost = CsiCamera(csi_address("csi://0"), PATIENCE).why(error)
    assert told in f"{lost.what}; {lost.remedy}"


def test_without_gstreamer_it_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(RequestError, match=r"csi://1: needs gst-launch-1\.0, .*gstreamer1.0-tools") as caught:
        open_source("csi://1")
    assert caught.value.exit_code == 2


def test_the_pipeline_asks_for_what_the_uri_says() -> None:
    assert "!".join(elements(CsiAddress(1))) == (
        "nvarguscamerasrc!sensor-id=1!!!video/x-raw(memory:NVMM),format=NV12!!!nvvidconv!!!video/x-raw,format=I420"
    )
    asked = elements(csi_address("csi://0?width=1280&height=720&fps=29.97&rotate=90"))
    assert "video/x-raw(memory:NVMM),format=NV12,width=1280,height=720,framerate=30000/1001" in asked
    assert "flip-method=3" in asked, "nvvidconv's quarter to the right"
    assert default_name("csi://2?fps=5") == "csi2"
