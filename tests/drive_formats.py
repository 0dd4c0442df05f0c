"""Small drives in the formats of others, made on the spot: what a test can spoil, and knows every item of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import drive_media
import numpy as np

ITEMS = 8
BEGAN_S = 1_500_000_000


def stamps(period_ms: int = 100, late_ms: int = 0) -> list[int]:
    """Stamps of a sensor's items, ns."""
    return [BEGAN_S * 10**9 + (n * period_ms + late_ms) * 1_000_000 + 7000 for n in range(ITEMS)]


def write_radiate(folder: Path) -> Path:
    """Two cameras, radar, lidar and GNSS, 100 ms apart each; frames count from 1."""
    folder.mkdir()
    for place, (sensor, suffix) in enumerate(
        [
            ("zed_left", ".png"),
            ("zed_right", ".png"),
            ("Navtech_Polar", ".png"),
            ("velo_lidar", ".csv"),
            ("GPS_IMU_Twist", ".txt"),
        ]
    ):
        (folder / sensor).mkdir()
        lines = []
        for number, stamp in enumerate(stamps(late_ms=10 * place), 1):
            lines.append(f"Frame: {number:06d} Time: {stamp // 10**9}.{stamp % 10**9:09d}")
            file = folder / sensor / f"{number:06d}{suffix}"
            if sensor == "Navtech_Polar":
                assert cv2.imwrite(str(file), polar(number))
            elif suffix == ".png":
                assert cv2.imwrite(str(file), drive_media.picture(number))
            elif suffix == ".csv":
                np.savetxt(file, radiate_scan(number), delimiter=",", fmt="%.6g")
            else:
                numbers = np.arange(55) + number / 8
                file.write_text("\n".join(",".join(map(str, row)) for row in np.split(numbers, 11)))
        (folder / f"{sensor}.txt").write_text("\n".join(lines))
    return folder


def polar(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A polar image of 10 ranges and 8 directions."""
    return np.random.default_rng(number).integers(0, 255, (10, 8), dtype=np.uint8)


def radiate_scan(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Points (N, 5): x, y, z, intensity, ring."""
    return np.round(np.random.default_rng(number).random((12, 5)) * 10).astype(np.float32)


def pcd(points: int, behind: int = 0) -> bytes:
    """A radar file: positions, a number of one byte and one of two, velocities."""
    point = np.dtype(
        [
            ("x", "<f4"),
            ("y", "<f4"),
            ("z", "<f4"),
            ("dyn_prop", "i1"),
            ("id", "<i2"),
            ("vx", "<f4"),
            ("invalid_state", "i1"),
        ]
    )
    rows = np.zeros(points, point)
    rows["x"], rows["id"], rows["vx"] = np.arange(points) / 4, np.arange(points) * 300, -1.5
    rows["invalid_state"][:1] = 3
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z dyn_prop id vx invalid_state\n"
        f"SIZE 4 4 4 1 2 4 1\nTYPE F F F I I F I\nCOUNT 1 1 1 1 1 1 1\nWIDTH {points}\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points}\nDATA binary\n"
    )
    return header.encode() + rows.tobytes() + bytes(behind)


