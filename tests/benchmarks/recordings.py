"""What recording costs, and how fast recordings are read: against the parts alone, in turns in one run.

    python tests/benchmarks/recordings.py [--rounds 7]

A clip of 1280x720 as JPEG (quality 95). Recording: CPU of coding, messages, chunks, checksums and the disk, less that
of coding alone. Undecoded: our reader against the plain `mcap` reader, over the same file. Decoded: the drive as a
source, checksums and all, against OpenCV reading the same JPEGs as files; and, reported, decoding them from memory.
Index: `perception drive info` on a file of 10 GB, whose pictures are holes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import setting
from mcap import records
from mcap.reader import make_reader
from setting import DATA, median, verdict

from sensors.drives.mcap.drive import McapDrive
from sensors.drives.mcap.drive_writer import JPEG_QUALITY, DriveWriter
from sensors.drives.mcap.layout import CHUNK_HEAD, RECORD_HEAD
from sensors.drives.mcap.reading import McapFile
from sensors.drives.mcap.writing import McapWriter, _built
from sensors.frame import Frame
from sensors.source import SensorInfo

CLIP = DATA / "drives" / "videos" / "test_video.mp4"
LAPS = 4  # of the clip's 38 frames in a recording
BAR_COST_MS, BAR_UNDECODED, BAR_DECODED, BAR_INFO_S = 0.4, 0.8, 0.9, 2.0
BIG_BYTES, BIG_CHUNK, BIG_FRAMES = 10_000_000_000, 1 << 20, 10  # a file, its chunks, frames in each


def frames() -> list[Frame]:
    """The clip's pictures, at 30 a second."""
    with av.open(str(CLIP)) as container:
        images = [picture.to_ndarray(format="bgr24") for picture in container.decode(video=0)]
    return [Frame("front", n, n * 33_333_333, 1, 2, images[n % len(images)]) for n in range(LAPS * len(images))]


def record(path: Path, given: list[Frame]) -> float:
    """Seconds of CPU for recording frames, flushed to the disk as a recorder does: twice a second."""
    path.unlink(missing_ok=True)
    began_s = time.process_time()
    writer = DriveWriter(path, [SensorInfo("front", "camera", 30.0)], images="jpeg")
    for number, frame in enumerate(given, 1):
        writer.write(frame, publish_ns=1)
        if number % 15 == 0:
            writer.container.flush(to_disk=True)
    writer.container.finish()
    return time.process_time() - began_s


