"""What is known of the other end while nothing comes from it.

ZeroMQ reconnects in silence, for ever, whatever answers; its monitor tells what really happens.
"""

from __future__ import annotations

from enum import Enum

import zmq
from zmq.utils.monitor import recv_monitor_message

_MONITOR = "inproc://monitor"
_HANDSHAKE_FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EVENTS = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _HANDSHAKE_FAILURES


class Peer(Enum):
    """Who is at the other end: what is wrong if nothing comes, and what to do then."""

    NOBODY = ("no publisher is there", "start it, or check the address")
    STRANGER = ("what answers there does not speak ZeroMQ", "check the port")
    PUBLISHER = ("a publisher is there, but it sends nothing on this topic", "check the topic and the source")


class ConnectionWatch:
    """Follows one connecting socket. Made before it connects; used by the thread that uses the socket."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], watched: zmq.Socket[bytes]) -> None:
        self.peer = Peer.NOBODY
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
            event = recv_monitor_message(self.socket)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.peer = Peer.PUBLISHER
            elif event & (_HANDSHAKE_FAILURES | zmq.EVENT_CONNECTED):
                self.peer = Peer.STRANGER  # connected alone: it has yet to speak, and a publisher does so at once
            elif self.peer is Peer.PUBLISHER:
                self.peer = Peer.NOBODY

    def close(self) -> None:
        """Stop watching; the watched socket stays open."""
        self._watched.disable_monitor()
        self.socket.close()
