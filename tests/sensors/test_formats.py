"""What each format's files hold is what comes out; what is wrong in them is told in words, within bounded memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import drive_formats
import drive_media
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensors.drives.image_file import UnreadableFileError
from sensors.drives.pcd import read_pcd
from sensors.drives.radiate import RANGE_RESOLUTION_M
from sensors.drives.stamped_video import read_stamps
from sensors.errors import RequestError, SourceError
from sensors.frame import Fault, Frame, Item, PointCloud, RadarScan, Reading
from sensors.opening import open_source

ITEMS = drive_formats.ITEMS
EXAMPLES = int(os.environ.get("SOURCE_FUZZ_EXAMPLES", "60"))
fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    with open_source(str(path), name="d") as source:
        for item in source:
            found.setdefault(item.sensor.removeprefix("d-"), []).append(item)
    return found


def values(item: Item) -> np.ndarray:  # type: ignore[type-arg]
    assert isinstance(item, PointCloud | RadarScan | Reading)
    return item.points if isinstance(item, PointCloud) else item.targets if isinstance(item, RadarScan) else item.values


# --- RADIATE


def test_a_radiate_drive_gives_what_its_files_hold(tmp_path: Path) -> None:
    found = read(drive_formats.write_radiate(tmp_path / "d"))
    assert {name: type(items[0]) for name, items in found.items()} == {
        "zed_left": Frame,
        "zed_right": Frame,
        "Navtech_Polar": RadarScan,
        "velo_lidar": PointCloud,
        "GPS_IMU_Twist": Reading,
    }
    for number in range(ITEMS):
        frame = found["zed_left"][number]
        assert isinstance(frame, Frame)
        np.testing.assert_array_equal(frame.image, drive_media.picture(number + 1))
        np.testing.assert_array_equal(values(found["velo_lidar"][number]), drive_formats.radiate_scan(number + 1))
    assert [item.stamp_ns for item in found["velo_lidar"]] == drive_formats.stamps(late_ms=30)
    fix = found["GPS_IMU_Twist"][0]
    assert isinstance(fix, Reading)
    by_name = dict(zip(fix.fields, fix.values.tolist(), strict=True))
    assert by_name["latitude"], by_name["yaw_rate"] == (0.125, 54.125)


def test_a_polar_image_is_cells_where_they_are(tmp_path: Path) -> None:
    """Column 0 is ahead (y), a quarter turn on is right (x); row 0 is the sensor itself."""
    scan = read(drive_formats.write_radiate(tmp_path / "d"))["Navtech_Polar"][0]
    cells = values(scan).reshape(10, 8, 3)
    np.testing.assert_array_equal(cells[:, :, 2], drive_formats.polar(1))
    np.testing.assert_allclose(cells[4, 0, :2], [0, 4 * RANGE_RESOLUTION_M], atol=1e-6)
    np.testing.assert_allclose(cells[4, 2, :2], [4 * RANGE_RESOLUTION_M, 0], atol=1e-6)
    np.testing.assert_allclose(cells[0, :, :2], 0)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("zed_left.txt", "soon", "line 1 is no stamp"),
        ("zed_left.txt", "Frame: 000001 Time: 1.5", "line 1 is no stamp"),
        ("zed_left.txt", b"\xff\xfe", "cannot be read"),
        ("default-calib.yaml", "left_cam_calib:\n    fx: 3", "left_cam_calib is no calibration"),
    ],
)
def test_a_broken_radiate_drive_is_refused_in_words(
    tmp_path: Path, file: str, content: str | bytes, message: str
) -> None:
    drive = drive_formats.write_radiate(tmp_path / "d")
    (drive / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RequestError, match=message):
        open_source(str(drive))


# --- nuScenes


def test_nuscenes_files_give_what_they_hold(tmp_path: Path) -> None:
    drive = drive_formats.write_nuscenes(tmp_path / "d")
    found = read(drive)
    assert [item.stamp_ns for item in found["LIDAR_TOP"]] == drive_formats.stamps(late_ms=20)
    for number in range(ITEMS):
        np.testing.assert_array_equal(values(found["LIDAR_TOP"][number]), drive_formats.radiate_scan(number))
        radar = found["RADAR_FRONT"][number]
        assert isinstance(radar, RadarScan)
        assert radar.targets.shape == (5 + number, 7), "the bytes behind the last point are no points"
        assert radar.fields == ("x", "y", "z", "dyn_prop", "id", "vx", "invalid_state")
        assert radar.targets[2].tolist() == [0.5, 0, 0, 0, 600, -1.5, 0]


def test_nuscenes_calibration_projects_the_lidar_into_the_camera(tmp_path: Path) -> None:
    with open_source(str(drive_formats.write_nuscenes(tmp_path / "d")), name="") as source:
        projection = source.info.calibration.into("LIDAR_TOP", "CAM_FRONT")
    assert projection is not None
    pixels, depths = projection.to_pixels(np.array([[1.0, 10.0, 2.0]]))
    np.testing.assert_allclose(pixels, [[32 + 5, 24 - 10]])
    np.testing.assert_allclose(depths, [10])


@pytest.mark.parametrize("content", ["[]", "{}", '{"sample": {"images": {"A": {"cam2img": [[1]]}}}}', "{" * 9000])
def test_a_broken_sample_info_is_refused_in_words(tmp_path: Path, content: str) -> None:
    drive = drive_formats.write_nuscenes(tmp_path / "d")
    (drive / "sample_info.json").write_text(content)
    with pytest.raises(RequestError, match="is no sample's calibration"):
        open_source(str(drive))


@pytest.mark.data
def test_the_boxes_of_a_nuscenes_sample_lie_on_points_of_its_lidar(data: Path) -> None:
    """66 of 69 boxes are valid, and a valid one holds points: scan, boxes and their axes fit."""
    folder = data / "drives/nuscenes_sample"
    points = values(read(folder)["LIDAR_TOP"][0])
    instances = json.loads((folder / "sample_info.json").read_text())["sample"]["instances"]
    inside = []
    for instance in instances:
        x, y, z, length, width, height, yaw = instance["bbox_3d"]
        moved = points[:, :3] - [x, y, z]
        along = moved[:, 0] * np.cos(yaw) + moved[:, 1] * np.sin(yaw)
        across = -moved[:, 0] * np.sin(yaw) + moved[:, 1] * np.cos(yaw)
        is_in = (abs(along) < length / 2 + 0.1) & (abs(across) < width / 2 + 0.1) & (abs(moved[:, 2]) < height)
        inside.append(int(is_in.sum()))
    assert sum(count > 0 for count in inside) >= 60


# --- PCD


@fuzzed
@given(draws=st.data())
def test_any_bytes_are_a_cloud_or_a_reason(draws: st.DataObject, tmp_path: Path) -> None:
    data = bytearray(drive_formats.pcd(9))
    for _ in range(draws.draw(st.integers(1, 6))):
        place = draws.draw(st.integers(0, len(data) - 1))
        change = draws.draw(st.binary(max_size=8) | st.sampled_from([b"99999999999", b"-1", b"F", b"\n"]))
        data[place : place + len(change)] = change
    (tmp_path / "a.pcd").write_bytes(data[: draws.draw(st.integers(1, len(data)))])
    with suppress(UnreadableFileError):
        assert read_pcd(tmp_path / "a.pcd").table().dtype == np.float32


def test_a_count_of_points_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "a.pcd").write_bytes(drive_formats.pcd(9).replace(b"POINTS 9", b"POINTS 99999999999999"))
    with pytest.raises(UnreadableFileError, match=r"cut short: it has 9 of 99999999999999 points"):
        read_pcd(tmp_path / "a.pcd")


# --- comma2k19


def test_a_comma_segment_gives_what_its_arrays_hold(tmp_path: Path) -> None:
    found = read(drive_formats.write_comma(tmp_path / "40"))
    scan = found["radar"][1]
    assert isinstance(scan, RadarScan)
    np.testing.assert_array_equal(scan.targets, np.arange(15, 30).reshape(3, 5))
    assert scan.stamp_ns == 46_000_550_000_000
    assert [values(item).tolist() for item in found["can-speed"]] == [[float(n)] for n in range(ITEMS)]
    pose = found["pose"][2]
    assert isinstance(pose, Reading)
    assert pose.fields[:3] == ("ecef_x", "ecef_y", "ecef_z")
    assert pose.values[:3].tolist() == [6, 7, 8]
    frames = found["camera"]
    assert all(isinstance(frame, Frame) for frame in frames)
    # H.265 of noise is far from it; which picture it is shows by the bar that moves.
    bars = [int(frame.image.astype(int).sum(axis=(0, 2)).argmax()) for frame in frames if isinstance(frame, Frame)]
    assert bars == pytest.approx([5 * n for n in range(ITEMS)], abs=1)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("processed_log/CAN/speed/t", b"no array", "is no array of numbers"),
        ("processed_log/CAN/speed/t", b"\x93NUMPY\x01\x00\x0e\x00{'descr': '<f8\0", "is no array of numbers"),
        ("processed_log/CAN/speed/value", None, "numbers, and there are 8 times"),
        ("global_pose/frame_times", b"", "is no array of numbers"),
        ("camera_intrinsics.txt", b"[1, 2]", "is no matrix of 3 by 3"),
    ],
)
def test_a_broken_segment_is_refused_in_words(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    segment = drive_formats.write_comma(tmp_path / "40", video=False)
    if content is None:
        written = io.BytesIO()
        np.save(written, np.zeros((3, 1)))
        content = written.getvalue()
    (segment / file).write_bytes(content)
    with pytest.raises(RequestError, match=message):
        open_source(str(segment))


def test_a_number_that_float32_cannot_hold_is_infinite(tmp_path: Path) -> None:
    segment = drive_formats.write_comma(tmp_path / "40", video=False)
    file = segment / "processed_log/CAN/radar/value"
    targets = np.load(file)
    targets[0, 0] = 1e300
    with file.open("wb") as written:
        np.save(written, targets)
    assert values(read(segment)["radar"][0])[0, 0] == np.inf


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    segment = drive_formats.write_comma(tmp_path / "40", video=False)
    with (segment / "processed_log/CAN/speed/t").open("wb") as file:
        np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(RequestError, match="is no array of numbers"):
        open_source(str(segment))


def test_an_array_that_says_more_than_it_has_takes_no_memory(tmp_path: Path) -> None:
    segment = drive_formats.write_comma(tmp_path / "40", video=False)
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    (segment / "processed_log/CAN/speed/t").write_bytes(written.getvalue() + bytes(800))
    with pytest.raises(RequestError, match="is no array of numbers"):
        open_source(str(segment))


# --- Videos with stamps


def test_a_video_has_the_stamps_of_the_file_beside_it(tmp_path: Path) -> None:
    frames = read(drive_formats.write_stamped_video(tmp_path / "d"))["d"]
    assert [item.stamp_ns for item in frames] == [drive_formats.BEGAN_S * 10**9 + n * 50_000_000 for n in range(24)]


def test_stamps_may_be_written_in_many_ways(tmp_path: Path) -> None:
    (tmp_path / "a.stamps.csv").write_text("frame;time\n0; 1.5\n1,1500000001\n# later\n\n2 2.000000001\n3 -4\n")
    assert read_stamps(tmp_path / "a.stamps.csv") == [1_500_000_000, 1_500_000_001, 2_000_000_001, -4]


@pytest.mark.parametrize("line", ["soon", "1e999999999", "nan", "Infinity", "1.5.2", "99999999999999999999"])
def test_a_line_that_is_no_stamp_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.stamps.txt").write_text(f"1\n{line}\n")
    with pytest.raises(RequestError, match="line 2 is no stamp"):
        read_stamps(tmp_path / "a.stamps.txt")


def test_a_stamp_that_goes_back_is_a_fault(tmp_path: Path) -> None:
    lines = [str(n * 10**8) for n in range(24)]
    lines[5] = "3"
    items = read(drive_formats.write_stamped_video(tmp_path / "d", lines))["d"]
    assert [item.sequence for item in items if isinstance(item, Fault)] == [5]


# --- ROS


@pytest.mark.parametrize("kind", ["bag", "db3", "mcap"])
def test_a_bag_gives_what_its_messages_hold(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("d.bag" if kind == "bag" else "d")
    if kind == "bag":
        drive_formats.write_ros1(path)
    else:
        drive_formats.write_ros2(path, mcap=kind == "mcap")
    found = read(path)
    assert set(found) == {"camera_image_raw", "roof", "fix"}
    for number in range(ITEMS):
        frame, cloud = found["camera_image_raw"][number], found["roof"][number]
        assert isinstance(frame, Frame)
        np.testing.assert_array_equal(frame.image, drive_media.picture(number))
        assert isinstance(cloud, PointCloud)
        assert cloud.fields == ("x", "y", "z", "ring"), "seconds since 1970 do not fit into a float32"
        assert cloud.points[3].tolist() == [0.375, 0, 0, 3]
    assert [item.stamp_ns for item in found["roof"]] == drive_formats.stamps(late_ms=10), "of the header, not the bag"
    assert values(found["fix"][2]).tolist() == [50.0, 11.5, 500.0]


def test_a_bag_that_was_cut_off_is_refused_in_words(tmp_path: Path) -> None:
    path = drive_formats.write_ros1(tmp_path / "d.bag")
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(RequestError, match="cannot be opened as a bag"):
        open_source(str(path))


@settings(
    max_examples=max(25, EXAMPLES // 4), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(draws=st.data())
def test_a_damaged_bag_is_faults_or_words(
    draws: st.DataObject, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind = draws.draw(st.sampled_from(["bag", "db3", "mcap"]))
    folder = tmp_path_factory.mktemp("bag")
    if kind == "bag":
        path = file = drive_formats.write_ros1(folder / "d.bag")
    else:
        path = drive_formats.write_ros2(folder / "d", mcap=kind == "mcap")
        file = next(path.glob(f"*.{kind}"))
    data = bytearray(file.read_bytes())
    for _ in range(draws.draw(st.integers(1, 4))):
        place = draws.draw(st.integers(0, len(data) - 1))
        data[place : place + 4] = draws.draw(st.binary(min_size=1, max_size=4))
    file.write_bytes(data)
    _read_or_be_told(path)


@fuzzed
@given(draws=st.data())
def test_a_damaged_drive_is_faults_or_words(draws: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    write = draws.draw(st.sampled_from(WRITERS))
    path = write(tmp_path_factory.mktemp("drive") / "d.mcap")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for _ in range(draws.draw(st.integers(1, 3))):
        file = draws.draw(st.sampled_from(files))
        data = bytearray(file.read_bytes() or b"\0")
        place = draws.draw(st.integers(0, len(data) - 1))
        change = draws.draw(st.binary(max_size=9))
        if draws.draw(st.booleans()):
            data[place : place + len(change)] = change
        else:
            del data[place:]
        file.write_bytes(data)
    _read_or_be_told(path)


def _comma(folder: Path) -> Path:
    return drive_formats.write_comma(folder, video=False)


def _mcap(path: Path) -> Path:
    return drive_media.write_mcap(path)


WRITERS = [drive_formats.write_radiate, drive_formats.write_nuscenes, _comma, drive_media.write_kitti, _mcap]


def _read_or_be_told(path: Path) -> None:
    with suppress(RequestError, SourceError):
        items = [item for of_sensor in read(path).values() for item in of_sensor]
        assert all(item.reason for item in items if isinstance(item, Fault))


def test_a_hundred_thousand_stamps_open_within_bounded_memory(tmp_path: Path) -> None:
    """KITTI's stamps of three hours, and no files: in a process that may take 500 MB more than its imports."""
    folder = tmp_path / "drive" / "image_02"
    (folder / "data").mkdir(parents=True)
    clock = (f"{13 + n // 36000:02d}:{n // 600 % 60:02d}:{n // 10 % 60:02d}.{n % 10}" for n in range(100_000))
    lines = [f"2011-09-26 {time}00000000" for time in clock]
    (folder / "timestamps.txt").write_text("\n".join(lines))
    code = (
        "import resource, sys\n"
        "from sensors.opening import open_source\n"
        "import sensors.drives.kitti\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (500 << 20),) * 2)\n"
        "with open_source(sys.argv[1]) as source: print(source.info.sensors[0].count, sum(1 for _ in source))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(folder.parent)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "100000 100000\n"), ran.stderr
