"""Publisher and subscriber over real sockets on loopback: nothing is lost in silence, and nobody waits."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import psutil
import pytest
import zmq

from engines.results import Detections
from perception.errors import StreamError, UsageError
from perception.message import FrameMessage, NetworkInfo, Status, decode_message
from perception.message.encoding import BodyEncoder, encode_tail
from perception.stream import NullPublisher, Outbox, Publisher, Subscriber
from perception.stream.continuity import Continuity
from perception.stream.publisher import SEND_QUEUE_MESSAGES
from perception.stream.stream_subscriber import MOST_MESSAGE_BYTES

FRONT, REAR = "detections/front/", "detections/rear/"
WAIT_S = 5.0  # long enough for a busy machine; nothing waits so long where all is well
NEVER = threading.Event()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:0") as publisher:
        yield publisher


@pytest.fixture
def read(publisher: Publisher) -> Iterator[Callable[..., Subscriber]]:
    """Opens a subscriber of the publisher and returns it once its subscription has arrived."""
    with ExitStack() as opened:

        def connected(**options: object) -> Subscriber:
            before = publisher.readers
            options = {"timeout_s": WAIT_S} | options
            subscriber = opened.enter_context(Subscriber(publisher.endpoint, **options))  # type: ignore[arg-type]
            assert publisher.wait_for_readers(before + 1, NEVER, WAIT_S)
            return subscriber

        yield connected


def outbox_of(sender: Publisher | NullPublisher) -> Outbox:
    return Outbox([NetworkInfo("road", "ab" * 32, "onnxruntime")], [("person",)], sender)


def send(outbox: Outbox, *frames: int, sensor: str = "front") -> list[bytes]:
    return [
        outbox.send(
            sensor=sensor,
            frame_sequence=frame,
            stamp_ns=frame * 100,
            width=640,
            height=480,
            status=Status.OK,
            detections=[Detections.empty()],
            ledger={"arrival_ns": 1},
        )
        for frame in frames
    ]


def payload(sequence: int, session: str = "one", sensor: str = "front", status: Status = Status.OK) -> bytes:
    body = BodyEncoder([], []).encode(
        sequence=sequence, sensor=sensor, frame_sequence=sequence, stamp_ns=0, status=status
    )
    return body + encode_tail(session, None)


def message(*args: object, **options: object) -> FrameMessage:
    return decode_message(payload(*args, **options))  # type: ignore[arg-type]


def readers_become(publisher: Publisher, count: int) -> bool:
    """Wait until so many readers are left."""
    deadline_s = time.monotonic() + WAIT_S
    while publisher.readers != count and time.monotonic() < deadline_s:
        publisher.wait_for_readers(sys.maxsize, NEVER, 0.01)
    return publisher.readers == count


# --- what is sent is received --------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["tcp://127.0.0.1:0", "tcp://localhost:*", "tcp://[::1]:0", "ipc"])
def test_every_message_arrives_in_order_until_the_end(scheme: str, tmp_path: Path) -> None:
    if "[" in scheme and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    endpoint = f"ipc://{tmp_path}/stream" if scheme == "ipc" else scheme
    with Publisher(endpoint) as publisher, Subscriber(publisher.endpoint, timeout_s=WAIT_S) as subscriber:
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        outbox = outbox_of(publisher)
        sent = send(outbox, *range(50))
        outbox.end("front", 50, 5000)
        received = list(subscriber)
    assert [m.frame_sequence for m in received] == list(range(50))
    assert {m.session for m in received} == {outbox.session}
    assert decode_message(sent[7]).stamp_ns == received[7].stamp_ns == 700
    assert (subscriber.received, subscriber.lost, subscriber.ended) == (50, {}, True)


def test_close_waits_until_what_was_sent_has_left(publisher: Publisher) -> None:
    count, bulk = 2000, bytes(20_000)  # 40 MB: more than the connection holds while nobody reads
    with zmq.Context() as context, context.socket(zmq.SUB) as late:
        late.rcvhwm = 10
        late.linger = 0
        late.rcvtimeo = int(WAIT_S * 1000)
        late.subscribe(FRONT)
        late.connect(publisher.endpoint)
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        for _ in range(count):
            publisher.send(FRONT, bulk)
        closing = threading.Thread(target=publisher.close)
        closing.start()
        received = [late.recv_multipart()[1] for _ in range(count)]
        closing.join()
    assert received == [bulk] * count


def test_reading_ends_when_all_topics_have_ended(read: Callable[..., Subscriber], publisher: Publisher) -> None:
    subscriber, outbox = read(), outbox_of(publisher)
    send(outbox, 0, sensor="front")
    send(outbox, 0, sensor="rear")
    outbox.end("front", 1, 0)
    send(outbox, 1, sensor="rear")
    outbox.end("rear", 2, 0)
    assert [(m.sensor, m.sequence) for m in subscriber] == [("front", 0), ("rear", 0), ("rear", 1)]
    assert subscriber.position[FRONT] == (outbox.session, 1)  # the end is numbered too


def test_a_topic_is_read_alone(read: Callable[..., Subscriber], publisher: Publisher) -> None:
    subscriber, outbox = read(topic="detections/cam1/"), outbox_of(publisher)
    send(outbox, 0, sensor="cam10")
    send(outbox, 0, sensor="cam1")
    outbox.end("cam10", 1, 0)
    outbox.end("cam1", 1, 0)
    assert [m.sensor for m in subscriber] == ["cam1"]


def test_following_goes_on_with_the_next_start(read: Callable[..., Subscriber], publisher: Publisher) -> None:
    subscriber = read(follow=True)
    for _ in range(2):
        outbox = outbox_of(publisher)
        send(outbox, 0)
        outbox.end("front", 1, 0)
    sessions = [next(subscriber).session, next(subscriber).session]
    assert sessions[1] == outbox.session != sessions[0]
    assert subscriber.restarts == 1
    assert subscriber.lost == {}


def test_the_newest_is_given_and_the_others_are_skipped(read: Callable[..., Subscriber], publisher: Publisher) -> None:
    subscriber, outbox = read(newest=True), outbox_of(publisher)
    send(outbox, *range(100))
    send(outbox, *range(10), sensor="rear")
    outbox.end("front", 100, 0)
    outbox.end("rear", 10, 0)
    time.sleep(0.3)  # a reader that is busy meanwhile
    assert [(m.sensor, m.sequence) for m in subscriber] == [("front", 99), ("rear", 9)]
    assert (subscriber.received, subscriber.skipped, subscriber.lost) == (2, 108, {})


# --- what is lost is counted ---------------------------------------------------------------------------


def test_a_gap_is_a_loss(publisher: Publisher, read: Callable[..., Subscriber]) -> None:
    subscriber = read()
    for sequence in (0, 1, 4):
        publisher.send(FRONT, payload(sequence))
    publisher.send(FRONT, payload(6, status=Status.END_OF_STREAM))
    assert [m.sequence for m in subscriber] == [0, 1, 4]
    assert subscriber.lost == {FRONT: 3}


def continuity_of(*messages: FrameMessage, resume_from: dict[str, tuple[str, int]] | None = None) -> Continuity:
    continuity = Continuity(resume_from)
    for each in messages:
        assert continuity.admit(each)
    return continuity


def test_joining_late_is_no_loss() -> None:
    continuity = continuity_of(message(40), message(41), message(7, sensor="rear"))
    assert continuity.lost == {}
    assert continuity.position == {FRONT: ("one", 41), REAR: ("one", 7)}


def test_after_a_restart_what_came_before_the_first_message_seen_is_lost() -> None:
    continuity = continuity_of(message(40), message(3, "two"), message(5, "two", "rear"), message(4, "two"))
    assert continuity.lost == {FRONT: 3, REAR: 5}
    assert continuity.restarts == 1


def test_a_reader_that_resumes_counts_what_came_in_between() -> None:
    continuity = continuity_of(message(45), resume_from={FRONT: ("one", 41)})
    assert continuity.lost == {FRONT: 3}
    assert continuity.restarts == 0


def test_a_reader_that_resumes_notices_a_restart() -> None:
    continuity = continuity_of(message(2, "two"), resume_from={FRONT: ("one", 41)})
    assert continuity.lost == {FRONT: 2}
    assert continuity.restarts == 1


def test_a_new_session_is_open_again() -> None:
    continuity = continuity_of(message(0), message(1, status=Status.END_OF_STREAM))
    assert continuity.ended
    assert continuity.admit(message(0, "two"))
    assert not continuity.ended


def test_a_topic_that_a_restart_left_behind_is_not_waited_for() -> None:
    continuity = continuity_of(message(0), message(0, sensor="rear"), message(0, "two"))
    assert continuity.admit(message(1, "two", status=Status.END_OF_STREAM))
    assert continuity.ended


def test_a_sequence_that_goes_back_is_refused() -> None:
    continuity = continuity_of(message(5))
    assert not continuity.admit(message(5))
    assert not continuity.admit(message(4))
    assert continuity.admit(message(6))
    assert continuity.lost == {}


def test_a_reader_resumes_where_another_stopped(publisher: Publisher, read: Callable[..., Subscriber]) -> None:
    outbox = outbox_of(publisher)
    with read() as first:
        send(outbox, 0)
        next(first)
    send(outbox, 1, 2)
    assert readers_become(publisher, 0)
    second = read(resume_from=first.position)
    send(outbox, 3)
    assert next(second).sequence == 3
    assert second.lost == {FRONT: 2}


def test_a_publisher_that_starts_again_is_found_again(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/stream"
    received: list[FrameMessage] = []
    with Subscriber(endpoint, follow=True, timeout_s=WAIT_S) as subscriber:
        # In a thread: ZeroMQ subscribes again only while the reader is in `receive`.
        reading = threading.Thread(target=lambda: received.extend(islice(subscriber, 2)))
        reading.start()
        for _ in range(2):
            with Publisher(endpoint) as publisher:
                assert publisher.wait_for_readers(1, NEVER, WAIT_S)
                send(outbox_of(publisher), 0)
        reading.join()
    assert [m.sequence for m in received] == [0, 0]
    assert subscriber.restarts == 1
    assert subscriber.lost == {}


# --- what is none of ours ------------------------------------------------------------------------------


def test_garbage_is_counted_and_passed_over(publisher: Publisher, read: Callable[..., Subscriber]) -> None:
    subscriber = read()
    stranger = publisher._socket
    for parts in (
        [b"detections/"],
        [b"detections/front/", os.urandom(50)],
        [b"detections/front/", payload(0), b"more"],
        [b"detections/rear/", payload(0, sensor="side")],
        [b"detections/", b""],
        [b"detections/\xff\xfe", b"\x00"],
    ):
        stranger.send_multipart(parts)
    publisher.send(FRONT, payload(0))
    publisher.send(FRONT, payload(0))
    publisher.send(FRONT, payload(1, status=Status.END_OF_STREAM))
    assert [m.sequence for m in subscriber] == [0]
    assert subscriber.malformed == 7
    assert "parts" in subscriber.first_malformed
    assert subscriber.lost == {}


def test_a_message_of_absurd_size_is_not_taken_in(publisher: Publisher, read: Callable[..., Subscriber]) -> None:
    subscriber = read()
    publisher.send(FRONT, bytes(MOST_MESSAGE_BYTES + 1))
    assert readers_become(publisher, 0), "whoever sends that is cut off"
    assert subscriber.malformed == 0


@pytest.fixture
def stranger() -> Iterator[str]:
    """A server that answers every connection with bytes that are no ZeroMQ; its endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed below
                    return
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(256)))

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_silence_says_that_the_other_end_speaks_no_zeromq(stranger: str) -> None:
    with (
        Subscriber(stranger, timeout_s=0.5) as subscriber,
        pytest.raises(StreamError, match="not speak ZeroMQ"),
    ):
        next(subscriber)


