"""A stream with keys over real sockets: who is on the list reads, everybody else gets nothing and is told why."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from late_wire import LateWire

from perception.errors import RefusedError, StreamError, UsageError
from perception.message import NetworkInfo, Status
from perception.stream import Outbox, Publisher, Subscriber
from perception.stream.keys import ReaderList, load_pair, load_public, new_keys
from perception.stream.question import Question

WAIT_S = 10.0
NEVER = threading.Event()
ANYWHERE = "tcp://0.0.0.0:0"
COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()"]


class Keys:
    """A publisher's and a reader's folders, the reader on the list."""

    def __init__(self, place: Path) -> None:
        self.vehicle, self.laptop, self.stranger = (new_keys(n, place) for n in ("vehicle", "laptop", "stranger"))
        self.server = self.vehicle / "vehicle.key"
        self.allow(self.laptop)

    def allow(self, reader: Path) -> Path:
        return Path(shutil.copy(reader / f"{reader.name}.key", self.vehicle / "readers"))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def publisher(keys: Keys) -> Iterator[Publisher]:
    with Publisher(ANYWHERE, keys=keys.vehicle) as publisher:
        yield publisher


def send(publisher: Publisher, *frames: int) -> None:
    outbox = Outbox([NetworkInfo("road", "ab" * 32, "onnxruntime")], [("person",)], publisher)
    for frame in frames:
        outbox.send(sensor="front", frame_sequence=frame, stamp_ns=frame, width=4, height=4, status=Status.OK)


def reader_of(publisher: Publisher, keys: Keys, own: Path | None = None, server: Path | None = None) -> Subscriber:
    return Subscriber(
        publisher.endpoint.replace("0.0.0.0", "localhost"),
        timeout_s=WAIT_S,
        keys=own or keys.laptop,
        server_key=server or keys.server,
    )


def reads(publisher: Publisher, reader: Subscriber) -> bool:
    assert publisher.wait_for_readers(1, NEVER, WAIT_S)
    send(publisher, 7)
    return next(reader).frame_sequence == 7


# --- who comes in --------------------------------------------------------------------------------------


def test_a_listed_reader_reads_off_loopback(publisher: Publisher, keys: Keys) -> None:
    with reader_of(publisher, keys) as reader:
        assert reads(publisher, reader)


def test_keys_guard_loopback_and_ipc_too(keys: Keys, tmp_path: Path) -> None:
    with Publisher(f"ipc://{tmp_path}/stream", keys=keys.vehicle) as publisher:
        with reader_of(publisher, keys, own=keys.stranger) as reader, pytest.raises(RefusedError, match="not on the"):
            next(reader)
        with reader_of(publisher, keys) as reader:
            assert reads(publisher, reader)


def test_a_reader_that_is_not_on_the_list_is_told(
    publisher: Publisher, keys: Keys, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        reader_of(publisher, keys, own=keys.stranger) as reader,
        pytest.raises(RefusedError, match=r"not on the list; copy this side's NAME\.key"),
    ):
        next(reader)
    assert publisher.readers == 0
    public = load_public(keys.stranger / "stranger.key").decode()
    assert f"refused a reader from 127.0.0.1: its key {public} is not on the list" in capfd.readouterr().err


def test_a_reader_with_a_wrong_server_key_is_told(publisher: Publisher, keys: Keys) -> None:
    wrong = keys.stranger / "stranger.key"
    with reader_of(publisher, keys, server=wrong) as reader, pytest.raises(RefusedError, match="check --server-key"):
        next(reader)
    assert publisher.readers == 0


def test_a_reader_without_keys_is_told(publisher: Publisher) -> None:
    endpoint = publisher.endpoint.replace("0.0.0.0", "127.0.0.1")
    with Subscriber(endpoint, timeout_s=WAIT_S) as reader, pytest.raises(RefusedError, match="give --keys"):
        next(reader)
    assert publisher.readers == 0


@pytest.fixture
def late(publisher: Publisher) -> Iterator[str]:
    """The publisher's address on a busy machine."""
    with LateWire(int(publisher.endpoint.rsplit(":", 1)[1])) as wire:
        yield f"tcp://127.0.0.1:{wire.port}"


def test_a_reader_without_keys_is_told_by_a_busy_publisher_too(publisher: Publisher, late: str) -> None:
    """It hangs up before it has said that it wants keys, as a server does that speaks no ZeroMQ."""
    with Subscriber(late, timeout_s=WAIT_S) as reader, pytest.raises(RefusedError, match="give --keys"):
        next(reader)
    assert publisher.readers == 0


def test_a_reader_with_keys_is_let_in_by_a_busy_publisher(publisher: Publisher, keys: Keys, late: str) -> None:
    with Subscriber(late, timeout_s=WAIT_S, keys=keys.laptop, server_key=keys.server) as reader:
        assert reads(publisher, reader)


