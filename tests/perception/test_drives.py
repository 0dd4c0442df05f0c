"""A real drive through a real network: every frame arrives, in another process too, and the boxes lie on cars."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engines.importing import ImportOptions, import_network

pytestmark = pytest.mark.data

WAIT_S = 120.0
FRAMES = 221
COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()"]
VEHICLES = {"car", "truck", "bus"}  # what a small network calls the cars of this drive


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=WAIT_S, check=False)


@pytest.fixture(scope="session")
def road(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "yolox_nano"
    import_network(data / "models" / "yolox_nano.onnx", folder, ImportOptions(decoder="yolox", labels="coco"))
    return folder


@pytest.fixture(scope="session")
def highway(data: Path) -> Path:
    return data / "drives" / "videos" / "solidWhiteRight.mp4"


@pytest.fixture(scope="session")
def received(road: Path, highway: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures of a replay at full speed, and what another process received of it."""
    words = ["replay", highway, "--model", road, "--rate", "max", "--publish", "tcp://127.0.0.1:0"]
    replaying = subprocess.Popen(
        [*COMMAND, *map(str, words), "--wait-readers", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with replaying:
        assert replaying.stderr is not None
        endpoint = replaying.stderr.readline().split()[3].rstrip(",")
        reading = run("subscribe", endpoint, "--json", "--timeout", "60")
        out, err = replaying.communicate(timeout=WAIT_S)
    assert (replaying.returncode, err) == (0, "")
    assert reading.returncode == 0, reading.stderr
    assert reading.stderr.strip().startswith("received 221, lost 0")
    return json.loads(out), [json.loads(line) for line in reading.stdout.splitlines()]


def test_every_frame_is_published_and_received_without_a_gap(received: tuple[dict[str, Any], list[Any]]) -> None:
    figures, messages = received
    assert (figures["captured"], figures["published"]) == (FRAMES, FRAMES)
    assert figures["dropped"] == figures["failed"] == {}
    counts = {"captured": FRAMES, "published": FRAMES, "dropped": {}, "failed": {}}
    assert figures["sensors"] == {"solidWhiteRight": counts}
    frames = [message for message in messages if message["status"] == "OK"]
    assert [message["frame_sequence"] for message in frames] == list(range(FRAMES))
    assert [message["sequence"] for message in frames] == list(range(FRAMES))
    assert [message["stamp_ns"] for message in frames] == [n * 40_000_000 for n in range(FRAMES)]
    assert len({message["session"] for message in messages}) == 1
    assert sum(len(message["detections"]) for message in frames) == figures["detections"]


def test_boxes_lie_on_cars_and_an_id_lasts_over_100_frames(received: tuple[dict[str, Any], list[Any]]) -> None:
    _, messages = received
    seen: Counter[int] = Counter()
    for message in messages:
        for box in message["detections"]:
            left, top, right, bottom = box["box"]
            assert 0 <= left < right <= 960
            assert 0 <= top < bottom <= 540
            if box["class"] in VEHICLES and box["track_id"]:
                seen[box["track_id"]] += 1
                assert bottom > 270, "on this road cars are below the horizon"
    assert seen.most_common(1)[0][1] > 100


def test_the_digest_is_the_same_at_any_rate(
    received: tuple[dict[str, Any], list[Any]], road: Path, highway: Path
) -> None:
    digests = {received[0]["digest"]}
    for rate in ("max", "1.0"):
        figures = json.loads(run("replay", highway, "--model", road, "--rate", rate, "--json").stdout)
        digests.add(figures["digest"])
    assert len(digests) == 1
    assert figures["published"] == FRAMES
    assert 220 / 25 <= figures["wall_s"] < 12, "at rate 1.0 a drive takes its time"


def test_a_damaged_packet_is_one_failed_frame(data: Path, road: Path) -> None:
    corrupted = data / "drives" / "videos_difficult" / "corrupted.mp4"
    process = run("replay", corrupted, "--model", road, "--json")
    assert process.returncode == 0
    figures = json.loads(process.stdout)
    assert (figures["captured"], figures["published"], figures["failed"]) == (50, 49, {"decode_failed": 1})


def test_two_engines_find_the_same_on_a_whole_drive(road: Path, highway: Path, tmp_path: Path) -> None:
    """In float: every box of one has its like in the other, frame by frame, with its track."""
    lines = {}
    for engine in ("onnxruntime", "openvino"):
        file = tmp_path / f"{engine}.jsonl"
        replayed = run("replay", highway, "--model", road, "--engine", engine, "--jsonl", file, "--json")
        assert replayed.returncode == 0, replayed.stderr
        assert json.loads(replayed.stdout)["engine"] == engine
        lines[engine] = [json.loads(line) for line in file.read_text().splitlines()]
        measured = json.loads(run("engine", "bench", road, "--engine", engine, "--seconds", "0.2", "--json").stdout)
        assert measured["engine"] == engine
        assert measured["fps"] > 0
    pairs = list(zip(lines["onnxruntime"], lines["openvino"], strict=True))
    boxes = 0
    for one, other in pairs:
        assert (one["frame_sequence"], one["status"]) == (other["frame_sequence"], other["status"])
        for mine, theirs in zip(one["detections"], other["detections"], strict=True):
            assert mine["class"] == theirs["class"]
            assert mine["score"] == pytest.approx(theirs["score"], abs=1e-3)
            assert overlap(mine["box"], theirs["box"]) > 0.99
            boxes += 1
    assert len(pairs) >= FRAMES
    assert boxes > FRAMES


def overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union."""
    shared = max(0.0, min(one[2], other[2]) - max(one[0], other[0])) * max(
        0.0, min(one[3], other[3]) - max(one[1], other[1])
    )
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)