def test_silence_says_that_nobody_is_there() -> None:
    with (
        Subscriber("tcp://127.0.0.1:1", timeout_s=0.2) as subscriber,
        pytest.raises(StreamError, match=r"tcp://127\.0\.0\.1:1: nothing received for 0\.2 s: no publisher"),
    ):
        next(subscriber)


def test_silence_says_that_a_publisher_is_there(publisher: Publisher, read: Callable[..., Subscriber]) -> None:
    subscriber = read(topic="detections/other/", timeout_s=0.3)
    send(outbox_of(publisher), 0)
    with pytest.raises(StreamError, match="sends nothing on this topic"):
        next(subscriber)
    send(outbox_of(publisher), 0, sensor="other")
    assert subscriber.receive(WAIT_S) is not None  # reading may go on


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, bytes(range(256)) * 16])
def test_raw_bytes_to_a_publisher_do_not_disturb_it(
    publisher: Publisher, read: Callable[..., Subscriber], garbage: bytes
) -> None:
    subscriber = read()
    host, port = publisher.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(garbage)
        send(outbox_of(publisher), 0)
        assert next(subscriber).sequence == 0
    assert readers_become(publisher, 1)


# --- readers -------------------------------------------------------------------------------------------


def test_readers_are_counted_as_they_come_and_go(publisher: Publisher, read: Callable[..., Subscriber]) -> None:
    first = read()
    second = read()
    assert publisher.readers == 2
    first.close()
    second.close()
    assert readers_become(publisher, 0)


