"""The page and its events over HTTP, to this machine alone.

It listens on 127.0.0.1, and answers only requests that were meant for it: a page of somewhere else whose name was
pointed at 127.0.0.1 (DNS rebinding) asks with its own name in `Host` and is refused. The page may load nothing but what
lies here (Content-Security-Policy) and may not be put into another one.

Events are server-sent (WHATWG HTML, "Server-sent events"): one way, in order, and the browser connects again by itself.
"""

from __future__ import annotations

import errno
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from socketserver import ThreadingTCPServer
from typing import Any

from perception.errors import UsageError
from perception.view.board import Board

HOST = "127.0.0.1"
OUR_NAMES = frozenset({HOST, "localhost"})  # with any port: it may be forwarded over SSH
MOST_PAGES = 8  # open at once
STUCK_AFTER_S = 10.0  # a browser that takes nothing for so long has gone
STILL_HERE_EVERY_S = 5.0  # a sign of life, by which a page that has gone is noticed

_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/view.js": ("view.js", "text/javascript; charset=utf-8"),
    "/view.css": ("view.css", "text/css; charset=utf-8"),
}
_EVENTS = "/events"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class ViewServer(ThreadingTCPServer):
    """Serves while it is entered. Raises `UsageError` where the port is taken; 0 takes a free one."""

    allow_reuse_address = True
    daemon_threads = True  # a page that hangs holds up no end

    def __init__(self, port: int, board: Board) -> None:
        self.board = board
        self.pages = threading.BoundedSemaphore(MOST_PAGES)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise UsageError(
                f"--port {port}",
                "is in use" if taken else f"cannot be used ({error.strerror})",
                "choose another one; 0 takes a free one",
            ) from None
        self._thread = threading.Thread(target=self.serve_forever, name="view-server", args=(0.1,))

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is none."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def __enter__(self) -> ViewServer:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection, on a thread of its own."""

    server: ViewServer
    server_version = "edge-perception"
    sys_version = ""
    timeout = STUCK_AFTER_S

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rpartition(":")
        if (host[0] or host[2]) not in OUR_NAMES:
            self._answer(
                HTTPStatus.FORBIDDEN, "text/plain", f"this is {self.server.url}, and no other name's\n".encode()
            )
        elif self.path == _EVENTS:
            self._events()
        elif self.path in _PAGE:
            name, kind = _PAGE[self.path]
            self._answer(HTTPStatus.OK, kind, (files("perception.view") / "page" / name).read_bytes())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is only one page: /\n")

    def _events(self) -> None:
        if not self.server.pages.acquire(blocking=False):
            what = f"{MOST_PAGES} pages are open, and no more are served; close one\n"
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", what.encode())
            return
        try:
            self._head(HTTPStatus.OK, "text/event-stream")
            self.wfile.write(b"retry: 1000\n\n")
            number, board = 0, self.server.board
            while not board.closed:
                number, events = board.after(number, STILL_HERE_EVERY_S)
                self.wfile.write(b"".join(events) or b": still here\n\n")
        finally:
            self.server.pages.release()

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """The terminal is for people."""
