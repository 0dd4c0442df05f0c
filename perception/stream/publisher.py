"""Messages onto a socket. Sending never waits: who reads too slowly loses some, and sees it in the sequence.

The socket is an XPUB: a PUB that also hands out its readers' subscriptions, so that a replay can wait for
them, and a preview is made only for somebody who asked for it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import zmq

from perception.errors import UsageError
from perception.message.frame_message import DETECTIONS_TOPIC
from perception.stream import endpoint as endpoints
from perception.stream.admission import DOMAIN, Admission
from perception.stream.keys import load_pair

# Messages that wait for one slow reader before it loses any: half a minute of four cameras at 30 frames/s. At
# some 1.5 kB a message (20 boxes) 6 MB a reader, at 300 boxes in every frame 80 MB.
SEND_QUEUE_MESSAGES = 4000
# How long close() waits for what was handed over to leave. A reader that hangs must not hold up the vehicle.
LINGER_MS = 2000
WAKE_UP_S = 0.02  # how late a reader may be noticed while waiting for it
# Subscriptions taken in at once; a peer that floods us with them must not keep us from publishing.
MOST_SUBSCRIPTIONS_AT_ONCE = 100

_SUBSCRIBED, _UNSUBSCRIBED = b"\x01", b"\x00"
_DETECTIONS = DETECTIONS_TOPIC.encode()


class Publisher:
    """A bound endpoint. Any thread may send: results, health and previews come from three.

    A lock keeps the socket one thread's at a time. What it guards takes microseconds and never waits for a reader, and
    untaken it costs a message 0.1 us. `close` comes after the last of them.

    `endpoint` is the address that readers connect to, with the port that was chosen where none was given.
    `keys`: a folder as `keys.py` describes it; only readers whose keys are in its `readers/` get anything. Without keys
    only this machine's own addresses are allowed, unless `insecure` is set, which is logged.
    Raises `UsageError` where the endpoint is not allowed or taken, or the keys are wrong.
    """

    def __init__(self, endpoint: str, *, keys: Path | None = None, insecure: bool = False) -> None:
        address = endpoints.published(endpoint, anywhere=keys is not None or insecure)
        pair = None if keys is None else load_pair(keys)
        if insecure and pair is None:
            print(f"warning: {endpoint} has no keys: whoever reaches it can read it", file=sys.stderr, flush=True)
        self.readers = 0
        self._offered: dict[str, int] = {}  # subscriptions to each topic that is made on demand
        self._using = threading.Lock()
        self._context = zmq.Context()
        self._admission = None if keys is None else Admission(self._context, keys)
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.sndhwm = SEND_QUEUE_MESSAGES
        self._socket.linger = LINGER_MS
        self._socket.ipv6 = endpoints.is_ipv6(address)
        # Hand out every subscription and its end, not only a topic's first and last: each is a reader.
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        if pair is not None:
            self._socket.curve_server = True
            self._socket.curve_secretkey = pair.secret
            self._socket.zap_domain = DOMAIN
            self._socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without an answer from the list nobody comes in
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                remedy = "stop the program that has it, or choose another port (0 takes a free one)"
                raise UsageError(endpoint, "the port is in use", remedy) from error
            raise UsageError(endpoint, f"cannot be bound ({error.strerror})", endpoints.EXAMPLES) from error
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(self, topic: str, payload: bytes) -> None:
        """Put one message in every reader's queue, at once; a reader whose queue is full loses it."""
        with self._using:
            self._take_subscriptions()  # unread, they would pile up
            self._socket.send_multipart((topic.encode(), payload), zmq.NOBLOCK)

    def offer(self, topics: Iterable[str]) -> None:
        """Say which topics are made on demand, before anything is sent or waited for."""
        for topic in topics:
            self._offered.setdefault(topic, 0)

    def is_wanted(self, topic: str) -> bool:
        """Whether somebody has subscribed to an offered topic, as far as the last message sent has seen."""
        return self._offered[topic] > 0

    def wait_for_readers(self, count: int, stop: threading.Event, timeout_s: float | None = None) -> bool:
        """Block until `count` subscriptions to detections are there (what is sent then reaches them).

        False if `stop` was set or `timeout_s` has passed before. A stranger that connects and speaks no ZeroMQ
        (a port scan) counts until it hangs up: ZeroMQ takes it for a peer of its first version, which could
        not subscribe and got everything.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with self._using:
                self._take_subscriptions()
            if self.readers >= count:
                return True
            left_s = WAKE_UP_S if deadline_s is None else min(WAKE_UP_S, deadline_s - time.monotonic())
            if left_s <= 0 or stop.is_set():
                return False
            time.sleep(left_s)  # not stop.wait: a signal handler that sets it here would wait for a lock that we hold

    def close(self) -> None:
        """Stop publishing, once what was handed over has left, or after `LINGER_MS`. Harmless twice."""
        self._socket.close()
        if self._admission is not None:
            self._admission.close()
        self._context.term()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_subscriptions(self) -> None:
        """Count who came and who went; who hangs up without a word goes when its connection ends."""
        for _ in range(MOST_SUBSCRIPTIONS_AT_ONCE):
            if not self._socket.poll(0):
                return
            what = self._socket.recv()
            topic, change = what[1:], {_SUBSCRIBED: 1, _UNSUBSCRIBED: -1}.get(what[:1], 0)
            # A subscription is a prefix: one of "" or "det" takes all detections too. Never below none: ZeroMQ hands
            # on the end of a subscription that a peer never made.
            if topic.startswith(_DETECTIONS) or _DETECTIONS.startswith(topic):
                self.readers = max(0, self.readers + change)
            for offered, subscriptions in self._offered.items():
                if offered.encode().startswith(topic):
                    self._offered[offered] = max(0, subscriptions + change)


class NullPublisher:
    """Publishes nothing: a replay that only counts, records or sums up."""

    endpoint: str | None = None  # where readers connect: nowhere
    readers = 0

    def send(self, topic: str, payload: bytes) -> None:
        """Take the message and let it go."""

    def offer(self, topics: Iterable[str]) -> None:
        """Nobody can ask for them."""

    def is_wanted(self, topic: str) -> bool:  # noqa: ARG002
        """Nobody can have subscribed."""
        return False

    def wait_for_readers(self, count: int, stop: threading.Event, timeout_s: float | None = None) -> bool:  # noqa: ARG002
        """Nobody can come: whether nobody is enough."""
        return count == 0

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> NullPublisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""
