"""`perception drive` as its user has it: info, convert, cut and view, on made drives and on every real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import drive_formats
import drive_media
import file_limit
import numpy as np
import pytest

from perception.drives.contact_sheet import TILE_HEIGHT, TILE_WIDTH, contact_sheet
from perception.drives.conversion import convert
from sensors.clock_policy import ClockPolicy
from sensors.errors import RequestError
from sensors.frame import Fault, Frame, Item, PointCloud, RadarScan, Reading
from sensors.opening import open_source, recorded_name
from sensors.source import Span

COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()", "drive"]
REAL = {
    "kitti": "kitti_2011_09_26/2011_09_26/2011_09_26_drive_0001_sync",
    "radiate": "radiate_tiny_foggy",
    "comma2k19": "comma2k19/b0c9d2329ad1606b_2018-08-02--08-34-47/40",
    "nuscenes": "nuscenes_sample",
    "bag": "bags/luminar_mixed_clocks.bag",
    "video": "videos/test_video.mp4",
    "highway": "videos/solidWhiteRight.mp4",
    "video at dusk": "videos/driving_24000_1001fps.mp4",
    "video of wide pixels": "videos_difficult/SAR-2by3.mp4",
    "video out of order": "videos_difficult/unordered.mov",
    "upright video": "videos_difficult/video_0.mov",
    "video upside down": "videos_difficult/video_180.mov",
    "damaged video": "videos_difficult/corrupted.mp4",
    "rotated video": "videos_difficult/video_90.mov",
    "H.265": "videos_difficult/h265_video.mp4",
}


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False)


def items_of(uri: Path, **more: Any) -> list[Item]:
    name, path = recorded_name(str(uri))
    with open_source(path, name=name, **more) as source:
        return list(source)


def psnr(one: Frame, other: Frame) -> float:
    return float(cv2.PSNR(np.ascontiguousarray(one.image), np.ascontiguousarray(other.image)))


def assert_same(before: list[Item], after: list[Item], least_psnr: float) -> None:
    """Equal items and stamps; pixels of files equal, others within JPEG's loss; points and readings to the bit."""

    def heads(items: list[Item]) -> list[tuple[int, str, int, type]]:
        return sorted((item.stamp_ns, item.sensor, item.sequence, type(item)) for item in items)

    assert [head[:3] for head in heads(after)] == [head[:3] for head in heads(before)]
    by_place = {(item.sensor, item.sequence): item for item in after}
    for one in before:
        other = by_place[one.sensor, one.sequence]
        assert type(other) is type(one)
        if isinstance(one, Frame) and isinstance(other, Frame):
            if one.coded is not None:
                assert one.image.tobytes() == other.image.tobytes()
            else:
                assert psnr(one, other) > least_psnr
        elif isinstance(one, PointCloud) and isinstance(other, PointCloud):
            assert (one.fields, one.points.tobytes()) == (other.fields, other.points.tobytes())
        elif isinstance(one, RadarScan) and isinstance(other, RadarScan):
            assert (one.fields, one.targets.tobytes()) == (other.fields, other.targets.tobytes())
        elif isinstance(one, Reading) and isinstance(other, Reading):
            np.testing.assert_array_equal(one.values, other.values)
        elif isinstance(one, Fault) and isinstance(other, Fault):
            assert one.reason == other.reason


# --- convert, cut


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_every_real_drive_is_the_same_as_mcap(data: Path, tmp_path: Path, name: str) -> None:
    drive = data / "drives" / REAL[name]
    converted = convert(str(drive), tmp_path / "out.mcap")
    before, after = items_of(drive), items_of(tmp_path / "out.mcap")
    # Test patterns have edges between pure colours, of which JPEG keeps every second pixel.
    is_pattern = name in ("damaged video", "H.265", "video of wide pixels")
    assert_same(before, after, least_psnr=30.0 if is_pattern else 36.0)
    assert sum(converted.items.values()) + sum(converted.faults.values()) == len(before)
    with open_source(str(tmp_path / "out.mcap"), name="") as source, open_source(str(drive), name="x") as original:
        mine, theirs = source.info.calibration, original.info.calibration
    assert len(mine.cameras) == len(theirs.cameras)
    for camera, was in zip(mine.cameras, theirs.cameras, strict=True):
        np.testing.assert_array_equal(camera.projection, was.projection)
        assert camera.distortion == was.distortion
    for transform, before_it in zip(mine.transforms, theirs.transforms, strict=True):
        np.testing.assert_allclose(transform.matrix, before_it.matrix, atol=2e-5)


@pytest.mark.data
def test_no_real_drive_is_left_out(data: Path) -> None:
    drives = data / "drives"
    several = [file for folder in ("videos", "videos_difficult", "bags") for file in (drives / folder).iterdir()]
    singles = [folder for folder in drives.iterdir() if folder.is_dir() and folder not in {f.parent for f in several}]
    without_sensors = {"ros2_talker_sqlite3", "ros2_talker_mcap"}
    for found in several + singles:
        if found.name in without_sensors:
            continue
        assert any((drives / path).is_relative_to(found) for path in REAL.values()), found


