"""The way to a publisher on a busy machine: its greeting leaves late, and not at all once it has hung up."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

LATE_S = 0.1
SAID_AT_ONCE_BYTES = 11  # the beginning of ZeroMQ's greeting: enough for a reader to tell how it wants to come in
CHUNK_BYTES = 65536


class LateWire:
    """Listens on `port` and passes on to a publisher's port of this machine, while it is entered."""

    def __init__(self, publisher_port: int) -> None:
        self._publisher_port = publisher_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> LateWire:
        threading.Thread(target=self._accept, name="late-wire", daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed above
            while True:
                reader, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(reader,), daemon=True).start()

    def _serve(self, reader: socket.socket) -> None:
        with reader, suppress(OSError), socket.create_connection(("127.0.0.1", self._publisher_port)) as publisher:
            threading.Thread(target=_pass_on, args=(reader, publisher), daemon=True).start()
            with suppress(OSError):
                reader.sendall(publisher.recv(SAID_AT_ONCE_BYTES, socket.MSG_WAITALL))
                time.sleep(LATE_S)
                late = publisher.recv(CHUNK_BYTES)
                if not _has_hung_up(publisher):
                    reader.sendall(late)
                    _pass_on(publisher, reader)
            for end in (reader, publisher):  # closing alone does not wake who reads from it
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def _has_hung_up(end: socket.socket) -> bool:
    with suppress(BlockingIOError):
        return not end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return False


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(CHUNK_BYTES):
            target.sendall(chunk)