def encode(given: list[Frame]) -> float:
    """Seconds of CPU for coding alone."""
    began_s = time.process_time()
    for frame in given:
        cv2.imencode(".jpeg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return time.process_time() - began_s


def ours(path: Path) -> float:
    """Messages a second of CPU, undecoded."""
    began_s, count = time.process_time(), 0
    with McapFile(path) as file:
        for message in file.messages(check=False):
            count += bool(message.data)
    return count / (time.process_time() - began_s)


def plain(path: Path) -> float:
    began_s, count = time.process_time(), 0
    with path.open("rb") as stream:
        for _, _, message in make_reader(stream).iter_messages():
            count += bool(message.data)
    return count / (time.process_time() - began_s)


def decoded(path: Path) -> float:
    """Frames a second of CPU through the source."""
    began_s, count = time.process_time(), 0
    with McapDrive(path) as source:
        for item in source:
            count += isinstance(item, Frame)
    return count / (time.process_time() - began_s)


def bare(folder: Path) -> float:
    """Frames a second of CPU: the same JPEGs as files, read and decoded by OpenCV."""
    files = sorted(map(str, folder.iterdir()))
    began_s = time.process_time()
    image = None
    for file in files:
        # Kept until the next one is there: freed at once, the memory goes back to the system and comes anew each time.
        image = cv2.imread(file, cv2.IMREAD_COLOR)
    assert image is not None
    return len(files) / (time.process_time() - began_s)


def in_memory(folder: Path) -> float:
    """The same, of files that are in memory already: decoding and nothing else."""
    files = [file.read_bytes() for file in sorted(folder.iterdir())]
    began_s = time.process_time()
    image = None
    for file in files:
        image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return len(files) / (time.process_time() - began_s)


def write_files(path: Path, folder: Path) -> None:
    """The pictures of a recording as files."""
    folder.mkdir()
    with McapDrive(path) as source:
        for item in source:
            if isinstance(item, Frame) and item.coded:
                (folder / f"{item.sequence:06d}.jpg").write_bytes(item.coded.data)


def write_big(path: Path) -> None:
    """A recording with its index whole, and holes where its pictures would be."""
    writer = DriveWriter(path, [SensorInfo("front", "camera", 30.0)], images="jpeg")
    writer.write(Frame("front", 0, 0, 1, 2, np.zeros((8, 8, 3), np.uint8)))
    container: McapWriter = writer.container
    container.flush(to_disk=False)
    fd, channel = container._fd, 2
    with path.open("r+b") as file:
        for number in range(BIG_BYTES // BIG_CHUNK):
            offset = container.bytes_written
            stamps = [(number * BIG_FRAMES + n) * 33_333_333 for n in range(BIG_FRAMES)]
            length = CHUNK_HEAD.size + 4 + 8 + BIG_CHUNK
            file.seek(offset)
            file.write(RECORD_HEAD.pack(6, length) + CHUNK_HEAD.pack(stamps[0], stamps[-1], BIG_CHUNK, 0))
            file.write(bytes(4) + BIG_CHUNK.to_bytes(8, "little"))
            file.seek(BIG_CHUNK, 1)
            step = BIG_CHUNK // BIG_FRAMES
            index = _built(records.MessageIndex(channel, [(s, n * step) for n, s in enumerate(stamps)]))
            file.write(index)
            container._end = file.tell()
            container._counts[channel] += BIG_FRAMES
            container._chunk_indexes.append(
                records.ChunkIndex(
                    chunk_length=RECORD_HEAD.size + length,
                    chunk_start_offset=offset,
                    compression="",
                    compressed_size=BIG_CHUNK,
                    message_end_time=stamps[-1],
                    message_index_length=len(index),
                    message_index_offsets={channel: offset + RECORD_HEAD.size + length},
                    message_start_time=stamps[0],
                    uncompressed_size=BIG_CHUNK,
                )
            )
    os.lseek(fd, container.bytes_written, os.SEEK_SET)
    container.finish()


def info_s(path: Path) -> float:
    began_s = time.perf_counter()
    words = [sys.executable, "-c", "from perception.commands.app import main; main()", "drive", "info", str(path)]
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - began_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Recording and reading MCAP against their parts.")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    rows = []
    with setting.folder() as where:
        given, path, folder = frames(), where / "clip.mcap", where / "files"
        record(path, given)
        write_files(path, folder)  # what is first used is loaded
        size_kb = path.stat().st_size / len(given) / 1e3
        print(f"{len(given)} frames of 1280x720, {size_kb:.0f} kB each; all by CPU time")
        print("         record, coding ms   undecoded ours, plain   decoded ours, files, memory", flush=True)
        for number in range(rounds):
            coding_ms, recording_ms = (1e3 * spent / len(given) for spent in (encode(given), record(path, given)))
            row = (recording_ms, coding_ms, ours(path), plain(path), decoded(path), bare(folder), in_memory(folder))
            line = "round {:2d} {:8.2f} {:8.2f} {:12.0f} {:10.0f} {:12.1f} {:8.1f} {:8.1f}"
            print(line.format(number + 1, *row), flush=True)
            rows.append(row)
        big = where / "big.mcap"
        write_big(big)
        infos = [info_s(big) for _ in range(3)]
        size = big.stat().st_size
    beyond = median([row[0] - row[1] for row in rows])
    print(f"recording beyond coding, ms a frame  {verdict(beyond, BAR_COST_MS, least=False)}")
    undecoded = median([row[2] / row[3] for row in rows])
    print(f"undecoded: ours / plain reader       {verdict(undecoded, BAR_UNDECODED, least=True)}")
    by_files = median([row[4] / row[5] for row in rows])
    print(f"decoded: ours / OpenCV on files      {verdict(by_files, BAR_DECODED, least=True)}")
    print(f"decoded: ours / OpenCV on memory     {median([row[4] / row[6] for row in rows]):.3f}  (reported)")
    print(f"info on {size / 1e9:.1f} GB, s                  {verdict(median(infos), BAR_INFO_S, least=False)}")


if __name__ == "__main__":
    main()