@pytest.mark.parametrize("images", ["jpeg", "png", "h264"])
def test_images_are_coded_as_asked_for(tmp_path: Path, images: Any) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        smooth = cv2.GaussianBlur(drive_media.picture(number, 320, 240), (0, 0), 6)
        cv2.imwrite(str(folder / f"{number}.png"), smooth)
    convert(str(folder), tmp_path / "out.mcap", images=images)
    for one, other in zip(items_of(folder), items_of(tmp_path / "out.mcap"), strict=True):
        assert isinstance(one, Frame)
        assert isinstance(other, Frame)
        if images == "png":
            np.testing.assert_array_equal(one.image, other.image)
        else:
            assert psnr(one, other) > 34
        assert (other.coded.format if other.coded else "h264") == images


def test_a_cut_has_what_lies_in_its_span_and_nothing_else(tmp_path: Path) -> None:
    drive = drive_media.write_kitti(tmp_path / "kitti")
    ended = run("cut", drive, tmp_path / "cut.mcap", "--start", "0.21", "--duration", "0.2", "--json")
    assert ended.returncode == 0, ended.stderr
    ended_empty = run("cut", drive, tmp_path / "none.mcap", "--start", "99")
    assert ended_empty.returncode == 2
    assert "has nothing in this span" in ended_empty.stderr
    assert not (tmp_path / "none.mcap").exists()
    expected = items_of(drive, span=Span(210_000_000, 200_000_000))
    assert [i.stamp_ns for i in items_of(tmp_path / "cut.mcap")] == [item.stamp_ns for item in expected]
    assert sum(json.loads(ended.stdout)["items"].values()) == len(expected)


def test_a_policy_and_what_it_did_stand_in_the_converted_drive(tmp_path: Path) -> None:
    drive = drive_formats.write_radiate(tmp_path / "d")
    stamps = drive / "GPS_IMU_Twist.txt"
    lines = stamps.read_text().splitlines()
    stamps.write_text("\n".join([*lines[:3], lines[1].replace("000002", "000004"), *lines[4:]]))
    ended = run("convert", drive, tmp_path / "out.mcap", "--clock", "GPS_IMU_Twist=offset:-1.5,drop")
    assert ended.returncode == 0, ended.stderr
    assert "its stamp is before that of the file before it (1)" in ended.stdout
    kept = [item for item in items_of(tmp_path / "out.mcap") if item.sensor == "GPS_IMU_Twist"]
    assert [item.stamp_ns for item in kept] == [
        stamp - 1_500_000_000 for n, stamp in enumerate(drive_formats.stamps(late_ms=40)) if n != 3
    ]
    told = run("info", tmp_path / "out.mcap").stdout
    assert "clock policies: GPS_IMU_Twist: offset:-1.5,drop" in told
    assert "clock changes: GPS_IMU_Twist: its stamp is before that of the file before it: 1" in told
    assert "clock faults: GPS_IMU_Twist: steps back:" in told