def write_nuscenes(folder: Path) -> Path:
    """A camera and a lidar in the folder, a radar in its sweeps, and the calibration of a sample."""
    (folder / "sweeps" / "RADAR_FRONT").mkdir(parents=True)
    for number in range(ITEMS):
        for channel, late_ms in (("CAM_FRONT", 0), ("LIDAR_TOP", 20), ("RADAR_FRONT", 40)):
            stem = f"n001-2018__{channel}__{stamps(late_ms=late_ms)[number] // 1000}"
            if channel == "CAM_FRONT":
                assert cv2.imwrite(str(folder / f"{stem}.jpg"), drive_media.picture(number))
            elif channel == "LIDAR_TOP":
                radiate_scan(number).tofile(folder / f"{stem}.pcd.bin")
            else:
                (folder / "sweeps" / channel / f"{stem}.pcd").write_bytes(pcd(5 + number, behind=100))
    lidar_to_camera = np.eye(4)
    lidar_to_camera[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    sample = {
        "images": {
            "CAM_FRONT": {
                "cam2img": [[50, 0, 32], [0, 50, 24], [0, 0, 1]],
                "lidar2cam": lidar_to_camera.tolist(),
            }
        },
        "lidar_points": {"lidar2ego": np.eye(4).tolist()},
    }
    (folder / "sample_info.json").write_text(json.dumps({"sample": sample}))
    return folder


def write_comma(folder: Path, *, video: bool = True) -> Path:
    """A segment with radar, speed, GNSS and pose; its video, where it has one, coded as H.265."""

    def save(place: str, values: object) -> None:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        with (folder / place).open("wb") as file:
            np.save(file, np.asarray(values, np.float64))

    times = 46_000.5 + np.arange(ITEMS) * 0.05
    save("global_pose/frame_times", times)
    save("global_pose/frame_positions", np.arange(ITEMS * 3).reshape(-1, 3))
    save("global_pose/frame_orientations", np.arange(ITEMS * 4).reshape(-1, 4))
    save("processed_log/CAN/speed/t", times)
    save("processed_log/CAN/speed/value", np.arange(ITEMS).reshape(-1, 1))
    burst = np.repeat(times, 3) + np.tile([0, 0, 0.001], ITEMS)
    targets = np.full((3 * ITEMS, 7), np.nan)
    targets[:, [0, 1, 2, 5, 6]] = np.arange(15 * ITEMS).reshape(-1, 5)
    save("processed_log/CAN/radar/t", burst)
    save("processed_log/CAN/radar/value", targets)
    utc_ms = 1.5e12 + np.arange(ITEMS) * 50.0
    utc_ms[5:] += 50.0  # one fix is missing
    fixes = np.column_stack(
        [np.full(ITEMS, 37.7), np.full(ITEMS, -122.4), np.arange(ITEMS), utc_ms, *np.ones((2, ITEMS))]
    )
    save("processed_log/GNSS/live_gnss_ublox/t", times)
    save("processed_log/GNSS/live_gnss_ublox/value", fixes)
    (folder / "camera_intrinsics.txt").write_text("[[910, 0, 582],\n [0, 910, 437],\n [0, 0, 1]]\n")
    if video:
        drive_media.write_video(folder / "video.hevc", ITEMS, codec="libx265")
    return folder


def write_stamped_video(folder: Path, lines: list[str] | None = None) -> Path:
    """A video with 24 pictures, and its stamps beside it."""
    folder.mkdir(exist_ok=True)
    path = drive_media.write_video(folder / "drive.mp4")
    given = [str(BEGAN_S * 10**9 + n * 50_000_000) for n in range(drive_media.PICTURES)] if lines is None else lines
    (folder / "drive.stamps.txt").write_text("\n".join(["frame,stamp", *given]) + "\n")
    return path


def write_ros1(path: Path) -> Path:
    """A bag of ROS 1: JPEG pictures, clouds with a field that float32 cannot hold, fixes; logged 30 ms late."""
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer(path) as writer:
        _write_ros(writer, store, lambda message, kind: bytes(store.serialize_ros1(message, kind)), ros1=True)
    return path


def write_ros2(folder: Path, *, mcap: bool) -> Path:
    """The same as a bag of ROS 2, pictures not coded."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
    with Writer(folder, version=9, storage_plugin=plugin) as writer:
        _write_ros(writer, store, lambda message, kind: bytes(store.serialize_cdr(message, kind)), ros1=False)
    return folder


def _write_ros(writer: Any, store: Any, serialize: Any, *, ros1: bool) -> None:
    types = store.types
    pictures = "sensor_msgs/msg/CompressedImage" if ros1 else "sensor_msgs/msg/Image"
    kinds = {"/camera/image_raw": pictures, "/roof": "sensor_msgs/msg/PointCloud2", "/fix": "sensor_msgs/msg/NavSatFix"}
    connections = {topic: writer.add_connection(topic, kind, typestore=store) for topic, kind in kinds.items()}
    said = writer.add_connection("/said", "std_msgs/msg/String", typestore=store)

    def header(stamp: int) -> Any:
        time = types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
        numbered = {"seq": 0} if ros1 else {}
        return types["std_msgs/msg/Header"](**numbered, stamp=time, frame_id="x")

    for number in range(ITEMS):
        for place, (topic, kind) in enumerate(kinds.items()):
            stamp = stamps(late_ms=10 * place)[number]
            head = header(stamp)
            if kind == "sensor_msgs/msg/CompressedImage":
                data = cv2.imencode(".png", drive_media.picture(number))[1].ravel()
                message = types[kind](head, "png", data)
            elif kind == "sensor_msgs/msg/Image":
                image = drive_media.picture(number)
                message = types[kind](
                    head, image.shape[0], image.shape[1], "bgr8", 0, image.shape[1] * 3, image.ravel()
                )
            elif kind == "sensor_msgs/msg/PointCloud2":
                message = _cloud(types, head, number)
            else:
                message = _fix(types, head, number)
            writer.write(connections[topic], stamp + 30_000_000, serialize(message, kind))
    text = types["std_msgs/msg/String"]("hello")
    writer.write(said, stamps()[-1] + 10**9, serialize(text, "std_msgs/msg/String"))


def _cloud(types: Any, head: Any, number: int) -> Any:
    field = types["sensor_msgs/msg/PointField"]
    point = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("time", "<u4"), ("ring", "<u2")])
    rows = np.zeros(5 + number, point)
    rows["x"], rows["ring"], rows["time"] = np.arange(len(rows)) / 8, np.arange(len(rows)), 1_583_971_570
    fields = [
        field(n, o, t, 1) for n, o, t in [("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("time", 12, 6), ("ring", 16, 4)]
    ]
    data = np.frombuffer(rows.tobytes(), np.uint8)
    return types["sensor_msgs/msg/PointCloud2"](
        head, 1, len(rows), fields, False, point.itemsize, point.itemsize * len(rows), data, True
    )


def _fix(types: Any, head: Any, number: int) -> Any:
    status = types["sensor_msgs/msg/NavSatStatus"](0, 1)
    return types["sensor_msgs/msg/NavSatFix"](head, status, 48.0 + number, 11.5, 500.0, np.zeros(9), 0)
