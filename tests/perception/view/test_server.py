"""The page's server asked by hand: what it answers, to whom, and what a page that hangs can do."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception.errors import UsageError
from perception.view import server as served
from perception.view.board import Board
from perception.view.server import MOST_PAGES, ViewServer

WAIT_S = 10.0


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    yield board
    board.close()


@pytest.fixture
def server(board: Board) -> Iterator[ViewServer]:
    with ViewServer(0, board) as server:
        yield server
        board.close()


def port_of(server: ViewServer) -> int:
    return int(server.server_address[1])


def ask(
    server: ViewServer, path: str, host: str | None = None, method: str = "GET"
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=WAIT_S)
    try:
        connection.putrequest(method, path, skip_host=host is not None)
        if host:
            connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def events_from(server: ViewServer) -> socket.socket:
    page = socket.create_connection(("127.0.0.1", port_of(server)), timeout=WAIT_S)
    page.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return page


def read_until(page: socket.socket, wanted: bytes) -> bytes:
    got = b""
    while wanted not in got:
        part = page.recv(65536)
        assert part, f"hung up after {got!r}"
        got += part
    return got


@pytest.mark.parametrize(
    ("path", "kind", "holds"),
    [
        ("/", "text/html; charset=utf-8", b"<!doctype html>"),
        ("/view.js", "text/javascript; charset=utf-8", b"EventSource"),
        ("/view.css", "text/css; charset=utf-8", b"canvas"),
    ],
)
def test_the_page_and_its_parts_are_there(server: ViewServer, path: str, kind: str, holds: bytes) -> None:
    status, body, headers = ask(server, path)
    assert (status, headers["content-type"]) == (200, kind)
    assert holds in body
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_the_page_is_small_and_loads_nothing_from_elsewhere(server: ViewServer) -> None:
    parts = [ask(server, path)[1] for path in ("/", "/view.js", "/view.css")]
    assert sum(map(len, parts)) < 30_000
    assert not any(b"//" in part.replace(b"// ", b"") and b"http" in part for part in parts)
    assert b"innerHTML" not in parts[1]


@pytest.mark.parametrize(
    "path", ["/server.py", "/../server.py", "/page/index.html", "/view.js/", "/index.html?", "/%2e"]
)
def test_nothing_else_is_served(server: ViewServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:9000", "127.0.0.1:1"])
def test_our_own_names_are_answered(server: ViewServer, host: str) -> None:
    assert ask(server, "/", host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.io:80", "", ":80", "[::1]:80"]
)
@pytest.mark.parametrize("path", ["/", "/events"])
def test_a_request_in_another_name_is_refused(server: ViewServer, board: Board, path: str, host: str) -> None:
    board.post("health", "health", {"secret": 1})
    status, body, _ = ask(server, path, host or " ")
    assert status == 403
    assert b"secret" not in body
    assert server.url.encode() in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_only_reading_is_possible(server: ViewServer, method: str) -> None:
    assert ask(server, "/", method=method)[0] == 501


def test_it_listens_on_this_machine_alone(server: ViewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port_of(server)), timeout=WAIT_S)


def test_events_come_as_they_are_posted(server: ViewServer, board: Board) -> None:
    board.post("a", "health", {"n": 1})
    with events_from(server) as page:
        got = read_until(page, b'{"n":1}\n\n')
        assert b"Content-Type: text/event-stream" in got
        assert b"event: health\ndata: " in got
        board.post("a", "health", {"n": 2})
        assert read_until(page, b'{"n":2}\n\n').startswith(b"event: health")
        board.close()
        while page.recv(1000):
            pass  # to its end: the server hangs up


def test_a_silent_stream_gives_signs_of_life(server: ViewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "STILL_HERE_EVERY_S", 0.05)
    with events_from(server) as page:
        read_until(page, b": still here\n\n")


def test_so_many_pages_are_served_and_a_closed_one_makes_room(
    server: ViewServer, board: Board, capfd: pytest.CaptureFixture[str]
) -> None:
    pages = [events_from(server) for _ in range(MOST_PAGES)]
    try:
        for page in pages:
            read_until(page, b"retry")
        status, body, _ = ask(server, "/events")
        assert (status, body) == (503, b"8 pages are open, and no more are served; close one\n")
        assert ask(server, "/")[0] == 200
        pages.pop().close()
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            board.post("a", "a", {})  # writing finds that it has gone
            with events_from(server) as page:
                if b"200" in page.recv(100):
                    break
        else:
            pytest.fail("no room was made")
    finally:
        for page in pages:
            page.close()
    assert capfd.readouterr() == ("", "")  # that one hangs up is no news


def test_a_page_that_never_reads_holds_up_neither_others_nor_the_board(server: ViewServer, board: Board) -> None:
    with events_from(server) as hanging, events_from(server) as reading:
        hanging.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        bulk = "x" * 200_000
        for number in range(100):  # 20 MB: more than any socket takes
            board.post("a", "a", {"bulk": bulk, "n": number})
            read_until(reading, f'"n":{number}}}\n\n'.encode())
        assert len(board.after(0, 0)[1]) == 1  # nothing piles up for it


def test_a_port_in_use_is_refused_in_words(server: ViewServer) -> None:
    with pytest.raises(UsageError, match=r"--port \d+: is in use; choose another one; 0 takes a free one"):
        ViewServer(port_of(server), Board())


requests = st.one_of(
    st.binary(max_size=300), st.binary(max_size=100).map(lambda host: b"GET / HTTP/1.1\r\nHost:" + host + b"\r\n\r\n")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(requests)
def test_any_bytes_are_answered_or_hung_up_on(
    server: ViewServer, capfd: pytest.CaptureFixture[str], garbage: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=WAIT_S) as stranger:
        stranger.sendall(garbage)
        stranger.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while stranger.recv(4096):
                pass
    assert ask(server, "/view.css")[0] == 200
    assert capfd.readouterr() == ("", "")  # the terminal is for people
