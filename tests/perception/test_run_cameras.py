"""`perception run` with live cameras, as its user has it; no output tells their passwords."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_networks
from drive_media import write_video
from rtsp_camera import RtspCamera

from perception.message import SensorState, Status
from perception.stream import HealthSubscriber, Subscriber

COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()"]
# A process that lasts a second after its interpreter is torn down, as libraries' own ends make it on a busy machine.
SLOW_TO_BE_GONE = [
    sys.executable,
    "-c",
    "import ctypes; c = ctypes.CDLL(None); "
    "c.__cxa_atexit(ctypes.cast(c.sleep, ctypes.c_void_p), ctypes.c_void_p(1), None); "
    "from perception.commands.app import main; main()",
]
PASSWORD = "s3cret"
WAIT_S = 40.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_networks.make_bundle(tmp_path / "tiny")
    return tmp_path


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    with RtspCamera("--user", "admin", "--password", PASSWORD) as plugged_in:
        yield plugged_in


def vehicle(folder: Path, **uris: str) -> Path:
    path = folder / "vehicle.toml"
    cameras = "".join(f'[[camera]]\nname = "{name}"\nuri = "{uri}"\n' for name, uri in uris.items())
    path.write_text(f'{cameras}[[network]]\nbundle = "tiny"\n[publish]\nendpoint = "tcp://127.0.0.1:0"\n')
    return path


@contextmanager
def running(
    path: Path, command: list[str] = COMMAND, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [*command, "run", str(path), "--json"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=os.environ | environment) as process:
        assert process.stderr is not None
        try:
            yield process, process.stderr.readline().split()[-1]
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=WAIT_S)


def perception(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_a_camera_is_run_through_an_outage_and_every_frame_is_accounted_for(folder: Path, camera: RtspCamera) -> None:
    path = vehicle(folder, front=camera.uri(user="${CAMERA_USER}:${CAMERA_PASSWORD}"))
    with running(path, CAMERA_USER="admin", CAMERA_PASSWORD=PASSWORD) as (process, endpoint):
        with Subscriber(endpoint, "detections/front/") as reader:
            messages = [reader.receive(WAIT_S) for _ in range(10)]
            camera.plug_out()
            while messages[-1] is not None and messages[-1].status is Status.OK:
                messages.append(reader.receive(WAIT_S))
            camera.plug_in()
            messages += [reader.receive(WAIT_S) for _ in range(10)]
        output, errors = ended(process)
    assert process.returncode == 130
    received = [message for message in messages if message is not None]
    assert [message.status for message in received].count(Status.DECODE_FAILED) == 1
    assert all(one.stamp_ns < other.stamp_ns for one, other in itertools.pairwise(received))
    figures = json.loads(output)
    counts = figures["sensors"]["front"]
    assert counts["captured"] == counts["published"] + sum(counts["dropped"].values()) + 1
    assert counts["failed"] == {"decode_failed": 1}
    assert "DECODE_FAILED: rtsp://127.0.0.1" in errors
    assert "trying again until it gives frames" in errors
    assert errors.count("info: front: gives frames again after ") == 1
    assert PASSWORD not in output + errors
    assert "Traceback" not in errors


def test_a_wrong_password_loses_that_camera_and_the_other_goes_on(folder: Path, camera: RtspCamera) -> None:
    write_video(folder / "rear.mp4")
    path = vehicle(folder, front=camera.uri(user="admin:wr0ng"), rear="rear.mp4")
    ran = perception("run", path, "--json")
    assert ran.returncode == 1
    assert "lost: front: rtsp://127.0.0.1" in ran.stderr
    assert "refuses user or password (401); give rtsp://USER:PASSWORD@HOST/PATH; the other cameras go on" in ran.stderr
    figures = json.loads(ran.stdout)
    assert list(figures["broken"]) == ["front"]
    assert figures["sensors"]["rear"]["published"] > 0
    assert "wr0ng" not in ran.stdout + ran.stderr


def test_two_streams_of_one_camera_are_both_told_as_lost_and_end_it(folder: Path, camera: RtspCamera) -> None:
    """Shown without their queries they have one URI."""
    uris = [camera.uri(f"/none?channel={number}", user=f"admin:{PASSWORD}") for number in (1, 2)]
    ran = perception("run", vehicle(folder, front=uris[0], rear=uris[1]))
    assert ran.returncode == 3
    assert ran.stderr.count("has no such stream (404)") >= 2
    assert "the other cameras go on" not in ran.stderr.splitlines()[-2], "there is none left"
    assert PASSWORD not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_camera_out_of_reach_is_said_and_does_not_hold_up_the_end(folder: Path) -> None:
    path = vehicle(folder, front=f"rtsp://admin:{PASSWORD}@127.0.0.1:9/1")
    with running(path) as (process, endpoint):
        assert process.stderr is not None
        said = process.stderr.readline()
        with HealthSubscriber(endpoint, timeout_s=WAIT_S) as reader:
            [front] = next(message.sensors for message in reader if message.sensors[0].state is SensorState.STALLED)
        output, errors = ended(process)
    assert "front frame 0: DECODE_FAILED: rtsp://127.0.0.1:9/1: refuses the connection" in said
    assert "refuses the connection: nothing listens on that port; trying again" in front.state_reason
    assert process.returncode == 130
    assert json.loads(output)["failed"] == {"decode_failed": 1}
    assert PASSWORD not in said + output + errors + front.state_reason


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.2])
def test_ending_in_the_middle_of_connecting_is_no_crash(folder: Path, camera: RtspCamera, after_s: float) -> None:
    camera.freeze()
    with running(vehicle(folder, front=camera.uri()), command=SLOW_TO_BE_GONE) as (process, _):
        time.sleep(after_s)
        output, errors = ended(process)
    assert (process.returncode, errors) == (130, "")
    assert json.loads(output)["published"] == 0


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (
            "rtsp://admin:s3cret@cam/1#transprot=udp",
            "camera.0.uri: 'transprot' is no setting of a camera; did you mean",
        ),
        ("v4l2:///dev/video0?widht=1", "camera.0.uri: 'widht' is no setting of a camera; did you mean 'width'?"),
        ("csi://0?fsp=30", "camera.0.uri: 'fsp' is no setting of a camera; did you mean 'fps'?"),
        ("udp://cam/1", "camera.0.uri: cameras by udp:// come in a later version"),
        ("rstp://admin:s3cret@cam/1", "camera.0.uri: rstp:// is not known"),
    ],
)
def test_check_refuses_a_uri_that_is_written_wrongly(folder: Path, uri: str, said: str) -> None:
    ran = perception("run", vehicle(folder, front=uri), "--check")
    assert ran.returncode == 2
    assert f"vehicle.toml: {said}" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert PASSWORD not in ran.stderr


def test_check_opens_no_camera_and_needs_no_environment(folder: Path) -> None:
    ran = perception("run", vehicle(folder, front="rtsp://${NOT_SET}@cam/1", rear="v4l2:///dev/video99"), "--check")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_missing_device_or_variable_is_one_line_and_exit_code_2(folder: Path) -> None:
    for uri, said in (
        ("v4l2:///dev/video99", "/dev/video99: does not exist"),
        ("rtsp://${NOT_SET}@c/1", "set NOT_SET"),
    ):
        ran = perception("run", vehicle(folder, front=uri))
        assert ran.returncode == 2
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr


def test_a_replay_of_a_live_camera_is_refused(folder: Path) -> None:
    ran = perception("replay", f"rtsp://admin:{PASSWORD}@127.0.0.1:9/1", "--model", folder / "tiny")
    assert ran.returncode == 2
    assert "error: rtsp://127.0.0.1:9/1: is live" in ran.stderr
    assert "perception run" in ran.stderr
    assert PASSWORD not in ran.stderr


def test_probing_with_a_camera_out_of_reach_is_an_error_and_no_hang(folder: Path) -> None:
    model = folder / "tiny" / "model.onnx"
    bundle = folder / "new"
    words = ("engine", "import", model, "--labels", folder / "tiny" / "labels.txt", "-o", bundle)
    ran = perception(*words, "--probe", f"rtsp://admin:{PASSWORD}@127.0.0.1:9/1")
    assert ran.returncode == 2, ran.stderr
    assert "refuses the connection" in ran.stderr
    assert PASSWORD not in ran.stdout + ran.stderr