def test_a_subscription_to_something_else_is_no_reader(publisher: Publisher) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as other:
        other.linger = 0
        for topic in ("health/", "", "det"):
            other.subscribe(topic)
        other.connect(publisher.endpoint)
        assert publisher.wait_for_readers(2, NEVER, WAIT_S)
        assert not publisher.wait_for_readers(3, NEVER, 0.2)


def test_waiting_for_readers_can_be_stopped(publisher: Publisher) -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    began_s = time.monotonic()
    assert not publisher.wait_for_readers(1, stop, WAIT_S)
    assert time.monotonic() - began_s < WAIT_S


def test_a_reader_that_does_not_read_holds_up_nobody(publisher: Publisher) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as sleeper:
        sleeper.rcvhwm = 10
        sleeper.linger = 0
        sleeper.subscribe("")
        sleeper.connect(publisher.endpoint)
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        before = psutil.Process().memory_info().rss
        bulk, began_s = bytes(2000), time.monotonic()
        for _ in range(50_000):
            publisher.send(FRONT, bulk)
        took_s = time.monotonic() - began_s
        grown = psutil.Process().memory_info().rss - before
        publisher.close()  # gives up after its linger
    assert took_s < 5  # a few tenths; a publisher that waits would never come here
    assert grown < 4 * SEND_QUEUE_MESSAGES * len(bulk)  # 100 MB were sent