def test_what_hung_up_at_first_is_no_verdict_on_a_publisher_that_comes_later(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with LateWire(port) as wire, Subscriber(f"tcp://127.0.0.1:{wire.port}") as reader:
        with pytest.raises(StreamError, match="does not speak ZeroMQ"):
            reader.receive(0.5)
        with Publisher(f"tcp://127.0.0.1:{port}", keys=keys.vehicle), pytest.raises(RefusedError, match="give --keys"):
            reader.receive(WAIT_S)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "ipc://"])
@pytest.mark.parametrize("wants_keys", [True, False])
def test_a_publisher_can_be_asked_whether_it_wants_keys(
    keys: Keys, tmp_path: Path, address: str, wants_keys: bool
) -> None:
    try:
        publisher = Publisher(
            f"ipc://{tmp_path}/stream" if address == "ipc://" else address, keys=keys.vehicle if wants_keys else None
        )
    except UsageError:
        pytest.skip(f"cannot listen on {address}")
    with publisher, zmq.Context() as context:
        question = Question(context, publisher.endpoint, ipv6="[" in address)
        ends_s = time.monotonic() + WAIT_S
        while question.wants_keys is None and time.monotonic() < ends_s:
            question.update()
        question.close()
        assert question.wants_keys is wants_keys
        assert not publisher.wait_for_readers(1, NEVER, 0.1)  # who only asks is none


def test_a_reader_with_keys_is_told_that_the_publisher_has_none(keys: Keys) -> None:
    with (
        Publisher("tcp://127.0.0.1:0") as publisher,
        reader_of(publisher, keys) as reader,
        pytest.raises(RefusedError, match="or it uses none"),
    ):
        next(reader)


def test_the_list_changes_without_a_restart(publisher: Publisher, keys: Keys) -> None:
    with reader_of(publisher, keys, own=keys.stranger) as refused, pytest.raises(RefusedError):
        next(refused)
    listed = keys.allow(keys.stranger)
    with reader_of(publisher, keys, own=keys.stranger) as reader:
        assert reads(publisher, reader)
        listed.unlink()
        with reader_of(publisher, keys, own=keys.stranger) as again, pytest.raises(RefusedError):
            next(again)
        send(publisher, 8)
        assert next(reader).frame_sequence == 8  # who is in stays in


def test_a_damaged_list_lets_nobody_else_in_and_is_said(
    keys: Keys, publisher: Publisher, capfd: pytest.CaptureFixture[str]
) -> None:
    (keys.vehicle / "readers" / "junk.key").write_bytes(os.urandom(300))
    with reader_of(publisher, keys) as reader:
        assert reads(publisher, reader)
    assert "junk.key: is no file of CURVE keys" in capfd.readouterr().err
    shutil.rmtree(keys.vehicle / "readers")
    with reader_of(publisher, keys) as reader, pytest.raises(RefusedError, match="not on the list"):
        next(reader)


def test_without_keys_only_insecure_leaves_the_machine(capfd: pytest.CaptureFixture[str]) -> None:
    with Publisher(ANYWHERE, insecure=True) as publisher:
        assert "has no keys: whoever reaches it can read it" in capfd.readouterr().err
        with Subscriber(publisher.endpoint, timeout_s=WAIT_S, insecure=True) as reader:
            assert reads(publisher, reader)
    with pytest.raises(UsageError, match="keys new NAME"):
        Publisher(ANYWHERE)
    with pytest.raises(UsageError, match="keys new NAME"):
        Subscriber("tcp://192.0.2.1:5555")


def test_a_reader_needs_both_keys(keys: Keys) -> None:
    with pytest.raises(UsageError, match="--server-key"):
        Subscriber("tcp://127.0.0.1:1", keys=keys.laptop)
    with pytest.raises(UsageError, match="--keys FOLDER"):
        Subscriber("tcp://127.0.0.1:1", server_key=keys.server)


# --- who means harm ------------------------------------------------------------------------------------


def test_garbage_gets_nothing_and_disturbs_nobody(publisher: Publisher, keys: Keys) -> None:
    port = int(publisher.endpoint.rsplit(":", 1)[1])
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + b"\0" + bytes(31)
    with reader_of(publisher, keys) as reader:
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", greeting + os.urandom(500), greeting, os.urandom(5000), b""):
            with socket.create_connection(("127.0.0.1", port)) as raw, suppress(OSError):
                raw.settimeout(0.1)
                raw.sendall(garbage)
                assert b"front" not in raw.recv(100_000)
        assert reads(publisher, reader)


