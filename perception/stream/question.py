"""Asks what answers at an address whether it wants keys, without showing that the reader has none.

A publisher hangs up on a reader without keys, and on a busy machine before its own half of the greeting has left: in
the monitor's events it then looks like any server that hangs up. Who sends only the beginning of ZeroMQ's greeting
(ZMTP 3, RFC 23) is told the whole of the publisher's, and gives no reason to hang up.
"""

from __future__ import annotations

from contextlib import suppress

import zmq

_BEGINNING = b"\xff" + bytes(8) + b"\x7f\x03"  # signature and major version
_MECHANISM = slice(12, 32)  # of the answer
_MOST_PARTS_AT_ONCE = 100  # a stranger may send without end


class Question:
    """One connection beside the reader's own. ZeroMQ's threads make it: nothing here waits."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, *, ipv6: bool) -> None:
        self.wants_keys: bool | None = None  # None: no answer yet, or none in ZeroMQ's words
        self._is_asked = False
        self._answer = b""
        self._socket = context.socket(zmq.STREAM)
        self._socket.linger = 0
        self._socket.rcvhwm = _MOST_PARTS_AT_ONCE
        self._socket.reconnect_ivl = -1  # asked once
        self._socket.ipv6 = ipv6
        self._socket.connect(address)

    def update(self) -> None:
        """Ask once the connection is there, and take in what has been answered since."""
        for _ in range(_MOST_PARTS_AT_ONCE):
            if not self._socket.poll(0):
                return
            connection, said = self._socket.recv_multipart()
            if not self._is_asked:  # the first part is empty: the connection is there
                self._is_asked = True
                with suppress(zmq.ZMQError):  # it may be gone again
                    self._socket.send_multipart([connection, _BEGINNING], zmq.NOBLOCK)
            self._answer = (self._answer + said)[: _MECHANISM.stop]
            if len(self._answer) == _MECHANISM.stop and (self._answer[0], self._answer[9]) == (0xFF, 0x7F):
                self.wants_keys = self._answer[_MECHANISM].rstrip(b"\0") == b"CURVE"

    def close(self) -> None:
        """Hang up, with or without an answer."""
        self._socket.close()