# --- closing -------------------------------------------------------------------------------------------


def test_close_from_another_thread_ends_a_blocked_read() -> None:
    subscriber = Subscriber("tcp://127.0.0.1:1")
    threading.Timer(0.1, subscriber.close).start()
    assert list(subscriber) == []
    subscriber.close()
    assert subscriber.receive() is None


# --- addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("open_it", [Publisher, Subscriber])
@pytest.mark.parametrize(
    ("endpoint", "what"),
    [
        ("tcp://*:5555", "needs keys"),
        ("tcp://0.0.0.0:5555", "needs keys"),
        ("tcp://[::]:5555", "needs keys"),
        ("tcp://192.168.1.5:5555", "needs keys"),
        ("tcp://vehicle:5555", "needs keys"),
        ("tcp://127.0.0.1:99999", "no port 99999"),
        ("tcp://127.0.0.1", "is no endpoint"),
        ("127.0.0.1:5555", "is no endpoint"),
        ("udp://127.0.0.1:5555", "is no endpoint"),
        ("", "is no endpoint"),
        ("ipc://", "names no path"),
        ("ipc:///tmp/" + "a" * 200, "longer than 107"),
    ],
)
def test_an_address_that_cannot_be_is_refused_in_words(
    open_it: Callable[[str], object], endpoint: str, what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        open_it(endpoint)


def test_a_reader_has_to_know_the_port_and_a_topic_of_detections() -> None:
    with pytest.raises(UsageError, match="has to know the port"):
        Subscriber("tcp://127.0.0.1:0")
    with pytest.raises(UsageError, match="detections/SENSOR/"):
        Subscriber("tcp://127.0.0.1:5555", "front")


def test_a_port_in_use_is_refused(publisher: Publisher) -> None:
    with pytest.raises(UsageError, match="the port is in use"):
        Publisher(publisher.endpoint)


def test_an_ipc_path_in_use_is_refused(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/stream"
    with Publisher(endpoint), pytest.raises(UsageError, match="a publisher is there already"):
        Publisher(endpoint)


def test_a_file_at_the_ipc_path_is_left_alone(tmp_path: Path) -> None:
    drive = tmp_path / "drive.mp4"
    drive.write_text("precious")
    with pytest.raises(UsageError, match="a file that is no socket"):
        Publisher(f"ipc://{drive}")
    assert drive.read_text() == "precious"


def test_an_ipc_path_without_its_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        Publisher(f"ipc://{tmp_path}/missing/stream")


def test_a_socket_that_a_killed_publisher_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert path.is_socket()
    with Publisher(f"ipc://{path}") as publisher, Subscriber(publisher.endpoint):
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)


# --- without a socket ----------------------------------------------------------------------------------


def test_what_is_sent_nowhere_has_the_same_digest(publisher: Publisher) -> None:
    outboxes = [outbox_of(publisher), outbox_of(NullPublisher())]
    for outbox in outboxes:
        send(outbox, 0, 1)
        outbox.end("front", 2, 200)
    assert outboxes[0].digest() == outboxes[1].digest()
    assert outboxes[0].session != outboxes[1].session
    send(outboxes[0], 3)
    assert outboxes[0].digest() != outboxes[1].digest()


def test_importing_perception_loads_no_zeromq() -> None:
    code = "import sys, perception; assert 'zmq' not in sys.modules; perception.Subscriber; assert 'zmq' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
