"""The project's real recordings, against the figures measured for them (drives/README.md)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from sensors.drives.video import VideoFile
from sensors.frame import Fault, Frame, Item
from sensors.opening import open_source

pytestmark = pytest.mark.data

MS = 1_000_000

# file: items, faults, width, height, second stamp in ns
RECORDINGS = {
    "videos/solidWhiteRight.mp4": (221, 0, 960, 540, 40_000_000),
    "videos/test_video.mp4": (38, 0, 1280, 720, 40_000_000),
    "videos/driving_24000_1001fps.mp4": (296, 0, 640, 360, 41_708_333),
    "videos_difficult/corrupted.mp4": (50, 1, 1280, 720, 100_000_000),
    "videos_difficult/unordered.mov": (4, 0, 50, 50, 31_250_000),
    "videos_difficult/video_0.mov": (3, 0, 568, 320, 33_333_333),
    "videos_difficult/video_90.mov": (3, 0, 320, 568, 33_333_333),
    "videos_difficult/video_180.mov": (3, 0, 568, 320, 33_333_333),
    "videos_difficult/SAR-2by3.mp4": (60, 0, 640, 540, 33_333_333),
    "videos_difficult/h265_video.mp4": (10, 0, 128, 128, 100_000_000),
}


def _read(path: Path) -> list[Item]:
    with open_source(str(path)) as source:
        return list(source)


@pytest.mark.parametrize("file", RECORDINGS)
def test_a_recording_gives_what_was_measured(file: str, data: Path) -> None:
    count, faults, width, height, step_ns = RECORDINGS[file]
    source = open_source(str(data / "drives" / file))
    assert source.info.sensors[0].count == count
    found, stamps = 0, []
    for item in source:  # not kept, because 221 frames are 340 MB
        stamps.append(item.stamp_ns)
        if isinstance(item, Frame):
            assert (item.width, item.height) == (width, height)
        found += isinstance(item, Fault)
    assert (len(stamps), found) == (count, faults)
    assert stamps[:2] == [0, step_ns]
    steps = {later - earlier for earlier, later in pairwise(stamps)}
    assert steps <= {step_ns - 1, step_ns, step_ns + 1}


def test_a_table_row_stands_for_every_recording(data: Path) -> None:
    files = {str(path.relative_to(data / "drives")) for path in data.glob("drives/videos*/*.m*")}
    assert files == set(RECORDINGS)


def test_the_damaged_packet_is_the_picture_missing_at_3_s(data: Path) -> None:
    items = _read(data / "drives/videos_difficult/corrupted.mp4")
    (fault,) = [item for item in items if isinstance(item, Fault)]
    assert (fault.sequence, fault.stamp_ns) == (30, 3_000 * MS)
    assert "packet 30" in fault.reason


@pytest.mark.parametrize("name", ["video_0.mov", "video_90.mov", "video_180.mov", "h265_video.mp4"])
def test_pixels_and_rotation_are_those_of_opencv(name: str, data: Path) -> None:
    path = data / "drives/videos_difficult" / name
    capture = cv2.VideoCapture(str(path))
    for item in VideoFile(path, "phone"):
        read, expected = capture.read()
        assert read
        assert isinstance(item, Frame)
        assert np.array_equal(item.image, expected)
    assert not capture.read()[0]


def test_half_a_file_gives_its_half_before_it_breaks(data: Path, tmp_path: Path) -> None:
    whole = (data / "drives/videos/driving_24000_1001fps.mp4").read_bytes()
    path = tmp_path / "half.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    frames = 0
    with pytest.raises(Exception, match="ends after 137 of 296 declared frames"):  # noqa: PT012
        for item in open_source(str(path)):
            frames += isinstance(item, Frame)
    assert frames == 137


def test_kitti_images_are_read_as_a_folder(data: Path) -> None:
    folder = next(data.glob("drives/kitti*/**/image_02/data"))
    items = _read(folder)
    assert len(items) == 7
    assert all(isinstance(item, Frame) and item.image.shape == (375, 1242, 3) for item in items)
