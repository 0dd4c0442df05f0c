"""One viewer: reads a stream, and serves the page that shows it, until it is stopped."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from perception.errors import RefusedError, StreamError
from perception.message import Message
from perception.message.frame_message import DETECTIONS_TOPIC
from perception.message.health_message import HEALTH_TOPIC
from perception.message.preview_message import PREVIEW_TOPIC
from perception.stream import StreamSubscriber
from perception.view.board import Board
from perception.view.scene import Scene
from perception.view.server import ViewServer

_LOOK_EVERY_S = 0.5  # at the connection, while nothing comes


class Viewer:
    """Entering opens the stream and the page's address; `run` blocks until `stop`.

    Raises `UsageError` where the endpoint, the keys or the port are wrong; `run` raises `RefusedError` where the
    publisher does not let us in. A publisher that is not there, or goes, is waited for.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        port: int = 0,
        keys: Path | None = None,
        server_key: Path | None = None,
        insecure: bool = False,
    ) -> None:
        self._endpoint, self._port = endpoint, port
        self._keys, self._server_key, self._insecure = keys, server_key, insecure
        self._opened = ExitStack()

    def __enter__(self) -> Viewer:
        with ExitStack() as opened:
            self._subscriber: StreamSubscriber[Message] = opened.enter_context(
                StreamSubscriber(
                    self._endpoint,
                    (DETECTIONS_TOPIC, HEALTH_TOPIC, PREVIEW_TOPIC),
                    follow=True,
                    keys=self._keys,
                    server_key=self._server_key,
                    insecure=self._insecure,
                )
            )
            self._board = Board()
            self._scene = Scene(self._board, self._endpoint)
            self._server = opened.enter_context(ViewServer(self._port, self._board))
            opened.callback(self._board.close)  # first of all, so that no page waits
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._opened.close()

    @property
    def url(self) -> str:
        """Where the page is."""
        return self._server.url

    def run(self) -> None:
        """Show what comes, until `stop`."""
        subscriber, heard_s = self._subscriber, time.monotonic()
        told_s = 0.0
        while True:
            try:
                message = subscriber.receive(_LOOK_EVERY_S)
            except StreamError:  # silence
                message = None
            except RefusedError as refused:
                self._board.post("link", "link", {"state": "refused", "words": str(refused)})
                raise
            else:
                if message is None:
                    return
                heard_s = time.monotonic()
                self._scene.take(message, subscriber.lost)
            now_s = time.monotonic()
            if message is None or now_s - told_s >= _LOOK_EVERY_S:
                told_s = now_s
                self._scene.tell(
                    subscriber.peer,
                    now_s - heard_s,
                    subscriber.restarts,
                    subscriber.lost,
                    subscriber.first_malformed,
                )

    def stop(self) -> None:
        """End `run`. Any thread, or a signal handler."""
        self._subscriber.close()
