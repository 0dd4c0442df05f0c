"""Small recordings for tests, made on the spot: an H.264 file with B-frames, a folder of images, damage."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.drives.mcap.drive_writer import DriveWriter, Images
from sensors.drives.mcap.reading import McapFile
from sensors.frame import Fault, Frame, Item, PointCloud, RadarScan, Reading
from sensors.source import SensorInfo

WIDTH, HEIGHT, RATE = 64, 48, 10
PICTURES = 24  # of a video made here
KEY_FRAME_EVERY = 8
IMAGES = 12  # of a folder made here


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A BGR image that no other number gives: noise, and a bright bar that moves."""
    image = np.random.default_rng(number // 4).integers(0, 120, (height, width, 3), dtype=np.uint8)
    image[:, (5 * number) % width] = 255
    return image


def write_video(path: Path, pictures: int = PICTURES, codec: str = "libx264") -> Path:
    """Write a video with reordered pictures and its index in front; the suffix names the container."""
    options = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = KEY_FRAME_EVERY
        if codec == "libx264":
            stream.options = {"bf": "2", "b-adapt": "0", "threads": "1", "sc_threshold": "0"}
        for number in range(pictures):
            frame = av.VideoFrame.from_ndarray(picture(number), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Write a file with a second of silence and no video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def packets(path: Path) -> list[tuple[int, int, int]]:
    """Position, size and presentation time in the time base, of each video packet in coding order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(packet.pos, packet.size, packet.pts) for packet in container.demux(stream) if packet.size]


def damage_packet(path: Path, number: int) -> float:
    """Overwrite the packet with this number in coding order; give its presentation time in seconds."""
    position, size, ticks = packets(path)[number]
    data = bytearray(path.read_bytes())
    data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with av.open(str(path)) as container:
        return float(ticks * container.streams.video[0].time_base)


def write_images(folder: Path, images: int = IMAGES, suffix: str = ".png") -> Path:
    """Write a folder of numbered images without leading zeros."""
    folder.mkdir()
    for number in range(images):
        assert cv2.imwrite(str(folder / f"frame{number}{suffix}"), picture(number))
    return folder


def write_kitti(folder: Path, items: int = 8) -> Path:
    """Write a KITTI raw drive: two cameras and scans, 100 ms apart; the second camera 20 ms, scans 10 ms later."""
    for sensor, late_ms in (("image_02", 0), ("image_03", 20), ("velodyne_points", 10)):
        (folder / sensor / "data").mkdir(parents=True)
        stamps = [f"2011-09-26 13:02:{25 + n // 10:02d}.{n % 10 * 100 + late_ms:03d}000007" for n in range(items)]
        (folder / sensor / "timestamps.txt").write_text("\n".join(stamps) + "\n")
        for number in range(items):
            file = folder / sensor / "data" / f"{number:010d}"
            if sensor == "velodyne_points":
                scan(number).tofile(file.with_suffix(".bin"))
            else:
                assert cv2.imwrite(str(file.with_suffix(".png")), picture(number))
    return folder


def scan(number: int) -> NDArray[np.float32]:
    """A scan of some points (N, 4): x, y, z in metres, reflectance."""
    return np.random.default_rng(number).random((20 + number, 4), dtype=np.float32)


MCAP_SENSORS = (
    SensorInfo("front", "camera", 10.0, width=WIDTH, height=HEIGHT),
    SensorInfo("roof", "lidar", 10.0),
    SensorInfo("bumper", "radar", 10.0),
    SensorInfo("gnss", "motion", 10.0),
)

GNSS_FIELDS = ("latitude", "longitude", "speed")


def mcap_items(moments: int = 8) -> list[Item]:
    """Items of four sensors, 100 ms apart, each sensor 10 ms after the one before; the radar fails once."""
    items: list[Item] = []
    for n in range(moments):
        stamp = 1_000_000_000 + n * 100_000_000
        items += [
            Frame("front", n, stamp, 1, 2, picture(n)),
            PointCloud("roof", n, stamp + 10_000_000, 1, 2, scan(n), ("x", "y", "z", "reflectance")),
            RadarScan("bumper", n, stamp + 20_000_000, 1, 2, scan(n)[:3], ("x", "y", "radial_velocity", "rcs"))
            if n != 2
            else Fault("bumper", n, stamp + 20_000_000, 1, "the radar was blind"),
            Reading("gnss", n, stamp + 30_000_000, 1, 2, np.array([48.1, 11.5 + n, np.nan]), GNSS_FIELDS),
        ]
    return items


def write_mcap(
    path: Path, items: Sequence[Item] | None = None, images: Images = "png", flush_every: int = 8, *, whole: bool = True
) -> Path:
    """Write a drive in several chunks; one that is not `whole` has no end, as if its writer had been killed."""
    writer = DriveWriter(path, MCAP_SENSORS, images=images)
    for number, item in enumerate(mcap_items() if items is None else items, 1):
        writer.write(item)
        if number % flush_every == 0:
            writer.container.flush(to_disk=False)
    if whole:
        writer.container.finish()
    else:
        writer.container.flush(to_disk=False)
        writer.container.abandon()
    return path


def damage_chunk(path: Path, number: int) -> int:
    """Turn one bit in the middle of a chunk; give how many messages it held."""
    with McapFile(path) as file:
        place = file.chunks[number]
        held = int((file.entries["chunk"] == number).sum())
    data = bytearray(path.read_bytes())
    data[place.offset + place.length // 2] ^= 4
    path.write_bytes(data)
    return held


def write_foreign_mcap(path: Path, moments: int = 8) -> Path:
    """Write what another recorder would: compressed, its own topics, logged 30 ms after the stamps, unordered."""
    from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
    from mcap.writer import CompressionType, Writer

    from sensors.drives.mcap.foxglove import schema_of, time_of

    with contextlib.closing(path.open("wb")) as file:
        writer = Writer(file, chunk_size=4000, compression=CompressionType.LZ4)
        writer.start()
        schema = writer.register_schema("foxglove.CompressedImage", "protobuf", schema_of(CompressedImage))
        channel = writer.register_channel("/camera/front/image", "protobuf", schema)
        for n in range(moments):
            stamp = 1_000_000_000 + (n ^ 1) * 100_000_000
            data = cv2.imencode(".png", picture(n ^ 1))[1].tobytes()
            message = CompressedImage(timestamp=time_of(stamp), frame_id="x", format="png", data=data)
            writer.add_message(channel, 1_030_000_000 + n * 100_000_000, message.SerializeToString(), 0)
        writer.finish()
    return path
