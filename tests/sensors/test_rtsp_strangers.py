"""What listens on a camera's port and is none: it is a Fault or an error in words, never a crash and never a hang."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sensors.cameras.reconnecting import Patience
from sensors.cameras.rtsp import open_rtsp
from sensors.errors import SourceError
from sensors.frame import Fault

Stranger = Callable[[socket.socket, random.Random], None]
PATIENCE = Patience(first_picture_s=1.5, stall_s=1.0, first_pause_s=0.05, longest_pause_s=0.1)
WAIT_S = 30.0

_SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    b"a=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)


def says_nothing(stranger: socket.socket, chance: random.Random) -> None:
    while stranger.recv(4096):
        pass


def hangs_up(stranger: socket.socket, chance: random.Random) -> None:
    stranger.recv(4096)


def answers_noise(stranger: socket.socket, chance: random.Random) -> None:
    stranger.recv(4096)
    stranger.sendall(chance.randbytes(chance.randrange(3000)))


def never_stops(stranger: socket.socket, chance: random.Random) -> None:
    while True:
        stranger.sendall(chance.randbytes(4096))


def sends_empty_lines(stranger: socket.socket, chance: random.Random) -> None:
    while True:
        stranger.sendall(b"\r\n" * 500)


def drips(stranger: socket.socket, chance: random.Random) -> None:
    while True:
        stranger.sendall(b"R")
        threading.Event().wait(0.02)


def speaks_http(stranger: socket.socket, chance: random.Random) -> None:
    stranger.recv(4096)
    stranger.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def sends_packets_of_nothing(stranger: socket.socket, chance: random.Random) -> None:
    while True:
        stranger.sendall(b"$\x00\xff\xff" + bytes(65535))


def answers_half_truths(stranger: socket.socket, chance: random.Random) -> None:
    """Sound RTSP with a broken or random body, and after PLAY random RTP packets."""
    while request := stranger.recv(4096):
        method = request.split(b" ", 1)[0]
        number = request.split(b"CSeq: ")[1].split(b"\r\n")[0] if b"CSeq: " in request else b"0"
        body = b""
        if method == b"DESCRIBE":
            body = chance.choice([_SDP, _SDP[: chance.randrange(len(_SDP))], chance.randbytes(200)])
        head = b"RTSP/1.0 200 OK\r\nCSeq: " + number + b"\r\nSession: 1\r\nContent-Type: application/sdp\r\n"
        head += b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        stranger.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        if method == b"PLAY":
            for count in range(400):
                packet = bytes([0x80, 96]) + count.to_bytes(2, "big") + chance.randbytes(chance.randrange(400))
                stranger.sendall(bytes([36, chance.randrange(3)]) + len(packet).to_bytes(2, "big") + packet)


STRANGERS = [
    says_nothing,
    hangs_up,
    answers_noise,
    never_stops,
    sends_empty_lines,
    drips,
    speaks_http,
    sends_packets_of_nothing,
    answers_half_truths,
]


@contextmanager
def listening(stranger: Stranger, seed: int) -> Iterator[int]:
    server = socket.create_server(("127.0.0.1", 0))
    chance = random.Random(seed)
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        try:
            stranger(connection, chance)
        except OSError:
            pass  # the reader went, or the test is over
        finally:
            connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        accepting.join(WAIT_S)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def read_on(stranger: Stranger, seed: int) -> list[str]:
    """Read for some attempts; give the reasons of all Faults, or what ended it."""
    told: list[str] = []
    enough = threading.Event()
    with listening(stranger, seed) as port:
        source = open_rtsp(f"rtsp://admin:s3cret@127.0.0.1:{port}/1", "front", PATIENCE)

        def read() -> None:
            try:
                for item in source:
                    if isinstance(item, Fault):
                        told.append(item.reason)
                        enough.set()
            except SourceError as error:
                told.append(str(error))
            enough.set()

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        assert enough.wait(WAIT_S), "nothing was said"
        source.close()
        reading.join(WAIT_S)
        assert not reading.is_alive(), "close() did not end it"
        until_s = time.monotonic() + WAIT_S
        while any(thread.name == "camera-front" for thread in threading.enumerate()):
            assert time.monotonic() < until_s, "the connection is kept for ever"
            time.sleep(0.02)
    return told


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda stranger: stranger.__name__)
def test_a_stranger_is_told_from_a_camera_in_words(stranger: Stranger) -> None:
    told = read_on(stranger, seed=1)
    assert all(reason.startswith(("rtsp://127.0.0.1:", "packet ")) for reason in told)
    assert "s3cret" not in "".join(told)


@pytest.mark.parametrize("seed", range(2, 14))
@pytest.mark.parametrize("stranger", [answers_noise, answers_half_truths], ids=lambda stranger: stranger.__name__)
def test_no_noise_breaks_or_hangs_it(stranger: Stranger, seed: int) -> None:
    assert read_on(stranger, seed)
