"""KITTI raw drives: the stamps of the files, and a Fault for each that is not as it should be."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import drive_media
import numpy as np
import pytest

from sensors.drives.kitti import KittiDrive
from sensors.drives.kitti_calibration import read_projection
from sensors.errors import RequestError
from sensors.frame import Fault, Frame, Item, PointCloud
from sensors.opening import open_source
from sensors.source import Span

BEGAN_NS = int(datetime(2011, 9, 26, 13, 2, 25, tzinfo=timezone.utc).timestamp()) * 10**9
DRIVE = Path("drives/kitti_2011_09_26/2011_09_26/2011_09_26_drive_0001_sync")


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return drive_media.write_kitti(tmp_path / "drive")


def read(drive: Path, span: Span | None = None) -> dict[str, list[Item]]:
    with KittiDrive(drive, "k", span) as source:
        by_sensor: dict[str, list[Item]] = {sensor.name: [] for sensor in source.info.sensors}
        last_ns = 0
        for item in source:
            assert item.stamp_ns >= last_ns, "all sensors together are in the order of their stamps"
            last_ns = item.stamp_ns
            by_sensor[item.sensor].append(item)
        for sensor in source.info.sensors:
            assert len(by_sensor[sensor.name]) == sensor.count
        return by_sensor


def reasons(items: list[Item]) -> dict[int, str]:
    return {item.sequence: item.reason for item in items if isinstance(item, Fault)}


def test_a_folder_of_a_drive_is_recognised(drive: Path) -> None:
    with open_source(f"car={drive}") as source:
        assert [(sensor.name, sensor.kind) for sensor in source.info.sensors] == [
            ("car-image_02", "camera"),
            ("car-image_03", "camera"),
            ("car-velodyne_points", "lidar"),
        ]
        assert [sensor.rate_hz for sensor in source.info.sensors] == pytest.approx([10, 10, 10])


def test_frames_and_scans_have_the_stamps_and_the_content_of_their_files(drive: Path) -> None:
    found = read(drive)
    for sensor, late_ms in (("k-image_02", 0), ("k-image_03", 20), ("k-velodyne_points", 10)):
        stamps = [BEGAN_NS + number * 100_000_000 + late_ms * 1_000_000 + 7 for number in range(8)]
        assert [item.stamp_ns for item in found[sensor]] == stamps
    for number, frame in enumerate(found["k-image_02"]):
        assert isinstance(frame, Frame)
        np.testing.assert_array_equal(frame.image, drive_media.picture(number))
    for number, cloud in enumerate(found["k-velodyne_points"]):
        assert isinstance(cloud, PointCloud)
        assert cloud.fields == ("x", "y", "z", "reflectance")
        np.testing.assert_array_equal(cloud.points, drive_media.scan(number))


def test_what_is_wrong_with_a_file_is_its_fault_and_the_rest_still_comes(drive: Path) -> None:
    images, scans = drive / "image_02" / "data", drive / "velodyne_points" / "data"
    (images / "0000000001.png").unlink()
    (images / "0000000002.png").write_bytes(b"")
    (images / "0000000003.png").write_bytes((images / "0000000003.png").read_bytes()[:-40])
    (images / "0000000008.png").write_bytes((images / "0000000004.png").read_bytes())
    (scans / "0000000005.bin").write_bytes(b"\0" * 33)
    (scans / "0000000006.bin").write_bytes(b"")
    found = read(drive)
    assert {number: reason.split(": ", 1)[1] for number, reason in reasons(found["k-image_02"]).items()} == {
        1: "cannot be read: No such file or directory",
        2: "is empty (0 bytes)",
        3: "is cut short: it has no IEND chunk",
        8: "has no stamp",
    }
    assert reasons(found["k-velodyne_points"]) == {
        5: "0000000005.bin: is cut short: 33 bytes are 2 points and a part of one",
        6: "0000000006.bin: is empty (0 bytes)",
    }
    assert len(found["k-image_02"]) == 9


def test_a_stamp_that_steps_back_is_a_fault(drive: Path) -> None:
    stamps = drive / "image_02" / "timestamps.txt"
    lines = stamps.read_text().splitlines()
    lines[4] = lines[1]
    stamps.write_text("\n".join(lines))
    assert reasons(read(drive)["k-image_02"]) == {4: "0000000004.png: its stamp is before that of the file before it"}


def test_without_stamps_files_are_ten_a_second(drive: Path) -> None:
    (drive / "image_02" / "timestamps.txt").unlink()
    (drive / "image_02" / "data" / "0000000003.png").unlink()
    found = read(drive)["k-image_02"]
    assert [item.stamp_ns for item in found] == [number * 100_000_000 for number in range(8)]
    assert list(reasons(found)) == [3]


def test_a_span_counts_from_the_first_stamp_of_all_sensors(drive: Path) -> None:
    found = read(drive, Span(start_ns=210_000_000, duration_ns=210_000_000))
    assert {sensor: [item.stamp_ns - BEGAN_NS - 7 for item in items] for sensor, items in found.items()} == {
        "k-image_02": [300_000_000, 400_000_000],
        "k-image_03": [220_000_000, 320_000_000],
        "k-velodyne_points": [210_000_000, 310_000_000, 410_000_000],
    }


@pytest.mark.parametrize("line", ["2011-09-26 13:02:25.1", "2011-13-26 13:02:25.000000000", "soon"])
def test_a_line_that_is_no_stamp_is_named(drive: Path, line: str) -> None:
    stamps = drive / "image_02" / "timestamps.txt"
    stamps.write_text(stamps.read_text() + line)
    with pytest.raises(RequestError, match=r"image_02/timestamps\.txt: line 9 is no stamp"):
        KittiDrive(drive, "k")


def test_an_empty_drive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "drive" / "image_02" / "data").mkdir(parents=True)
    with pytest.raises(RequestError, match="has no images and no scans"):
        open_source(str(tmp_path / "drive"))


@pytest.mark.data
def test_a_trimmed_drive_has_a_fault_for_every_file_that_its_stamps_tell_of(data: Path) -> None:
    found = read(data / DRIVE)
    kinds = {sensor: Counter(type(item).__name__ for item in items) for sensor, items in found.items()}
    assert kinds == {
        "k-image_00": {"Frame": 1, "Fault": 107},
        "k-image_01": {"Fault": 108},
        "k-image_02": {"Frame": 7, "Fault": 101},
        "k-image_03": {"Fault": 108},
        "k-velodyne_points": {"PointCloud": 3, "Fault": 105},
        "k-oxts": {"Reading": 108},
    }
    frames = [item.sequence for item in found["k-image_02"] if isinstance(item, Frame)]
    assert frames == [0, 1, 2, 3, 4, 5, 25]
    lines = (data / DRIVE / "image_02" / "timestamps.txt").read_text().splitlines()
    for line, item in zip(lines, found["k-image_02"], strict=True):
        whole = datetime.fromisoformat(line[:19]).replace(tzinfo=timezone.utc)
        assert item.stamp_ns == int(whole.timestamp()) * 10**9 + int(line[20:])


@pytest.mark.data
def test_scans_lie_on_what_the_camera_sees(data: Path) -> None:
    """Near points that stand up from the road, and the darker car that they hit: checked by eye on the drawn image."""
    found = read(data / DRIVE)
    frame = next(item for item in found["k-image_02"] if isinstance(item, Frame))
    cloud = next(item for item in found["k-velodyne_points"] if isinstance(item, PointCloud))
    pixels, depths = read_projection(data / DRIVE, "image_02").to_pixels(cloud.points)
    seen = (depths > 0) & (pixels >= 0).all(axis=1) & (pixels < (frame.width, frame.height)).all(axis=1)
    assert seen.sum() == pytest.approx(19_356, rel=0.005)
    # The parked car at the left stands out from what is around it: one depth, the tree's above it is another.
    car = seen & (pixels[:, 0] > 330) & (pixels[:, 0] < 395) & (pixels[:, 1] > 185) & (pixels[:, 1] < 220)
    above = seen & (pixels[:, 0] > 330) & (pixels[:, 0] < 395) & (pixels[:, 1] < 165)
    assert np.ptp(np.percentile(depths[car], [20, 80])) < 3
    assert np.median(depths[above]) > np.median(depths[car]) + 10


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("", "calib_cam_to_cam.txt: has no P_rect_02"),
        ("P_rect_02: 1 2 3", "P_rect_02 is not 12 numbers"),
        ("P_rect_02: " + "x " * 12, "P_rect_02 is not 12 numbers"),
        ("P_rect_02: " + "nan " * 12, "P_rect_02 is not 12 numbers"),
    ],
)
def test_a_broken_calibration_is_named(tmp_path: Path, broken: str, message: str) -> None:
    (tmp_path / "calib_cam_to_cam.txt").write_text(broken)
    with pytest.raises(RequestError, match=message):
        read_projection(tmp_path / "drive", "image_02")


def test_a_missing_calibration_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"calib_cam_to_cam\.txt: cannot be read"):
        read_projection(tmp_path / "drive", "image_02")