def test_thousands_of_connects_do_not_disturb_it(publisher: Publisher, keys: Keys) -> None:
    port = int(publisher.endpoint.rsplit(":", 1)[1])
    with reader_of(publisher, keys) as reader:
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        for _ in range(2000):
            socket.create_connection(("127.0.0.1", port)).close()
        assert reads(publisher, reader)
    assert publisher.readers <= 1


def test_a_reader_that_does_not_read_holds_up_nobody(publisher: Publisher, keys: Keys) -> None:
    pair = load_pair(keys.laptop)
    with zmq.Context() as context, context.socket(zmq.SUB) as sleeper:
        sleeper.rcvhwm, sleeper.linger = 10, 0
        sleeper.curve_publickey, sleeper.curve_secretkey = pair.public, pair.secret
        sleeper.curve_serverkey = load_public(keys.server)
        sleeper.subscribe("")
        sleeper.connect(publisher.endpoint.replace("0.0.0.0", "127.0.0.1"))
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        began_s = time.monotonic()
        for _ in range(50_000):
            publisher.send("detections/front/", bytes(2000))
        took_s = time.monotonic() - began_s
        publisher.close()
    assert took_s < WAIT_S  # a publisher that waits would never come here


# --- key files -----------------------------------------------------------------------------------------


def test_new_keys_are_their_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    folder = new_keys("vehicle", tmp_path / "keys")
    assert stat.S_IMODE((folder / "vehicle.key_secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    pair = load_pair(folder)
    assert load_public(folder / "vehicle.key") == pair.public == zmq.curve_public(pair.secret)
    assert pair.secret.decode() not in repr(pair) + (folder / "vehicle.key").read_text()
    with pytest.raises(UsageError, match="never overwritten"):
        new_keys("vehicle", tmp_path / "keys")
    assert load_pair(folder) == pair
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["vehicle"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "-\n", ".hidden", "a" * 65])
def test_names_that_are_no_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name for keys"):
        new_keys(name, tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_secret_key_that_others_can_read_is_refused(keys: Keys, mode: int) -> None:
    secret = keys.vehicle / "vehicle.key_secret"
    secret.chmod(mode)
    with pytest.raises(UsageError, match=f"can be read by others .*{mode:04o}.*chmod 600"):
        Publisher(ANYWHERE, keys=keys.vehicle)


def test_wrong_key_files_are_refused_in_words(keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="never handed over"):
        load_public(keys.laptop / "laptop.key_secret")
    with pytest.raises(UsageError, match=r"cannot be read|is no file"):
        load_public(tmp_path / "missing.key")
    with pytest.raises(UsageError, match="is no folder of keys"):
        load_pair(tmp_path / "missing")
    with pytest.raises(UsageError, match="holds no secret key"):
        load_pair(keys.vehicle / "readers")
    shutil.copy(keys.laptop / "laptop.key_secret", keys.vehicle)
    with pytest.raises(UsageError, match="more than one"):
        load_pair(keys.vehicle)
    (keys.vehicle / "laptop.key_secret").unlink()
    secret = keys.vehicle / "vehicle.key_secret"
    other = load_pair(keys.laptop).public.decode()
    secret.write_text(secret.read_text().replace(load_public(keys.server).decode(), other))
    with pytest.raises(UsageError, match="does not belong"):
        load_pair(keys.vehicle)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda b: b'public-key = "' + b + b'"\n')))
def test_no_bytes_in_a_key_file_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("list")
    (folder / "readers").mkdir()
    path = folder / "readers" / "a.key"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        load_public(path)
    readers = ReaderList(folder)
    assert readers.allowed() == frozenset()
    assert len(readers.problems) == 1


# --- the commands --------------------------------------------------------------------------------------


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=2 * WAIT_S, check=False
    )


def test_keys_new_as_a_command(tmp_path: Path) -> None:
    made = run("keys", "new", "car", "-o", tmp_path)
    assert (made.returncode, made.stdout.split(":")[0]) == (0, f"wrote {tmp_path}/car")
    again = run("keys", "new", "car", "-o", tmp_path)
    assert again.returncode == 2
    assert again.stderr.startswith(f"error: {tmp_path}/car: exists already")


def test_subscribe_says_why_it_is_refused(publisher: Publisher, keys: Keys) -> None:
    endpoint = publisher.endpoint.replace("0.0.0.0", "127.0.0.1")
    unlisted = run("subscribe", endpoint, "--keys", keys.stranger, "--server-key", keys.server)
    assert unlisted.returncode == 2
    assert f"error: {endpoint}: the publisher refused this reader: its key is not on the list" in unlisted.stderr
    wrong = run("subscribe", endpoint, "--keys", keys.laptop, "--server-key", keys.laptop / "laptop.key")
    assert wrong.returncode == 2
    assert "check --server-key" in wrong.stderr
