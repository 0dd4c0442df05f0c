"""Health and previews beside detections on one real socket: who reads what, how it ends, and what misuse can do."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest
import zmq
from made_stream import NEVER, WAIT_S, MadeStream, boxes

from perception.errors import UsageError
from perception.message import FrameMessage, HealthMessage, Message, PreviewMessage
from perception.stream import HealthSubscriber, Publisher, StreamSubscriber, Subscriber
from perception.stream.publisher import SEND_QUEUE_MESSAGES

ALL = ("detections/", "health/", "preview/")
PREVIEW = "preview/front/"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:0") as publisher:
        publisher.offer([PREVIEW, "preview/front2/"])
        yield publisher


def until(publisher: Publisher, arrived: bool, topic: str = PREVIEW) -> bool:
    """Wait until it is so that the topic is wanted, or not."""
    deadline_s = time.monotonic() + WAIT_S
    while publisher.is_wanted(topic) != arrived and time.monotonic() < deadline_s:
        publisher.wait_for_readers(10**9, NEVER, 0.01)
    return publisher.is_wanted(topic) == arrived


def played(publisher: Publisher) -> None:
    stream = MadeStream(publisher)
    stream.health()
    for number in range(3):
        stream.frame(number, boxes((1, 2, 3, 4)))
        stream.preview(number)
    stream.outbox.end("front", 3, 0)
    stream.health(last=True)


def test_a_reader_of_detections_gets_nothing_else(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, timeout_s=WAIT_S) as reader:
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        played(publisher)
        received = list(reader)
    assert [type(message) for message in received] == [FrameMessage] * 3
    assert (reader.malformed, reader.lost, reader.ended) == (0, {}, True)


def test_one_reader_can_have_all_kinds_to_the_last_word(publisher: Publisher) -> None:
    with StreamSubscriber[Message](publisher.endpoint, ALL, timeout_s=WAIT_S) as reader:
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        assert until(publisher, True)
        played(publisher)
        received = list(reader)
    kinds = Counter(type(message) for message in received)
    assert kinds == {FrameMessage: 3, PreviewMessage: 3, HealthMessage: 2}
    assert isinstance(received[-1], HealthMessage)
    assert received[-1].last
    assert (reader.malformed, reader.lost, reader.ended) == (0, {}, True)


def test_a_reader_of_health_ends_with_its_last_word(publisher: Publisher) -> None:
    publisher.offer(["health/"])  # so that the test sees its subscription come
    with HealthSubscriber(publisher.endpoint, timeout_s=WAIT_S) as reader:
        assert until(publisher, True, "health/")
        played(publisher)
        assert [message.last for message in reader] == [False, True]
    assert publisher.readers == 0


def test_previews_alone_have_no_end(publisher: Publisher) -> None:
    with StreamSubscriber[PreviewMessage](publisher.endpoint, [PREVIEW]) as reader:
        assert until(publisher, True)
        played(publisher)
        assert [message.frame_sequence for message in (reader.receive(WAIT_S) for _ in range(3)) if message] == [
            0,
            1,
            2,
        ]
        assert not reader.ended


def test_a_preview_before_the_first_detections_is_no_end(publisher: Publisher) -> None:
    with StreamSubscriber[Message](publisher.endpoint, ALL, timeout_s=WAIT_S) as reader:
        assert until(publisher, True)
        stream = MadeStream(publisher)
        stream.preview(0)
        stream.frame(1)
        stream.outbox.end("front", 2, 0)
        assert [type(message) for message in reader] == [PreviewMessage, FrameMessage]


def test_a_restart_after_an_end_is_not_at_its_end(publisher: Publisher) -> None:
    with StreamSubscriber[Message](publisher.endpoint, ALL, follow=True) as reader:
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        played(publisher)
        MadeStream(publisher).preview(0)
        received = [reader.receive(WAIT_S) for _ in range(9)]
    assert isinstance(received[-1], PreviewMessage)
    assert not reader.ended
    assert reader.restarts == 1


def test_lost_previews_and_healths_are_counted_by_their_topics(publisher: Publisher) -> None:
    class Lossy:
        endpoint = publisher.endpoint
        lost = 0

        def send(self, topic: str, payload: bytes) -> None:
            self.lost += 1
            if self.lost not in (4, 6):
                publisher.send(topic, payload)

    with StreamSubscriber[Message](publisher.endpoint, ALL, timeout_s=WAIT_S) as reader:
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        stream = MadeStream(Lossy())  # type: ignore[arg-type]
        stream.health()
        for number in range(2):
            stream.preview(number)
        stream.preview(2)  # lost
        stream.preview(3)
        stream.health()  # lost
        stream.health(last=True)
        received = list(reader)
    assert len(received) == 5
    assert reader.lost == {PREVIEW: 1, "health/": 1}


@pytest.mark.parametrize("topic", ["", "det", "healthy/", "front", "previews/"])
def test_a_topic_of_no_kind_is_refused(topic: str) -> None:
    with pytest.raises(UsageError, match=r"use detections/SENSOR/, health/ or preview/SENSOR/"):
        StreamSubscriber("tcp://127.0.0.1:5555", [topic])
    with pytest.raises(UsageError, match="HealthSubscriber"):
        Subscriber("tcp://127.0.0.1:5555", "health/")


# --- topics that are made on demand ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "front", "front2"),
    [("preview/front/", 1, 0), ("preview/front", 1, 1), ("preview/", 1, 1), ("", 1, 1), ("detections/", 0, 0)],
)
def test_a_preview_is_wanted_while_somebody_has_subscribed_to_it(
    publisher: Publisher, topic: str, front: int, front2: int
) -> None:
    assert not publisher.is_wanted(PREVIEW)
    with zmq.Context() as context:
        with context.socket(zmq.SUB) as reader:
            reader.linger = 0
            reader.subscribe(topic)
            reader.subscribe("detections/")
            reader.connect(publisher.endpoint)
            assert publisher.wait_for_readers(1, NEVER, WAIT_S)
            assert until(publisher, bool(front))
            assert publisher.is_wanted("preview/front2/") == bool(front2)
        publisher.offer([PREVIEW])  # again: who has come is not forgotten
        assert publisher.is_wanted(PREVIEW) == bool(front)
        assert until(publisher, False)
        assert not publisher.is_wanted("preview/front2/")


def test_one_of_two_that_goes_leaves_the_other_its_previews(publisher: Publisher) -> None:
    first = StreamSubscriber[Message](publisher.endpoint, ALL)
    with StreamSubscriber[Message](publisher.endpoint, ALL):
        assert publisher.wait_for_readers(2, NEVER, WAIT_S)
        assert until(publisher, True)
        first.close()
        deadline_s = time.monotonic() + WAIT_S
        while publisher.readers > 1 and time.monotonic() < deadline_s:
            publisher.wait_for_readers(10**9, NEVER, 0.01)
        time.sleep(0.1)
        publisher.wait_for_readers(10**9, NEVER, 0.01)
        assert publisher.is_wanted(PREVIEW)
    assert until(publisher, False)


def zmtp_command(body: bytes) -> bytes:
    return bytes([4, len(body)]) + body


def zmtp_message(body: bytes) -> bytes:
    return bytes([0, len(body)]) + body


def test_ends_of_subscriptions_that_never_were_count_for_nothing(publisher: Publisher) -> None:
    host, port = publisher.endpoint.removeprefix("tcp://").split(":")
    # By hand (ZMTP 3.0, ZeroMQ RFC 23), since a socket of ZeroMQ's own sends no such thing.
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x05READY\x0bSocket-Type" + (3).to_bytes(4, "big") + b"SUB"
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as hostile:
        hostile.sendall(greeting)
        received = b""
        while len(received) < len(greeting):
            received += hostile.recv(len(greeting) - len(received))
        hostile.sendall(zmtp_command(ready))
        assert b"READY" in hostile.recv(100)
        ends = (zmtp_message(b"\x00preview/") + zmtp_message(b"\x00detections/")) * 20
        hostile.sendall(ends + zmtp_message(b"\x01detections/x/"))
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        with StreamSubscriber[Message](publisher.endpoint, ALL):
            assert publisher.wait_for_readers(2, NEVER, WAIT_S)
            assert until(publisher, True)


# --- who does not read, who floods -------------------------------------------------------------------------


def test_a_reader_of_previews_that_never_reads_holds_up_nobody(publisher: Publisher) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as sleeper:
        sleeper.rcvhwm = 10
        sleeper.linger = 0
        sleeper.subscribe("preview/")
        sleeper.connect(publisher.endpoint)
        assert until(publisher, True)
        with Subscriber(publisher.endpoint, timeout_s=WAIT_S) as reader:
            assert publisher.wait_for_readers(1, NEVER, WAIT_S)
            stream, bulk = MadeStream(publisher), bytes(10_000)
            before = psutil.Process().memory_info().rss
            for number in range(3 * SEND_QUEUE_MESSAGES):
                publisher.send(PREVIEW, bulk)
                if number % 10 == 0:
                    stream.frame(number)
                    assert reader.receive(WAIT_S) is not None  # at once, whatever waits for the sleeper
            grown = psutil.Process().memory_info().rss - before
        assert reader.lost == {}
        publisher.close()
    assert grown < 2 * SEND_QUEUE_MESSAGES * len(bulk)  # three times as much was sent, and went nowhere


def test_a_flood_of_subscriptions_keeps_nobody_from_reading(publisher: Publisher) -> None:
    stop = threading.Event()

    def flood() -> None:
        with zmq.Context() as context, context.socket(zmq.XSUB) as hostile:
            hostile.linger = 0
            hostile.sndtimeo = 50
            hostile.connect(publisher.endpoint)
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    hostile.send(b"\x01preview/%d/" % (number % 1000))
                    hostile.send(b"\x00preview/%d/" % (number % 1000))
                except zmq.Again:
                    continue

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        with StreamSubscriber[Message](publisher.endpoint, ALL, timeout_s=WAIT_S) as reader:
            assert publisher.wait_for_readers(1, NEVER, WAIT_S)
            assert until(publisher, True)
            stream = MadeStream(publisher)
            for number in range(300):
                stream.frame(number)
                message = reader.receive(WAIT_S)
                assert isinstance(message, FrameMessage)
                assert message.frame_sequence == number
    finally:
        stop.set()
        flooding.join()


def test_any_threads_may_send_at_once(publisher: Publisher) -> None:
    each, topics = 500, [f"detections/{name}/" for name in "abcdef"]
    with zmq.Context() as context, context.socket(zmq.SUB) as reader:
        reader.linger = 0
        reader.rcvhwm = 0
        reader.rcvtimeo = int(WAIT_S * 1000)
        reader.subscribe("detections/")
        reader.connect(publisher.endpoint)
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)

        def send(topic: str) -> None:
            for number in range(each):
                publisher.send(topic, b"%d" % number)

        threads = [threading.Thread(target=send, args=(topic,)) for topic in topics]
        for thread in threads:
            thread.start()
        received: dict[bytes, list[int]] = {topic.encode(): [] for topic in topics}
        for _ in range(each * len(topics)):
            topic, payload = reader.recv_multipart()
            received[topic].append(int(payload))
        for thread in threads:
            thread.join()
    assert all(numbers == list(range(each)) for numbers in received.values())
