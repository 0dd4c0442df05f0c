"""The publisher's door: for every reader that shakes hands, ZeroMQ asks here whether its key is on the list.

ZAP (ZeroMQ RFC 27): requests come on an inproc address of the publisher's context, after the reader has proved that it
has the secret key to the public one it shows. Who does not know the publisher's public key never gets so far.
The list is looked at anew at each handshake; a connection that is there already stays until one end closes it.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import zmq
from zmq.utils import z85

from perception.stream.keys import KEY_BYTES, ReaderList

DOMAIN = b"stream"
MOST_REMEMBERED = 20  # refused keys that are named in the log; further ones are only counted
_ADDRESS = "inproc://zeromq.zap.01"
_CURVE_REQUEST_PARTS = 7
_WAKE_UP_MS = 50


class Admission:
    """Answers on a thread of its own, from `__init__` to `close`. Made before the guarded socket binds."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
        self.admitted = 0
        self.refused = 0
        self._readers = ReaderList(folder)
        self._readers.allowed()
        self._named: set[bytes] = set()
        self._told: set[str] = set()
        self._folder = folder
        self._tell_problems()
        self._stop = threading.Event()
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(_ADDRESS)
        self._thread = threading.Thread(target=self._answer, name="admission", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more: every later handshake fails."""
        self._stop.set()
        self._thread.join()

    def _answer(self) -> None:
        with self._socket as socket:
            while not self._stop.is_set():
                if not socket.poll(_WAKE_UP_MS):
                    continue
                request = socket.recv_multipart()
                admitted = self._judge(request)
                self.admitted += admitted
                self.refused += not admitted
                code, text = (b"200", b"OK") if admitted else (b"400", b"not on the list")
                socket.send_multipart([b"1.0", request[1] if len(request) > 1 else b"", code, text, b"", b""])

    def _judge(self, request: list[bytes]) -> bool:
        if len(request) != _CURVE_REQUEST_PARTS:
            return False
        version, _, domain, address, _, mechanism, key = request
        if (version, domain, mechanism, len(key)) != (b"1.0", DOMAIN, b"CURVE", KEY_BYTES):
            return False
        public = z85.encode(key)
        admitted = public in self._readers
        self._tell_problems()
        if not admitted and public not in self._named and len(self._named) < MOST_REMEMBERED:
            self._named.add(public)
            _warn(
                f"refused a reader from {address.decode(errors='replace')}: its key {public.decode()} is not on the "
                f"list; copy its NAME.key into {self._folder / 'readers'} to let it read"
            )
        return admitted

    def _tell_problems(self) -> None:
        for problem in self._readers.problems:
            if problem not in self._told and len(self._told) < MOST_REMEMBERED:
                self._told.add(problem)
                _warn(problem)


def _warn(what: str) -> None:
    print(f"warning: {what}", file=sys.stderr, flush=True)
