"""What a vehicle's run asks of its cameras."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import tiny_networks
from csi_camera import REAL, WHY_NOT, CsiCameras
from drive_media import write_video

from engines.runtime.cpu import CpuEngine
from perception import live as live_run
from perception.config import Vehicle
from perception.live import LiveRun
from sensors.frame import Frame, PixelFormat
from sensors.opening import open_source
from sensors.source import Source
from sensors.yuv import bgr


@pytest.mark.parametrize(
    ("reads", "more", "is_recorded", "wanted"),
    [
        (True, "", False, True),
        (False, "", False, False),
        (True, "", True, False),
        (True, ', { bundle = "BUNDLE2" }', False, True),
        (True, ', { bundle = "CLASSES", crops_of = "tiny" }', False, False),
    ],
    ids=["gpu", "cpu", "recorded", "two", "crops"],
)
def test_cameras_are_left_in_nv12_where_nothing_needs_bgr(
    reads: bool, more: str, is_recorded: bool, wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_networks.make_bundle(tmp_path / "tiny")
    tiny_networks.make_bundle(tmp_path / "BUNDLE2")
    tiny_networks.make_classifier_bundle(tmp_path / "CLASSES")
    write_video(tmp_path / "drive.mp4", 3)
    path = tmp_path / "vehicle.toml"
    path.write_text(
        f"""
        camera = [{{ name = "front", uri = "drive.mp4" }}]
        network = [{{ bundle = "tiny" }}{more}]
        """
    )
    asked: list[bool] = []

    def spied(uri: str, *, in_nv12: bool, **words: Any) -> Source:
        asked.append(in_nv12)
        return open_source(uri, **words)

    monkeypatch.setattr(live_run, "open_source", spied)
    monkeypatch.setattr(CpuEngine, "reads_nv12", reads)
    with LiveRun(Vehicle(path), tmp_path / "drive.mcap" if is_recorded else None):
        assert asked == [wanted]


@pytest.mark.skipif(not REAL, reason=WHY_NOT)
def test_a_live_camera_gives_nv12_where_it_may(tmp_path: Path) -> None:
    with CsiCameras(tmp_path / "jetson"):
        shown = []
        for in_nv12 in (True, False):
            with open_source("csi://0?width=320&height=240&fps=30", name="front", in_nv12=in_nv12) as source:
                frame = next(item for item in islice(source, 20) if isinstance(item, Frame))
            assert (frame.format is PixelFormat.BGR) is not in_nv12
            assert (frame.width, frame.height) == (320, 240)
            shown.append(bgr(frame)[60, 10].astype(int))
    assert abs(shown[0] - shown[1]).max() <= 3, "the same bar of the test picture"
