"""The viewer without a browser: how long it is live, and that its end is the end of its pages."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from made_stream import NEVER, WAIT_S, MadeStream

from perception.stream import Publisher
from perception.view import Viewer, scene, server


def link_state(viewer: Viewer) -> str:
    events = [event.decode() for event in viewer._board.after(0, 0)[1] if event.startswith(b"event: link")]
    return str(json.loads(events[-1].split("data: ")[1])["state"]) if events else ""


def test_it_is_live_as_long_as_something_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "SILENT_AFTER_S", 2.0)
    with Publisher("tcp://127.0.0.1:0") as publisher, Viewer(publisher.endpoint) as viewer:
        running = threading.Thread(target=viewer.run)
        running.start()
        assert publisher.wait_for_readers(1, NEVER, WAIT_S)
        stream = MadeStream(publisher)
        states = []
        for _ in range(30):
            stream.health()
            time.sleep(0.1)
            states.append(link_state(viewer))
        deadline_s = time.monotonic() + WAIT_S
        while link_state(viewer) != "away" and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert link_state(viewer) == "away"
        viewer.stop()
        running.join()
    assert states[-1] == "live"
    assert "away" not in states


def test_its_end_is_the_end_of_its_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STILL_HERE_EVERY_S", 3600.0)  # nothing but the end wakes a page's thread
    with Viewer("tcp://127.0.0.1:1") as viewer:
        port = int(viewer.url.rstrip("/").rpartition(":")[2])
        page = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        page.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert page.recv(100)
        viewer.stop()
    with page:
        while page.recv(4096):
            pass  # a time-out fails the test
