"""`perception run` as its user has it: a vehicle of recordings that play at their own pace."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_networks
from drive_media import PICTURES, write_video

from perception.errors import RefusedError
from perception.stream import Subscriber
from perception.stream.keys import new_keys

COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()", "run"]
WAIT_S = 30.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_networks.make_bundle(tmp_path / "tiny")
    write_video(tmp_path / "front.mp4")
    write_video(tmp_path / "rear.mp4")
    return tmp_path


def vehicle(
    folder: Path, *, rear: str = "rear.mp4", more: str = "", publish: bool = False, score: float = 0.05
) -> Path:
    path = folder / "vehicle.toml"
    path.write_text(
        f"""
        [[camera]]
        name = "front"
        uri = "front.mp4"
        {more}
        [[camera]]
        name = "rear"
        uri = "{rear}"
        [[network]]
        bundle = "tiny"
        thresholds = {{ default = {score} }}
        """
        + ('[publish]\nendpoint = "tcp://127.0.0.1:0"\n' if publish else "")
    )
    return path


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_every_camera_is_run_at_its_own_pace(folder: Path) -> None:
    ended = run(vehicle(folder, more="every = 3"), "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    figures = json.loads(ended.stdout)
    front, rear = figures["sensors"]["front"], figures["sensors"]["rear"]
    assert front["captured"] == rear["captured"] == PICTURES
    assert front["dropped"]["skipped"] == PICTURES - len(range(0, PICTURES, 3))
    for counts in (front, rear):
        assert counts["captured"] == counts["published"] + sum(counts["dropped"].values())
    assert figures["detections"] > 0
    assert figures["wall_s"] > 0.8 * (PICTURES - 1) / 25


def test_check_opens_nothing(folder: Path) -> None:
    (folder / "front.mp4").unlink()
    ended = run(vehicle(folder), "--check")
    assert ended.returncode == 0
    assert "good. Cameras: 2, networks: 1" in ended.stdout


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_wrong_key_is_one_line_and_exit_code_2(folder: Path, check: list[str]) -> None:
    ended = run(vehicle(folder, more="lop = true"), *check)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "camera.0.lop: is no key here; did you mean 'loop'?" in ended.stderr


@pytest.mark.parametrize("check", [[], ["--check"]])
@pytest.mark.parametrize(
    ("publish", "said"),
    [
        (
            'endpoint = "tcp://0.0.0.0:5555"',
            "publish.endpoint: tcp://0.0.0.0:5555: is open to the network, and a network stream needs keys; make them",
        ),
        ('endpoint = "tcp://127.0.0.1"', "publish.endpoint: tcp://127.0.0.1: is no endpoint of the form tcp://HOST"),
        ('endpoint = "ipc://"', "publish.endpoint: ipc://: names no path"),
        ('endpoint = "tcp://127.0.0.1:0"\nkeys = "vehicel"', "vehicel: is no folder of keys; make one with"),
        (
            'endpoint = "tcp://127.0.0.1:0"\nkeys = "open"',
            "publish.keys: {folder}/open/open.key_secret: can be read",
        ),
    ],
)
def test_a_stream_that_may_not_be_is_refused_with_file_and_key(
    folder: Path, publish: str, said: str, check: list[str]
) -> None:
    (new_keys("open", folder) / "open.key_secret").chmod(0o644)
    path = vehicle(folder)
    path.write_text(f"{path.read_text()}[publish]\n{publish}\n")
    ended = run(path, *check)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {path}: publish.")
    assert said.format(folder=folder) in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_an_engine_that_does_not_exist_is_refused_with_file_and_key(folder: Path, check: list[str]) -> None:
    path = vehicle(folder)
    path.write_text(path.read_text() + 'engine = "warp"\n')
    ended = run(path, *check)
    assert ended.returncode == 2
    assert f"{path}: network.0.engine: --engine warp: is unknown; use auto or one of onnxruntime" in ended.stderr


def test_check_finds_an_address_good_that_somebody_has(folder: Path) -> None:
    path = vehicle(folder)
    path.write_text(f'{path.read_text()}[publish]\nendpoint = "ipc://{folder}/vehicle.toml"\n')
    assert run(path, "--check").returncode == 0
    ended = run(path)
    assert ended.returncode == 2
    assert "there is a file that is no socket" in ended.stderr


def test_a_camera_that_is_not_there_is_one_line_and_exit_code_2(folder: Path) -> None:
    ended = run(vehicle(folder, rear="raer.mp4"))
    assert ended.returncode == 2
    assert "vehicle.toml: camera.1.uri: " in ended.stderr
    assert "did you mean" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_source_that_breaks_is_said_and_the_other_goes_on(folder: Path) -> None:
    cut = folder / "rear.mp4"
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    ended = run(vehicle(folder, score=1.0), "--json")
    assert ended.returncode == 1
    assert "lost: " in ended.stderr
    figures = json.loads(ended.stdout)
    assert list(figures["broken"]) == ["rear"]
    assert figures["detections"] == 0
    assert figures["sensors"]["front"]["captured"] == PICTURES


def test_only_a_reader_with_a_listed_key_gets_the_stream(folder: Path) -> None:
    server = new_keys("vehicle", folder)
    reader_keys = new_keys("laptop", folder)
    (server / "readers" / "laptop.key").write_bytes((reader_keys / "laptop.key").read_bytes())
    path = vehicle(folder, more="loop = true", publish=True)
    path.write_text(path.read_text() + 'keys = "vehicle"\n')
    with subprocess.Popen([*COMMAND, str(path)], stdout=-1, stderr=-1, text=True) as process:
        assert process.stderr is not None
        endpoint = process.stderr.readline().split()[-1]
        server_key = server / "vehicle.key"
        try:
            with Subscriber(endpoint, keys=reader_keys, server_key=server_key) as listed:
                assert listed.receive(WAIT_S) is not None
            other = new_keys("other", folder)
            with Subscriber(endpoint, keys=other, server_key=server_key) as refused, pytest.raises(RefusedError):
                refused.receive(WAIT_S)
        finally:
            process.kill()


def test_a_signal_drains_and_ends_a_looped_run(folder: Path) -> None:
    path = vehicle(folder, more="loop = true", publish=True)
    with subprocess.Popen([*COMMAND, str(path), "--json"], stdout=-1, stderr=-1, text=True) as process:
        assert process.stderr is not None
        endpoint = process.stderr.readline().split()[-1]
        with Subscriber(endpoint, "detections/front/") as reader:
            received = [reader.receive(WAIT_S) for _ in range(PICTURES + 5)]  # into the second lap
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    figures = json.loads(output)
    assert figures["captured"] == figures["published"] + sum(figures["dropped"].values())
    assert received[-1] is not None
    assert received[-1].frame_sequence >= PICTURES
