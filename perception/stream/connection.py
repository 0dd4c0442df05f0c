"""What is known of the other end while nothing comes from it.

ZeroMQ reconnects in silence, for ever, whatever answers; its monitor tells what really happens.
"""

from __future__ import annotations

from enum import Enum

import zmq
from zmq.utils.monitor import recv_monitor_message

from perception.stream.question import Question

_MONITOR = "inproc://monitor"
_HANDSHAKE_FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_MECHANISM_MISMATCH = 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH in zmq.h
# Hang-ups in the middle of the handshake, one after the other, until we take them for an answer: about a second.
MOST_HANG_UPS = 5
_EVENTS = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _HANDSHAKE_FAILURES


class Peer(Enum):
    """Who is at the other end: what is wrong if nothing comes, and what to do then."""

    NOBODY = ("no publisher is there", "start it, or check the address")
    STRANGER = ("what answers there does not speak ZeroMQ", "check the port")
    WANTS_KEYS = ("the publisher lets in only readers with keys", "give --keys and --server-key")
    NOT_LISTED = (
        "the publisher refused this reader: its key is not on the list",
        "copy this side's NAME.key into the readers/ of the publisher's keys, and start again",
    )
    WRONG_SERVER_KEY = (
        "what answers there hangs up on our keys: the server key is not this publisher's, or it uses none",
        "check --server-key against the NAME.key of the publisher, and the port",
    )
    PUBLISHER = ("a publisher is there, but it sends nothing on this topic", "check the topic and the source")


# Nothing will ever come from these, and ZeroMQ would be silent about it.
REFUSALS = frozenset({Peer.WANTS_KEYS, Peer.NOT_LISTED, Peer.WRONG_SERVER_KEY})


class ConnectionWatch:
    """Follows one socket that connects to `address`. Made before it does; used by the thread that uses the socket."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], watched: zmq.Socket[bytes], address: str, *, has_keys: bool
    ) -> None:
        self.peer = Peer.NOBODY
        self._context = context
        self._address = address
        self._question: Question | None = None
        self._has_keys = has_keys
        self._hang_ups = 0
        self._watched = watched
        watched.monitor(_MONITOR, _EVENTS)
        self.socket = context.socket(zmq.PAIR)
        self.socket.linger = 0
        # Unlimited: at a limit ZeroMQ's own thread would wait for us to read. A stranger that hangs up again
        # and again gives some thirty small events a second.
        self.socket.rcvhwm = 0
        self.socket.connect(_MONITOR)

    def update(self) -> None:
        """Take in what has happened since."""
        while self.socket.poll(0):
            told = recv_monitor_message(self.socket)
            event, value = told["event"], told["value"]
            if self.peer in REFUSALS:
                continue  # ZeroMQ does not try again after these, or it would be told the same
            if event & _HANDSHAKE_FAILURES:
                self._hang_ups += 1
                if not self._has_keys:
                    self._ask_whether_keys_are_wanted()
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self.peer = Peer.NOT_LISTED
            elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == _MECHANISM_MISMATCH:
                self.peer = Peer.WRONG_SERVER_KEY if self._has_keys else Peer.WANTS_KEYS
            elif self._has_keys and self._hang_ups >= MOST_HANG_UPS:
                self.peer = Peer.WRONG_SERVER_KEY
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.peer = Peer.PUBLISHER
                self._hang_ups = 0
                self._ask_no_more()
            elif event & (_HANDSHAKE_FAILURES | zmq.EVENT_CONNECTED):
                self.peer = Peer.STRANGER  # connected alone: it has yet to speak, and a publisher does so at once
            elif self.peer is Peer.PUBLISHER:
                self.peer = Peer.NOBODY
        if self._question is not None:
            self._question.update()
            if self._question.wants_keys:
                self.peer = Peer.WANTS_KEYS

    def _ask_whether_keys_are_wanted(self) -> None:
        """Who hangs up on a reader without keys may want them, or speak no ZeroMQ: the events do not tell."""
        if self._hang_ups % MOST_HANG_UPS != 1:
            return
        self._ask_no_more()
        self._question = Question(self._context, self._address, ipv6=bool(self._watched.ipv6))

    def _ask_no_more(self) -> None:
        if self._question is not None:
            self._question.close()
            self._question = None

    def close(self) -> None:
        """Stop watching; the watched socket stays open."""
        self._ask_no_more()
        self._watched.disable_monitor()
        self.socket.close()
