"""`perception drive batch`: a fleet's drives to one table and a recording each, also after a corrupt one and a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import gated_networks
import psutil
import pytest
import tiny_networks

from perception.batch.folder import opened
from perception.batch.table import COLUMNS
from perception.errors import UsageError
from perception.message import FrameMessage, decode_message
from sensors.drives.mcap.reading import McapFile
from sensors.frame import Frame
from sensors.opening import open_source

parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'edge-perception[batch]'")

COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()", "drive", "batch"]
WAIT_S = 300.0
DRIVES = 8
CORRUPT = 5  # which of them
FRAMES = 6


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.make_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight drives, one of which is no drive at all."""
    folder = tmp_path_factory.mktemp("fleet")
    drives = [gated_networks.write_drive(folder / f"drive{number}", FRAMES) for number in range(DRIVES)]
    corrupt = folder / f"drive{CORRUPT}.mcap"
    corrupt.write_bytes(bytes(range(256)) * 8)
    drives[CORRUPT] = corrupt
    return drives


def batch(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=WAIT_S, check=False)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return list(parquet.read_table(out / "detections.parquet").to_pylist())


@pytest.fixture(scope="module")
def done(bundle: Path, fleet: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """All eight, done by two processes at a time."""
    out = tmp_path_factory.mktemp("out") / "batch"
    return out, batch(*fleet, "--bundle", bundle, "-o", out, "--workers", 2, "--json")


def names(fleet: list[Path]) -> list[str]:
    return [drive.stem for drive in fleet if drive.suffix != ".mcap"]


def test_seven_are_done_and_the_corrupt_one_is_reported(done: tuple[Path, Any], fleet: list[Path]) -> None:
    out, ended = done
    assert ended.returncode == 1
    figures = json.loads(ended.stdout)
    assert (figures["done"], figures["failed"]) == (DRIVES - 1, 1)
    (failed,) = [drive for drive in figures["drives"] if drive["status"] == "failed"]
    assert failed["name"] == f"drive{CORRUPT}"
    assert str(fleet[CORRUPT]) in failed["reason"]
    assert f"drive{CORRUPT}: failed: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert json.loads((out / "batch.json").read_text())["drives"] == figures["drives"]
    assert {path.name for path in out.iterdir()} == {
        ".batch", "batch.json", "detections.parquet", *(f"{name}.mcap" for name in names(fleet))
    }  # fmt: skip
    assert not list((out / ".batch").glob("*.draft"))


def test_the_table_has_every_detection_of_every_recording(done: tuple[Path, Any], fleet: list[Path]) -> None:
    out, _ = done
    table = parquet.read_table(out / "detections.parquet")
    assert table.schema.names == [column.name for column in COLUMNS]
    assert all(field.metadata[b"description"] for field in table.schema)
    rows = table.to_pylist()
    assert Counter(row["drive"] for row in rows).keys() == set(names(fleet))
    for name in names(fleet):
        expected = []
        with McapFile(out / f"{name}.mcap") as file:
            (channel,) = [one.id for one in file.channels.values() if one.topic.endswith("/detections")]
            for entry in file.within([channel]).tolist():
                message = decode_message(bytes(file.message(entry).data))
                assert isinstance(message, FrameMessage)
                found = message.detections
                expected += [
                    (message.sensor, message.frame_sequence, message.stamp_ns, *box, score, class_name, track)
                    for box, score, class_name, track in zip(
                        found.boxes_xyxy.tolist(),
                        found.scores.tolist(),
                        message.class_names,
                        found.track_ids.tolist(),
                        strict=True,
                    )
                ]
        keys = (
            "sensor",
            "frame_sequence",
            "stamp_ns",
            "left",
            "top",
            "right",
            "bottom",
            "score",
            "class_name",
            "track_id",
        )
        assert [tuple(row[key] for key in keys) for row in rows if row["drive"] == name] == expected
        assert len(expected) == 2 * FRAMES
        with open_source(str(out / f"{name}.mcap")) as recording:
            assert sum(isinstance(item, Frame) for item in recording) == FRAMES


def test_the_same_command_does_nothing_twice_and_mends_what_was_corrupt(
    done: tuple[Path, Any], bundle: Path, fleet: list[Path]
) -> None:
    out, _ = done
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.mcap")}
    digests = {drive["name"]: drive.get("digest") for drive in json.loads((out / "batch.json").read_text())["drives"]}
    words = (*fleet, "--bundle", bundle, "-o", out)
    again = batch(*words)
    assert again.returncode == 1
    assert again.stderr.count("done already") == DRIVES - 1
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.mcap")} == before

    corrupt = fleet[CORRUPT].read_bytes()
    try:
        fleet[CORRUPT].write_bytes((out / "drive0.mcap").read_bytes())
        (out / "drive1.mcap").write_bytes(b"cut off")
        mended = batch(*words, "--json")
    finally:
        fleet[CORRUPT].write_bytes(corrupt)
    figures = json.loads(mended.stdout)
    assert (mended.returncode, figures["done"], figures["failed"]) == (0, DRIVES, 0)
    assert mended.stderr.count("done already") == DRIVES - 2
    assert {d["name"]: d["digest"] for d in figures["drives"] if d["name"] == "drive1"}["drive1"] == digests["drive1"]
    assert len(rows_of(out)) == figures["rows"] == 2 * FRAMES * DRIVES


def test_another_bundle_or_threshold_needs_another_folder(
    done: tuple[Path, Any], bundle: Path, fleet: list[Path]
) -> None:
    out, _ = done
    other = batch(fleet[0], "--bundle", bundle, "-o", out, "--score", 0.5)
    assert (other.returncode, "holds a batch with another thresholds" in other.stderr) == (2, True)


def running_below(process: psutil.Process) -> list[psutil.Process]:
    return process.children(recursive=True) if process.is_running() else []


def test_a_batch_that_was_killed_goes_on_and_leaves_no_process(bundle: Path, tmp_path: Path) -> None:
    drives = [gated_networks.write_drive(tmp_path / f"drive{n}", FRAMES) for n in range(3)]
    long = gated_networks.write_drive(tmp_path / "drive3", 3000)
    out = tmp_path / "out"
    words = [*map(str, drives), str(long), "--bundle", str(bundle), "-o", str(out), "--workers", "1"]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in drives]
    assert all("detections" in line for line in said), said
    until = time.monotonic() + WAIT_S
    while not (out / ".batch" / "drive3.draft").exists() and time.monotonic() < until:
        time.sleep(0.05)
    below = running_below(psutil.Process(process.pid))
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(below, timeout=30)
    assert alive == []
    assert not (out / "drive3.mcap").exists()
    done = {path.name: path.stat().st_mtime_ns for path in out.glob("*.mcap")}
    assert len(done) == 3
    for image in list(long.iterdir())[FRAMES:]:
        image.unlink()  # the rest is shorter work
    again = batch(*words, "--json")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("done already") == 3
    assert {name: (out / name).stat().st_mtime_ns for name in done} == done
    assert json.loads(again.stdout)["done"] == 4
    assert Counter(row["drive"] for row in rows_of(out)) == {f"drive{n}": 2 * FRAMES for n in range(4)}