def test_without_a_policy_a_faulty_stamp_stays_a_fault(tmp_path: Path) -> None:
    drive = drive_media.write_kitti(tmp_path / "kitti")
    stamps = drive / "image_02" / "timestamps.txt"
    lines = stamps.read_text().splitlines()
    lines[4] = lines[1]
    stamps.write_text("\n".join(lines))
    converted = convert(str(drive), tmp_path / "out.mcap")
    assert converted.faults == {"image_02": 1}
    assert converted.clock_changes == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{drive}", "{folder}/out.mp4"], "is no .mcap file"),
        (["{drive}", "{drive}/out.mcap"], "is in what is read"),
        (["{folder}/nothing", "{folder}/out.mcap"], "does not exist"),
        (["{drive}", "{folder}/out.mcap", "--images", "gif"], "--images gif: is unknown"),
        (["{drive}", "{folder}/out.mcap", "--clock", "image_02=mend"], "'mend' is no policy"),
        (["{drive}", "{folder}/out.mcap", "--clock", "image_0=drop"], "did you mean 'image_0"),
        (["{drive}", "{folder}/none/out.mcap"], "cannot be written"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(tmp_path: Path, words: list[str], message: str) -> None:
    drive = drive_media.write_kitti(tmp_path / "kitti", 2)
    before = sorted(tmp_path.rglob("*"))
    ended = run("convert", *[word.format(drive=drive, folder=tmp_path) for word in words])
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_no_half_of_a_drive(tmp_path: Path) -> None:
    drive = drive_media.write_kitti(tmp_path / "kitti")
    with file_limit.files_no_larger_than(20_000), pytest.raises(OSError, match=r"space|large"):
        convert(str(drive), tmp_path / "out.mcap")
    assert [path.name for path in tmp_path.iterdir()] == ["kitti"]


def test_a_stamp_below_zero_is_refused_with_what_helps(tmp_path: Path) -> None:
    video = drive_formats.write_stamped_video(tmp_path / "d", [str(n - 5) for n in range(24)])
    with pytest.raises(RequestError, match=r"--clock .*offset:SECONDS"):
        convert(str(video), tmp_path / "out.mcap")
    convert(str(video), tmp_path / "out.mcap", clocks={"drive": ClockPolicy(offset_ns=10)})
    assert items_of(tmp_path / "out.mcap")[0].stamp_ns == 5


# --- info


def test_info_tells_sensors_and_what_is_wrong(tmp_path: Path) -> None:
    drive = drive_media.write_kitti(tmp_path / "kitti")
    (drive / "image_02" / "data" / "0000000003.png").unlink()
    (drive / "image_03" / "data" / "0000000004.png").write_bytes(b"no picture")
    ended = run("info", drive, "--json")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert [(s["name"], s["kind"], s["count"], s["missing"], s["rate_hz"]) for s in told["sensors"]] == [
        ("image_02", "camera", 8, 1, 10.0),
        ("image_03", "camera", 8, 0, 10.0),
        ("velodyne_points", "lidar", 8, 0, 10.0),
    ]
    missing = [fault for fault in told["clock_faults"] if fault["kind"] == "stamps without a file"]
    assert [(fault["sensor"], fault["frames"]) for fault in missing] == [("image_02", [3])]
    assert told["read"] is None
    read = json.loads(run("info", drive, "--read", "--json").stdout)
    assert read["read"]["image_03"] == {"Frame": 7, "Fault": 1}
    assert list(read["faults"]["image_03"]) == ["0000000004.png: is damaged, or not an image"]


def test_info_tells_that_a_recording_was_cut_off(tmp_path: Path) -> None:
    path = drive_media.write_mcap(tmp_path / "drive.mcap", whole=False)
    told = json.loads(run("info", path, "--json").stdout)
    assert told["damaged"]
    assert "it has no end" in told["notes"][0]
    assert [sensor["count"] for sensor in told["sensors"]] == [8, 8, 7, 8]
    told = json.loads(run("convert", path, tmp_path / "whole.mcap", "--json").stdout)
    assert "it has no end" in told["cut_off"]
    told = json.loads(run("info", tmp_path / "whole.mcap", "--json").stdout)
    assert not told["damaged"]
    assert any(note.startswith("cut off: it has no end") for note in told["notes"]), "what is missing is not forgotten"


@pytest.mark.data
def test_a_bag_without_sensors_opens_and_says_what_it_holds(data: Path, tmp_path: Path) -> None:
    for bag in ("ros2_talker_sqlite3", "ros2_talker_mcap"):
        ended = run("info", data / "drives/bags" / bag)
        assert ended.returncode == 0, ended.stderr
        assert "no sensors" in ended.stdout
        assert "/topic (std_msgs/msg/String)" in ended.stdout
        ended = run("convert", data / "drives/bags" / bag, tmp_path / f"{bag}.mcap")
        assert ended.returncode == 2
        assert "holds nothing of a sensor; `perception drive info` tells what is in it" in ended.stderr
        assert not list(tmp_path.iterdir())


def test_a_live_camera_has_no_info() -> None:
    ended = run("info", "rtsp://127.0.0.1:1/x")
    assert ended.returncode == 2
    assert "is live, and no recording" in ended.stderr


# --- view


@pytest.mark.data
def test_the_lidar_lies_on_what_a_camera_of_nuscenes_sees(data: Path) -> None:
    """Looked at: the truck at the left of CAM_FRONT is orange (some 10 m), the trees behind the road are blue."""
    sheet = contact_sheet(str(data / "drives/nuscenes_sample"), 1)
    assert sheet.shape == (3 * TILE_HEIGHT, 3 * TILE_WIDTH, 3)
    front = sheet[TILE_HEIGHT : 2 * TILE_HEIGHT, :TILE_WIDTH].astype(int)
    strong = np.abs(front.max(axis=2) - front.min(axis=2)) > 200
    truck, trees = (slice(130, 190), slice(60, 170)), (slice(100, 170), slice(560, 640))
    warm = front[:, :, 2] > front[:, :, 0]
    assert warm[truck][strong[truck]].mean() > 0.9
    assert warm[trees][strong[trees]].mean() < 0.1


def test_a_sheet_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    drive = drive_formats.write_radiate(tmp_path / "d")
    ended = run("view", drive, "--sheet", tmp_path / "sheet.png", "--moments", 2)
    assert ended.returncode == 0, ended.stderr
    image = cv2.imread(str(tmp_path / "sheet.png"))
    assert image is not None
    assert image.shape == (2 * TILE_HEIGHT, 3 * TILE_WIDTH, 3)
    empty = tmp_path / "empty"
    (empty / "image_02").mkdir(parents=True)
    (empty / "image_02" / "timestamps.txt").write_text("2011-09-26 13:02:25.100000000\n")
    ended = run("view", empty, "--sheet", tmp_path / "none.png")
    assert ended.returncode == 2
    assert "shows nothing" in ended.stderr
    assert not (tmp_path / "none.png").exists()
