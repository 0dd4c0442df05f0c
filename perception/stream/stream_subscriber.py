"""A stream's reader: every message, or the newest of each topic, and an account of what did not come.

    topics = ["detections/front/", "health/"]
    with StreamSubscriber[FrameMessage | HealthMessage]("tcp://127.0.0.1:5555", topics) as subscriber:
        for message in subscriber:
            print(message.topic, message.sequence)
    print(sum(subscriber.lost.values()), "lost")

Nothing that comes over the socket raises: what is no message of ours is counted as malformed and passed over.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar, cast

import zmq

from perception.errors import RefusedError, StreamError, UsageError
from perception.message.decoding import MalformedMessageError
from perception.message.frame_message import FrameMessage
from perception.message.health_message import HEALTH_TOPIC
from perception.message.kinds import DECODERS, Message, decode_on_topic
from perception.stream import endpoint as endpoints
from perception.stream.connection import REFUSALS, ConnectionWatch, Peer
from perception.stream.continuity import Continuity, Position
from perception.stream.keys import load_pair, load_public

# Messages that wait here for a busy reader before ZeroMQ loses any: as many as wait at the publisher.
RECEIVE_QUEUE_MESSAGES = 4000
# A peer that sends more than this in one message is cut off. 300 boxes are 20 kB.
MOST_MESSAGE_BYTES = 16 * 2**20
WAKE_UP_MS = 100  # how late a close() from another thread may be noticed

S = TypeVar("S", bound="StreamSubscriber[Message]")
M_co = TypeVar("M_co", bound=Message, covariant=True)


class StreamSubscriber(Generic[M_co]):
    """Reads one publisher: the messages on all topics that begin as one of `topics` does, whatever their kinds.

    An iterator of messages; a context manager. Iteration stops when every topic seen has come to its end (`ended`; of
    detections the messages that say so are not given out), unless `follow` is set: then it goes on with what the
    publisher's next start sends. It stops as well when `close` is called, from any thread or signal handler.

    `newest`: of messages that wait, only each topic's latest is given; the others are
    `skipped`, not lost. `timeout_s`: how long iteration waits for a message before it raises `StreamError`;
    None waits for ever. `resume_from`: an earlier reader's `position`; what came between is counted as lost.

    `keys`: this reader's folder of keys, `server_key`: the file with the publisher's public key; both or none. Any
    address but this machine's own needs them, or `insecure`. A publisher that refuses us ends the reading with
    `RefusedError`, at once.
    """

    def __init__(
        self,
        endpoint: str,
        topics: Sequence[str],
        *,
        newest: bool = False,
        follow: bool = False,
        timeout_s: float | None = None,
        resume_from: Mapping[str, Position] | None = None,
        keys: Path | None = None,
        server_key: Path | None = None,
        insecure: bool = False,
    ) -> None:
        for topic in topics:
            if not topic.startswith(tuple(DECODERS)):
                raise UsageError(
                    f"topic {topic!r}",
                    f"does not begin with {' or '.join(DECODERS)}",
                    f"use detections/SENSOR/, {HEALTH_TOPIC} or preview/SENSOR/",
                )
        if (keys is None) != (server_key is None):
            missing = "the publisher's (--server-key NAME.key)" if keys else "this reader's own (--keys FOLDER)"
            raise UsageError(endpoint, f"one key is missing: {missing}", "give both, or none")
        address = endpoints.subscribed(endpoint, anywhere=keys is not None or insecure)
        pair = None if keys is None else load_pair(keys)
        server_public = None if server_key is None else load_public(server_key)
        self.received = 0
        self.skipped = 0
        self.malformed = 0
        self.first_malformed = ""  # what was wrong with it
        self._endpoint = endpoint
        self._newest = newest
        self._follow = follow
        self._timeout_s = timeout_s
        self._continuity = Continuity(resume_from)
        self._pending: dict[str, M_co] = {}  # by topic, the longest waiting first
        self._waiting_since_s: float | None = None  # None: the last call got a message
        self._closing = threading.Event()
        self._in_use = threading.Lock()  # the sockets are one thread's at a time
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.rcvhwm = RECEIVE_QUEUE_MESSAGES
        self._socket.maxmsgsize = MOST_MESSAGE_BYTES
        self._socket.ipv6 = endpoints.is_ipv6(address)
        for topic in topics:
            self._socket.subscribe(topic)
        if pair is not None and server_public is not None:
            self._socket.curve_publickey, self._socket.curve_secretkey = pair.public, pair.secret
            self._socket.curve_serverkey = server_public
        self._watch = ConnectionWatch(self._context, self._socket, address, has_keys=pair is not None)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._watch.socket, zmq.POLLIN)
        self._socket.connect(address)

    @property
    def lost(self) -> dict[str, int]:
        """Messages that were sent and did not come, by topic; topics that lost none are not in it."""
        return dict(self._continuity.lost)

    @property
    def restarts(self) -> int:
        """How often the publisher started again."""
        return self._continuity.restarts

    @property
    def ended(self) -> bool:
        """Whether the publisher has said that nothing follows."""
        return self._continuity.ended

    @property
    def position(self) -> dict[str, Position]:
        """By topic: session and sequence of the last message taken in; a later reader can resume from it."""
        return dict(self._continuity.position)

    @property
    def peer(self) -> Peer:
        """Who is at the other end, as far as the last `receive` has seen."""
        return self._watch.peer

    def receive(self, timeout_s: float | None = None) -> M_co | None:
        """Block until a message is there and return it; None when the stream has ended or `close` was called.

        Raises `StreamError` when none came within `timeout_s`; reading may go on after it. Be here often: what
        waits beyond `RECEIVE_QUEUE_MESSAGES` is lost, and only from here does ZeroMQ subscribe again when the
        publisher has started again.
        """
        began_s = time.monotonic()
        deadline_s = None if timeout_s is None else began_s + timeout_s
        if self._waiting_since_s is None:
            self._waiting_since_s = began_s
        try:
            with self._in_use:
                while not self._closing.is_set():
                    self._take_in()
                    if self._pending:
                        self.received += 1
                        self._waiting_since_s = None
                        return self._pending.pop(next(iter(self._pending)))
                    if self.ended and not self._follow:
                        return None
                    if self._watch.peer in REFUSALS:
                        raise RefusedError(self._endpoint, *self._watch.peer.value)
                    left_s = WAKE_UP_MS / 1000 if deadline_s is None else deadline_s - time.monotonic()
                    if left_s <= 0:
                        raise self._silence(time.monotonic() - self._waiting_since_s)
                    self._poller.poll(math.ceil(min(WAKE_UP_MS, left_s * 1000)))
                    self._watch.update()
        finally:
            if self._closing.is_set():
                self._close_sockets()
        return None

    def close(self) -> None:
        """End the reading, from any thread or signal handler; a blocked `receive` returns within 0.1 s."""
        self._closing.set()
        self._close_sockets()

    def __iter__(self) -> StreamSubscriber[M_co]:
        return self

    def __next__(self) -> M_co:
        message = self.receive(self._timeout_s)
        if message is None:
            raise StopIteration
        return message

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_in(self) -> None:
        """Move what has come into `_pending`: one message, or, for the newest, all that wait."""
        for _ in range(RECEIVE_QUEUE_MESSAGES if self._newest else 1):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = self._read(parts)
            except MalformedMessageError as error:
                self.malformed += 1
                self.first_malformed = self.first_malformed or str(error)
                continue
            if isinstance(message, FrameMessage) and message.ends_topic:
                continue
            if message.topic in self._pending:
                self.skipped += 1
            self._pending[message.topic] = message

    def _read(self, parts: list[bytes]) -> M_co:
        if len(parts) != 2:
            raise MalformedMessageError(f"has {len(parts)} parts instead of topic and payload")
        message = decode_on_topic(parts[0], parts[1])
        if not self._continuity.admit(message):
            raise MalformedMessageError(f"{message.topic} goes back to sequence {message.sequence}")
        return cast("M_co", message)  # of a kind that `topics` asked for: ZeroMQ gives no other

    def _silence(self, waited_s: float) -> StreamError:
        what, remedy = self._watch.peer.value
        if self.malformed:
            what += f"; {self.malformed} messages came that could not be read, the first: {self.first_malformed}"
        return StreamError(self._endpoint, f"nothing received for {waited_s:.1f} s: {what}", remedy)

    def _close_sockets(self) -> None:
        """Close unless a `receive` is under way, which then does it on its way out.

        Never waits for it: it may be this very thread, interrupted by a signal whose handler calls us.
        """
        if not self._in_use.acquire(blocking=False):
            return
        try:
            if not self._context.closed:
                self._watch.close()
                self._socket.close()
                self._context.term()
        finally:
            self._in_use.release()
