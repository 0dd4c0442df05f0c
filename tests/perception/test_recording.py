"""Recordings of runs: nothing is lost that is not counted, and nothing in them keeps perception waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import drive_media
import file_limit
import numpy as np
import pytest
import tiny_networks
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from mcap.reader import make_reader
from recording_kill import MOST_LOST_S, kill_once
from recording_kill import vehicle as camera_of_30_hz

from perception.errors import UsageError
from perception.message import perception_pb2 as pb
from perception.message.health_message import (
    HEALTH_TOPIC,
    HealthMessage,
    RecordingHealth,
    decode_health,
    encode_health,
)
from perception.recording import Recorder, RecordSettings, queue, recorder, writer
from perception.recording.recover import recover
from perception.replay import Replay, ReplayRequest
from perception.stream import StreamSubscriber
from sensors.drives.mcap.drive_writer import DriveWriter
from sensors.drives.mcap.reading import McapFile
from sensors.errors import RequestError
from sensors.frame import Fault, Frame, Item, PointCloud
from sensors.observed import ObservedSource
from sensors.opening import open_source
from sensors.source import SensorInfo

FRONT = SensorInfo("front", "camera", 30.0)
COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()"]


def noise(number: int, size: int = 100) -> Frame:
    image = np.random.default_rng(number).integers(0, 255, (size, size, 3), np.uint8)
    return Frame("front", number, number * 33_000_000, time.monotonic_ns(), time.monotonic_ns(), image)


def items_of(path: Path) -> list[Item]:
    with open_source(str(path)) as source:
        return list(source)


def plainly(path: Path) -> dict[str, list[Any]]:
    """Messages by topic, by the plain reader."""
    found: dict[str, list[Any]] = {}
    with path.open("rb") as stream:
        for _, channel, message in make_reader(stream, validate_crcs=True).iter_messages():
            found.setdefault(channel.topic, []).append(message)
    return found


@pytest.fixture
def replayed(tmp_path: Path) -> Path:
    """A replay of a drive with a damaged picture, recorded, with its messages as JSON lines beside it."""
    tiny_networks.make_bundle(tmp_path / "tiny")
    images = drive_media.write_images(tmp_path / "front")
    (images / "frame7.png").write_bytes(b"")
    with Replay(
        ReplayRequest(
            sources=[f"front={images}"],
            models=[str(tmp_path / "tiny")],
            jsonl=tmp_path / "found.jsonl",
            record=tmp_path / "out.mcap",
        )
    ) as replay:
        replay.run()
        (tmp_path / "figures.json").write_text(json.dumps(replay.summary()))
    return tmp_path


def test_a_replay_records_what_it_read_as_it_came(replayed: Path) -> None:
    before, after = items_of(replayed / "front"), items_of(replayed / "out.mcap")
    assert [(type(i), i.sensor, i.sequence, i.stamp_ns) for i in after] == [
        (type(i), "front", i.sequence, i.stamp_ns) for i in before
    ]
    for one, other in zip(before, after, strict=True):
        if isinstance(one, Frame) and isinstance(other, Frame):
            assert one.coded == other.coded, "the very file"
            np.testing.assert_array_equal(one.image, other.image)
        else:
            assert isinstance(one, Fault)
            assert isinstance(other, Fault)
            assert one.reason == other.reason
    figures = json.loads((replayed / "figures.json").read_text())["recording"]
    assert figures["items"] == {"front": drive_media.IMAGES - 1}
    assert figures["dropped"] == {}
    assert figures["bytes"] == (replayed / "out.mcap").stat().st_size


def test_a_replay_records_what_it_found(replayed: Path) -> None:
    lines = [json.loads(line) for line in (replayed / "found.jsonl").read_text().splitlines()]
    found = plainly(replayed / "out.mcap")
    messages = [pb.FrameResult.FromString(message.data) for message in found["/front/detections"]]
    assert [(m.frame_sequence, m.stamp_ns, len(m.detections)) for m in messages] == [
        (line["frame_sequence"], line["stamp_ns"], len(line["detections"])) for line in lines
    ]
    assert [message.log_time for message in found["/front/detections"]] == [line["stamp_ns"] for line in lines]
    drawn = [ImageAnnotations.FromString(message.data) for message in found["/front/annotations"]]
    boxes = [len(line["detections"]) for line in lines if line["status"] == "OK"]
    assert [len(annotations.points) for annotations in drawn] == boxes
    assert sum(boxes) > 0


def test_a_recording_carries_the_schemas_that_its_messages_need(replayed: Path) -> None:
    """A reader that knows nothing of ours, as Foxglove, parses every message by what stands in the file."""
    parsed: Counter[str] = Counter()
    with (replayed / "out.mcap").open("rb") as stream:
        for schema, channel, message in make_reader(stream).iter_messages():
            assert schema is not None
            assert channel.message_encoding == schema.encoding == "protobuf"
            pool = DescriptorPool()
            for file in FileDescriptorSet.FromString(schema.data).file:
                pool.Add(file)
            message_type = GetMessageClass(pool.FindMessageTypeByName(schema.name))
            assert message_type.FromString(message.data).SerializeToString()
            parsed[schema.name] += 1
    assert parsed == {
        "foxglove.CompressedImage": drive_media.IMAGES - 1,
        "foxglove.Log": 1,
        "edge.perception.v1.FrameResult": drive_media.IMAGES,
        "foxglove.ImageAnnotations": drive_media.IMAGES - 1,
    }


def test_a_recording_replays_to_the_same_digest(replayed: Path) -> None:
    with Replay(ReplayRequest(sources=[str(replayed / "out.mcap")], models=[str(replayed / "tiny")])) as replay:
        replay.run()
        again = replay.summary()
    first = json.loads((replayed / "figures.json").read_text())
    assert again["sensors"] == first["sensors"]
    assert again["digest"] == first["digest"], "its sensor has the name under which it was recorded"


def test_memory_is_released_once_both_its_users_are_done(tmp_path: Path) -> None:
    released: Counter[int] = Counter()
    frames = [
        Frame("front", n, n, 1, 2, noise(n).image, release=lambda n=n: released.update([n]))  # type: ignore[misc]
        for n in range(5)
    ]
    with Recorder(tmp_path / "out.mcap", [FRONT]) as recording:
        taken = [recording.take(frame) for frame in frames]
        recording.finish()
        assert not released, "the pipeline still has them"
        for frame in taken:
            assert isinstance(frame, Frame)
            frame.release()
    assert released == dict.fromkeys(range(5), 1)


def test_what_comes_too_fast_is_counted_and_stands_in_the_recording_as_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MOST_WAITING_BYTES", 4 << 20)
    write = DriveWriter.write

    def slowly(into: DriveWriter, item: Item, *, publish_ns: int) -> None:
        time.sleep(0.05)  # some machines write faster than this test makes frames
        write(into, item, publish_ns=publish_ns)

    monkeypatch.setattr(DriveWriter, "write", slowly)
    with Recorder(tmp_path / "out.mcap", [FRONT]) as recording:
        for number in range(60):
            recording.take(_numbered(number))
        time.sleep(1.0)
        recording.take(_numbered(60))
        recording.finish()
        state = recording.state()
    assert state.dropped["front"].keys() == {"too_slow"}
    assert state.recorded["front"] + state.dropped["front"]["too_slow"] == 61
    items = items_of(tmp_path / "out.mcap")
    assert sum(isinstance(item, Frame) for item in items) == state.recorded["front"]
    faults = [item for item in items if isinstance(item, Fault)]
    assert len(faults) == state.dropped["front"]["too_slow"]
    assert {fault.reason for fault in faults} == {"was not recorded: too slow"}


def _numbered(number: int) -> Frame:
    image = np.random.default_rng(number % 3).integers(0, 255, (600, 600, 3), np.uint8)
    return Frame("front", number, number * 33_000_000, time.monotonic_ns(), time.monotonic_ns(), image)


def test_where_nothing_may_be_lost_who_gives_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST_WAITING_BYTES", 4 << 20)
    with Recorder(tmp_path / "out.mcap", [FRONT], waits=True) as recording:
        for number in range(40):
            recording.take(_numbered(number))
        recording.finish()
        assert recording.state().recorded["front"] == 40
        assert not recording.state().drops()


def test_a_full_disk_is_counted_and_the_recording_goes_on_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "FLUSH_EVERY_S", 0.05)
    monkeypatch.setattr(writer, "TRY_AGAIN_AFTER_S", 0.1)
    monkeypatch.setattr(writer, "WELL_AFTER_S", 2.0)
    path = tmp_path / "out.mcap"
    given = 0
    with Recorder(path, [FRONT]) as recording:

        def give(seconds: float) -> None:
            nonlocal given
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                recording.take(noise(given))
                given += 1
                time.sleep(0.01)

        def give_until(is_so: Callable[[], bool]) -> None:
            until = time.monotonic() + 30
            while not is_so() and time.monotonic() < until:
                give(0.02)
            assert is_so()

        give(0.3)
        with file_limit.files_no_larger_than(path.stat().st_size + 20_000):
            give_until(lambda: "large" in recording.state().failure)
            for _ in range(25):  # now and then something small is taken, which makes nothing well
                give(0.02)
                assert "large" in recording.state().failure
        give_until(lambda: not recording.state().failure)
        recording.finish()
        state = recording.state()
    assert state.dropped["front"]["disk_full"] > 0
    assert state.recorded["front"] + sum(state.dropped["front"].values()) == given
    items = items_of(path)
    frames = [item for item in items if isinstance(item, Frame)]
    assert len(frames) == state.recorded["front"]
    assert frames[-1].stamp_ns == (given - 1) * 33_000_000, "the last ones are in it"
    assert len(plainly(path)["/front/image"]) == len(frames)


def test_parts_are_whole_each_and_the_oldest_go(tmp_path: Path) -> None:
    settings = RecordSettings(images="jpeg", rotate_bytes=200_000, keep_bytes=700_000)
    (tmp_path / "out-0007.mcap").write_bytes(bytes(300_000))  # of the run before
    with Recorder(tmp_path / "out.mcap", [FRONT], settings, waits=True) as recording:
        for number in range(120):
            recording.take(_numbered(number) if number % 40 == 0 else noise(number, 150))
            if number % 10 == 9:
                time.sleep(0.12)
        recording.finish()
        state = recording.state()
    parts = sorted(tmp_path.glob("out-*.mcap"))
    assert parts[0].name > "out-0007.mcap", "numbers go on where the run before ended, and its part is the oldest"
    assert state.parts - (len(parts)) == state.parts_removed - 1
    assert state.parts_removed > 1
    assert sum(part.stat().st_size for part in parts) < 700_000 + 400_000
    for part in parts:
        assert plainly(part)["/front/image"]
        with McapFile(part) as file:
            assert file.has_end


def test_the_part_that_grows_stays_whatever_the_bound_is(tmp_path: Path) -> None:
    settings = RecordSettings(rotate_bytes=10_000_000, keep_bytes=10_000)
    with Recorder(tmp_path / "out.mcap", [FRONT], settings) as recording:
        for number in range(10):
            recording.take(noise(number))
        recording.finish()
        assert recording.state().parts_removed == 0
    assert len(items_of(tmp_path / "out-0000.mcap")) == 10


def test_a_new_part_begins_when_it_is_time(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mcap", [FRONT], RecordSettings(rotate_s=0.2)) as recording:
        for number in range(30):
            recording.take(noise(number))
            time.sleep(0.02)
        recording.finish()
        assert recording.state().parts >= 3
    parts = sorted(tmp_path.glob("out-*.mcap"))
    assert sum(len(items_of(part)) for part in parts) == 30


@pytest.mark.parametrize("name", ["out.mp4", "there.mcap", "nowhere/out.mcap"])
def test_what_cannot_be_recorded_to_is_refused_before_anything_begins(tmp_path: Path, name: str) -> None:
    (tmp_path / "there.mcap").write_bytes(b"a recording")
    with (
        pytest.raises(UsageError, match=r"no \.mcap file|is there already|cannot be written"),
        Recorder(tmp_path / name, [FRONT]),
    ):
        pass
    assert (tmp_path / "there.mcap").read_bytes() == b"a recording"


def test_a_source_is_recorded_whole(tmp_path: Path) -> None:
    drive = drive_media.write_kitti(tmp_path / "kitti")
    source = open_source(f"k={drive}")
    with Recorder(tmp_path / "out.mcap", source.info.sensors, waits=True) as recording:
        with ObservedSource(source, recording.take) as both:
            given = list(both)
        recording.finish()
    again = items_of(tmp_path / "out.mcap")
    assert [(i.sensor, i.sequence, i.stamp_ns) for i in again] == [(i.sensor, i.sequence, i.stamp_ns) for i in given]
    for one, other in zip(given, again, strict=True):
        if isinstance(one, PointCloud) and isinstance(other, PointCloud):
            assert one.points.tobytes() == other.points.tobytes()


def test_health_says_how_the_recording_fares() -> None:
    recording = RecordingHealth(
        path="/data/out.mcap", items=7, bytes=9, dropped={"disk_full": 3}, parts=2, parts_removed=1, failure="full"
    )
    health = HealthMessage(session="s", sequence=0, sent_ns=1, uptime_ns=1, recording=recording)
    assert decode_health(encode_health(health)).recording == recording
    assert (
        decode_health(encode_health(HealthMessage(session="s", sequence=0, sent_ns=1, uptime_ns=1))).recording is None
    )


def test_readers_are_told_in_health_that_the_disk_is_full_while_perception_goes_on(tmp_path: Path) -> None:
    tiny_networks.make_bundle(tmp_path / "tiny")
    images = drive_media.write_images(tmp_path / "front", 40)
    endpoint = f"ipc://{tmp_path / 'stream'}"
    request = ReplayRequest(
        sources=[str(images)],
        models=[str(tmp_path / "tiny")],
        rate=20.0,
        loop=10,
        publish=endpoint,
        wait_readers=1,
        record=tmp_path / "out.mcap",
    )
    told: list[HealthMessage] = []
    with file_limit.files_no_larger_than(60_000), Replay(request) as replay:
        running = threading.Thread(target=replay.run)
        running.start()
        with StreamSubscriber(endpoint, [HEALTH_TOPIC, "detections/front/"]) as reader:
            told = [message for message in reader if isinstance(message, HealthMessage)]
        running.join()
        summary = replay.summary()
    assert summary["published"] == summary["captured"] == 400, "perception goes on"
    last = told[-1].recording
    assert last is not None
    assert last.items + sum(last.dropped.values()) == 400
    assert last.dropped["disk_full"] > 0
    assert any(message.recording and message.recording.failure for message in told)


def test_what_was_recorded_is_synced_to_the_disk_every_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[float, int]] = []
    fdatasync = os.fdatasync

    def noted(fd: int) -> None:
        fdatasync(fd)
        synced.append((time.monotonic(), os.fstat(fd).st_size))

    monkeypatch.setattr(os, "fdatasync", noted)
    began_s = time.monotonic()
    with Recorder(tmp_path / "out.mcap", [FRONT]) as recording:
        for number in range(44):
            recording.take(noise(number))
            time.sleep(0.05)
    moments = [began_s, *(moment for moment, _ in synced)]
    assert max(later - earlier for earlier, later in pairwise(moments)) < 1.0
    assert [size for _, size in synced] == sorted({size for _, size in synced}), "each with what came meanwhile"


# --- Killed, and made whole


def test_a_killed_recording_has_lost_a_second_at_the_most(tmp_path: Path) -> None:
    lost_s, ours, plain, code = kill_once(camera_of_30_hz(tmp_path, 320, 240), tmp_path / "out.mcap", 1.5)
    assert lost_s <= MOST_LOST_S
    assert ours == plain > 20
    assert code == 1


@pytest.mark.parametrize(("spoil", "code"), [("nothing", 0), ("a chunk", 1), ("the end", 1)])
def test_recover_says_whether_anything_was_lost(tmp_path: Path, spoil: str, code: int) -> None:
    path = drive_media.write_mcap(tmp_path / "in.mcap")
    lost = 0
    if spoil == "a chunk":
        lost = drive_media.damage_chunk(path, 2)
    elif spoil == "the end":
        path.write_bytes(path.read_bytes()[:-20])
    words = [*COMMAND, "drive", "recover", str(path), str(tmp_path / "out.mcap"), "--json"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    figures = json.loads(ended.stdout)
    assert figures["lost_something"] == bool(code)
    assert sum(figures["damaged"].values()) == lost
    assert sum(len(messages) for messages in plainly(tmp_path / "out.mcap").values()) == 32 - lost


def test_recover_leaves_nothing_behind_where_the_disk_is_full(tmp_path: Path) -> None:
    path = drive_media.write_mcap(tmp_path / "in.mcap")
    with file_limit.files_no_larger_than(5000), pytest.raises(OSError, match=r"space|large"):
        recover(path, tmp_path / "out.mcap")
    assert [file.name for file in tmp_path.iterdir()] == ["in.mcap"]


def test_recover_refuses_what_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "in.mcap").write_bytes(b"nothing of the kind")
    with pytest.raises(RequestError, match="is no MCAP file"):
        recover(tmp_path / "in.mcap", tmp_path / "out.mcap")
    assert not (tmp_path / "out.mcap").exists()


def test_a_recorder_that_broke_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST_WAITING_BYTES", 1 << 20)
    recording = Recorder(tmp_path / "out.mcap", [FRONT], waits=True)
    unknown = Frame("rear", 0, 0, 1, 2, noise(0).image)  # no sensor of this recording: a bug of whoever gives it

    def give() -> None:
        recording.take(unknown)
        for number in range(20):
            recording.take(_numbered(number))

    giving = threading.Thread(target=give, daemon=True)
    recording.__enter__()
    giving.start()
    giving.join(20)
    assert not giving.is_alive()
    with pytest.raises(KeyError):
        recording.finish()
    assert "broke" in recording.state().failure