def test_a_process_that_dies_fails_its_drive_and_no_other(bundle: Path, tmp_path: Path) -> None:
    short = gated_networks.write_drive(tmp_path / "short", FRAMES)
    long = gated_networks.write_drive(tmp_path / "long", 3000)
    out = tmp_path / "out"
    words = [str(long), str(short), "--bundle", str(bundle), "-o", str(out), "--workers", "1"]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    draft = out / ".batch" / "long.draft" / "progress.json"
    until = time.monotonic() + WAIT_S
    while not draft.exists() and time.monotonic() < until:
        time.sleep(0.02)
    worker = next(p for p in running_below(psutil.Process(process.pid)) if "spawn_main" in " ".join(p.cmdline()))
    os.kill(worker.pid, signal.SIGKILL)
    printed, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "long: failed: its process ended by SIGKILL" in said
    assert "short: 6 of 6 frames" in said
    assert "1 of 2 drives done, 1 failed" in printed


def test_ctrl_c_ends_it_and_the_same_command_goes_on(bundle: Path, tmp_path: Path) -> None:
    long = gated_networks.write_drive(tmp_path / "long", 3000)
    out = tmp_path / "out"
    words = [str(long), "--bundle", str(bundle), "-o", str(out)]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + WAIT_S
    while not (out / ".batch" / "long.draft").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "0 of 1 drives are done; the same command goes on" in said
    assert not (out / "batch.json").exists()


