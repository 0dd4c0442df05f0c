"""A cable to a camera that can go bad: TCP on this machine, passed on as it comes, spoiled, or noise in its place."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from enum import Enum

ONE_WRONG_BYTE_IN = 2000
NOISE_BYTES = 3000
CHUNK_BYTES = 65536


class State(Enum):
    SOUND = "bytes go through as they come"
    GARBLED = "some bytes from the camera are wrong"
    NOISE = "the camera has gone, and what answers in its place sends noise and hangs up"


class BadWire:
    """Listens on `port` and passes on to the camera on another one, while it is entered."""

    def __init__(self, camera_port: int, seed: int = 1) -> None:
        self._camera_port = camera_port
        self._chance = random.Random(seed)
        self._state = State.SOUND
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def garble(self) -> None:
        """From now on some bytes of the camera's are wrong, also of connections that are there."""
        self._state = State.GARBLED

    def replace_by_noise(self) -> None:
        """Cut every connection; whoever connects again gets noise."""
        self._state = State.NOISE
        self._cut()

    def mend(self) -> None:
        """Let bytes through as they come."""
        self._state = State.SOUND

    def __enter__(self) -> BadWire:
        threading.Thread(target=self._accept, name="bad-wire", daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._cut()

    def _accept(self) -> None:
        while True:
            try:
                reader, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(reader,), daemon=True).start()

    def _serve(self, reader: socket.socket) -> None:
        with reader, suppress(OSError):
            if self._state is State.NOISE:
                reader.recv(CHUNK_BYTES)
                reader.sendall(self._chance.randbytes(NOISE_BYTES))
                return
            with socket.create_connection(("127.0.0.1", self._camera_port)) as camera:
                self._open |= {reader, camera}
                back = threading.Thread(target=self._pass_on, args=(reader, camera, False), daemon=True)
                back.start()
                try:
                    self._pass_on(camera, reader, True)
                finally:
                    self._open -= {reader, camera}
                    for end in (reader, camera):
                        with suppress(OSError):
                            end.shutdown(socket.SHUT_RDWR)
                    back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_from_camera: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                is_spoiled = is_from_camera and self._state is State.GARBLED
                target.sendall(self._spoiled(chunk) if is_spoiled else chunk)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def _spoiled(self, chunk: bytes) -> bytes:
        wrong = bytearray(chunk)
        for _ in range(1 + len(wrong) // ONE_WRONG_BYTE_IN):
            wrong[self._chance.randrange(len(wrong))] ^= self._chance.randrange(1, 256)
        return bytes(wrong)

    def _cut(self) -> None:
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
