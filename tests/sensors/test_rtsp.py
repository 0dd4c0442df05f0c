"""A real RTSP camera: watched, plugged out and in, frozen, asked wrongly. Nothing may tell its password."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import av
import psutil
import pytest
from rtsp_camera import RtspCamera, free_port

from sensors.cameras.addresses import rtsp_address
from sensors.cameras.reconnecting import Patience, ReconnectingCamera
from sensors.cameras.rtsp import RtspCamera as CameraKind
from sensors.cameras.rtsp import open_rtsp
from sensors.errors import SourceError
from sensors.frame import Fault, Frame, Item
from sensors.opening import open_source
from sensors.yuv import bgr

SIZE = "128x96"
PASSWORD = "s3cret"
PATIENCE = Patience(first_picture_s=10.0, stall_s=2.5, first_pause_s=0.1, longest_pause_s=0.4)
WAIT_S = 30.0  # generous, because the machine is shared


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    with RtspCamera("--size", SIZE, "--user", "admin", "--password", PASSWORD) as plugged_in:
        yield plugged_in


def watched(camera: RtspCamera, path: str = "/ball", password: str = PASSWORD) -> ReconnectingCamera:
    return open_rtsp(camera.uri(path, user=f"admin:{password}"), "front", PATIENCE)


def until_fault(items: Iterator[Item]) -> tuple[list[Item], Fault]:
    before = []
    for item in items:
        if isinstance(item, Fault):
            return before, item
        before.append(item)
    raise AssertionError("no Fault came")


def assert_one_row(items: list[Item]) -> None:
    assert [item.sequence for item in items] == list(range(len(items)))
    assert all(one.stamp_ns < other.stamp_ns for one, other in pairwise(items))
    assert all(item.stamp_ns <= item.arrival_ns + 1_000_000 for item in items), "taken before it came"


@pytest.mark.parametrize("path", ["/ball", "/ball#transport=udp"])
def test_frames_arrive_whole_and_at_the_cameras_steps(camera: RtspCamera, path: str) -> None:
    with watched(camera, path) as source:
        assert source.info.live
        frames = list(islice(source, 60))
    assert_one_row(frames)
    for frame in frames:
        assert isinstance(frame, Frame), frame
        assert frame.image.shape == (96, 128, 3)
        assert 10 < frame.image.mean() < 120, "a white ball on black"
        assert frame.arrival_ns <= frame.decoded_ns
    steps = [(later.stamp_ns - frame.stamp_ns) / 1e9 for frame, later in pairwise(frames)]
    assert sorted(steps)[len(steps) // 2] == pytest.approx(1 / 30, rel=0.02), "RTP's times, not those of arrival"


def test_frames_may_be_left_in_nv12(camera: RtspCamera) -> None:
    with open_rtsp(camera.uri("/ball", user=f"admin:{PASSWORD}"), "front", PATIENCE, in_nv12=True) as source:
        frames = list(islice(source, 5))
    assert_one_row(frames)
    for frame in frames:
        assert isinstance(frame, Frame)
        assert frame.format.is_nv12
        assert (frame.width, frame.height) == (128, 96)
        assert 10 < bgr(frame).mean() < 120, "a white ball on black"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_transport_is_the_one_that_is_asked_for(camera: RtspCamera, transport: str) -> None:
    with watched(camera, f"/ball#transport={transport}") as source:
        items = iter(source)  # held, because letting it go closes the connection
        next(items)
        by_udp = psutil.Process().net_connections("udp")
    assert bool(by_udp) == (transport == "udp")


def test_digest_and_encryption_are_understood(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=camera"]
    subprocess.run([*make, "-keyout", tmp_path / "key.pem", "-out", certificate], check=True, capture_output=True)
    certificate.write_bytes((tmp_path / "key.pem").read_bytes() + certificate.read_bytes())
    options = ["--user", "admin", "--password", "p@w/d", "--digest"]
    with (
        RtspCamera(*options, "--certificate", str(certificate)) as camera,
        open_rtsp(camera.uri(user="admin:p%40w%2Fd", scheme="rtsps"), "front", PATIENCE) as source,
    ):
        assert isinstance(next(iter(source)), Frame)


def test_a_camera_that_is_plugged_out_is_one_fault_and_comes_back(camera: RtspCamera) -> None:
    with watched(camera) as source:
        items = iter(source)
        seen = list(islice(items, 10))
        for _ in range(2):
            camera.plug_out()
            frames, fault = until_fault(items)
            seen += [*frames, fault]
            assert "ended the stream; trying again" in fault.reason or "hung up" in fault.reason
            back = threading.Timer(1.5, camera.plug_in)  # several attempts later
            back.start()
            after = list(islice(items, 10))
            back.join()
            assert all(isinstance(item, Frame) for item in after), "an outage is told once"
            seen += after
    assert_one_row(seen)


def test_a_camera_that_comes_up_after_the_vehicle_is_waited_for() -> None:
    camera = RtspCamera("--user", "admin", "--password", PASSWORD)
    with watched(camera) as source:
        items = iter(source)
        fault = next(items)
        assert isinstance(fault, Fault)
        assert "nothing listens on that port; trying again until it gives frames" in fault.reason
        with camera:
            frames = list(islice(items, 5))
            assert all(isinstance(frame, Frame) for frame in frames)
    assert_one_row([fault, *frames])


def test_a_frozen_camera_is_noticed(camera: RtspCamera) -> None:
    with watched(camera) as source:
        items = iter(source)
        seen = list(islice(items, 5))
        camera.freeze()
        frames, fault = until_fault(items)
        assert "for 2.5 s; trying again" in fault.reason
        camera.plug_out()
        camera.plug_in()
        after = list(islice(items, 5))
        assert all(isinstance(item, Frame) for item in after)
    assert_one_row([*seen, *frames, fault, *after])


def test_a_camera_that_is_frozen_from_the_start_is_noticed(camera: RtspCamera) -> None:
    camera.freeze()
    with watched(camera) as source:
        fault = next(iter(source))
    assert isinstance(fault, Fault)
    assert "gives no answer in RTSP for 2.5 s" in fault.reason


@pytest.mark.parametrize(
    ("path", "password", "said"),
    [
        ("/ball", "wr0ng", r"refuses user or password \(401\); give rtsp://USER:PASSWORD@HOST/PATH"),
        ("/none", PASSWORD, r"has no such stream \(404\); look up"),
        ("/sound", PASSWORD, "perhaps it has no video"),
    ],
)
def test_what_never_comes_right_by_itself_ends_it(camera: RtspCamera, path: str, password: str, said: str) -> None:
    with watched(camera, path, password) as source, pytest.raises(SourceError, match=said) as caught:
        next(iter(source))
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.args)
    assert caught.value.__context__ is None, "FFmpeg's own error holds the password"
    assert password not in told
    assert "admin" not in told


def test_a_refusal_after_frames_is_an_outage(camera: RtspCamera) -> None:
    changed = RtspCamera("--user", "admin", "--password", "changed", port=camera.port)

    def boots() -> None:
        changed.plug_in()
        time.sleep(2.0)  # several attempts
        changed.plug_out()
        camera.plug_in()

    with watched(camera) as source:
        items = iter(source)
        next(items)
        camera.plug_out()
        until_fault(items)
        booting = threading.Thread(target=boots)
        booting.start()
        assert isinstance(next(items), Frame)
        booting.join()


def test_joining_a_camera_that_is_watched_already_loses_nothing(camera: RtspCamera) -> None:
    with watched(camera) as first:
        next(iter(first))
        for _ in range(4):
            with watched(camera) as source:
                assert all(isinstance(item, Frame) for item in islice(source, 10))


@pytest.mark.parametrize("kind", sorted(set(av.error.classes.values()), key=lambda kind: kind.__name__))
def test_no_error_of_ffmpegs_is_told_with_its_url(kind: type[Exception]) -> None:
    uri = "rtsp://admin:s3cret@127.0.0.1/1"
    camera = CameraKind(uri, rtsp_address(uri), PATIENCE)
    lost = camera.why(kind(5, "Broken: input", "rtsp://admin:s3cret@127.0.0.1:554/1"))
    assert PASSWORD not in f"{lost.what}{lost.remedy}"
    assert lost.what


@pytest.mark.parametrize("state", ["gives frames", "is frozen", "is not there", "has no name", "is waited for"])
def test_closing_ends_a_blocked_read(state: str) -> None:
    camera = RtspCamera()
    host = "no-such-camera.invalid" if state == "has no name" else f"127.0.0.1:{camera.port}"
    patience = Patience(first_pause_s=60.0) if state == "is waited for" else Patience()
    source = open_rtsp(f"rtsp://{host}/ball", "front", patience)
    began = threading.Event()
    ended_s: list[float] = []

    def read() -> None:
        for _ in source:
            began.set()
        ended_s.append(time.monotonic())

    if state in ("gives frames", "is frozen"):
        camera.plug_in()
    if state == "is frozen":
        camera.freeze()
    reading = threading.Thread(target=read)
    reading.start()
    if state == "is frozen":
        time.sleep(0.5)
    else:
        assert began.wait(WAIT_S)
    closed_s = time.monotonic()
    source.close()
    reading.join(WAIT_S)
    camera.plug_out()
    assert not reading.is_alive()
    assert ended_s[0] - closed_s < 5 <= Patience().stall_s, "sooner than it would have given up by itself"


def test_leaving_closes_the_connection(camera: RtspCamera) -> None:
    with watched(camera) as source:
        next(iter(source))
    until_s = time.monotonic() + WAIT_S
    while any(thread.name == "camera-front" for thread in threading.enumerate()):
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_no_password_is_told(camera: RtspCamera, capfd: pytest.CaptureFixture[str]) -> None:
    uri = f"front={camera.uri('/ball?password=s3cret', user='admin:s3cret')}"
    told = []
    with open_source(uri) as source:
        told += [repr(source.info), repr(source), repr(source.__dict__)]
        items = iter(source)
        told.append(repr(next(items)))
        camera.plug_out()
        told.append(until_fault(items)[1].reason)
    output = capfd.readouterr()
    assert PASSWORD not in "".join([*told, output.out, output.err])


def test_a_name_that_is_not_known_is_said() -> None:
    with open_rtsp("rtsp://admin:s3cret@no-such-camera.invalid/1", "front", PATIENCE) as source:
        fault = next(iter(source))
    assert isinstance(fault, Fault)
    assert "the name no-such-camera.invalid is not known" in fault.reason
    assert PASSWORD not in fault.reason


def test_pauses_grow_up_to_a_bound() -> None:
    """Counted at a port that hangs up: pauses of 0.1, 0.2, 0.4, 0.4 ... leave less than twenty attempts in 3 s."""
    attempts = 0
    with socket.create_server(("127.0.0.1", free_port())) as listening:
        listening.settimeout(0.1)
        source = open_rtsp(f"rtsp://127.0.0.1:{listening.getsockname()[1]}/1", "front", PATIENCE)
        items: list[Item] = []
        reading = threading.Thread(target=lambda: items.extend(source))
        reading.start()
        until_s = time.monotonic() + 3.0
        while time.monotonic() < until_s:
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            connection.close()
            attempts += 1
        source.close()
        reading.join(WAIT_S)
    assert 2 <= attempts < 20
    assert len(items) == 1