def test_two_batches_do_not_write_into_one_folder(bundle: Path, fleet: list[Path], tmp_path: Path) -> None:
    with (
        opened(tmp_path / "out", {"engine": "auto"}),
        pytest.raises(UsageError, match="another batch is at work"),
        opened(tmp_path / "out", {"engine": "auto"}),
    ):
        pass
    with opened(tmp_path / "out", {"engine": "auto"}):
        pass


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a=one", "a=two"), "two drives have this name"),
        (("rtsp://camera/1",), "is live, and no drive"),
        (("one", "--workers", "2", "--ray", "local"), "--workers"),
    ],
)
def test_a_wrong_request_is_told_in_words(bundle: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    ended = batch(*words, "--bundle", bundle, "-o", tmp_path / "out")
    assert (ended.returncode, message in ended.stderr) == (2, True), ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_frames_without_a_detection_and_failed_ones_are_in_the_table(tmp_path: Path) -> None:
    picky = tiny_networks.make_bundle(tmp_path / "picky", on_white="nan").folder
    drive = gated_networks.write_drive(tmp_path / "road", FRAMES)
    cv2.imwrite(str(drive / "50.png"), tiny_networks.solid(255, 255, 255))
    (drive / "51.png").write_bytes(b"no image")
    out = tmp_path / "out"
    ended = batch(drive, "--bundle", picky, "-o", out, "--score", 0.999, "--json")
    assert ended.returncode == 0, ended.stderr
    rows = rows_of(out)
    assert [row["status"] for row in rows] == ["OK"] * FRAMES + ["INFERENCE_FAILED", "DECODE_FAILED"]
    assert [row["frame_sequence"] for row in rows] == list(range(FRAMES + 2))
    assert {row["class_name"] for row in rows} == {None}


# --- Ray -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray_there() -> None:
    pytest.importorskip("ray", reason="needs ray: pip install 'edge-perception[ray]'")


@pytest.mark.usefixtures("ray_there")
def test_ray_does_the_same_and_goes_on_with_what_is_left(
    bundle: Path, fleet: list[Path], tmp_path: Path, done: tuple[Path, Any]
) -> None:
    out = tmp_path / "out"
    first = batch(fleet[0], "--bundle", bundle, "-o", out)
    assert first.returncode == 0, first.stderr
    ended = batch(*fleet, "--bundle", bundle, "-o", out, "--ray", "local", "--json")
    assert ended.returncode == 1, ended.stderr
    figures = json.loads(ended.stdout)
    assert (figures["done"], figures["failed"]) == (DRIVES - 1, 1)
    assert ended.stderr.count("done already") == 1
    assert f"drive{CORRUPT}: failed: {fleet[CORRUPT]}" in ended.stderr
    here = {d["name"]: d["digest"] for d in json.loads((done[0] / "batch.json").read_text())["drives"] if "digest" in d}
    there = {d["name"]: d["digest"] for d in figures["drives"] if "digest" in d}
    assert there.items() <= here.items()
    assert len(there) == DRIVES - 1
    again = batch(*fleet, "--bundle", bundle, "-o", out, "--ray", "local")
    assert again.stderr.count("done already") == DRIVES - 1


@pytest.mark.usefixtures("ray_there")
def test_a_cluster_that_is_not_there_is_told_in_words(bundle: Path, fleet: list[Path], tmp_path: Path) -> None:
    ended = batch(fleet[0], "--bundle", bundle, "-o", tmp_path / "out", "--ray", "auto")
    assert (ended.returncode, "no cluster" in ended.stderr) == (2, True), ended.stderr
