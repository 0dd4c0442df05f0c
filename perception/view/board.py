"""The newest event of each kind, for any number of pages that read at their own pace.

Nothing queues up: a page that is slow, or that a browser has put to sleep, finds the newest when it comes again. A page
that has just been opened gets all that there is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any


class Board:
    """Written by the thread that reads the stream, read by one thread a page."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[int, bytes]] = {}  # by key; what was posted last stands last
        self._number = 0
        self._changed = threading.Condition()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing will be posted any more."""
        return self._closed

    def post(self, key: str, kind: str, data: Mapping[str, Any]) -> None:
        """Put up an event in the place of the one before of the same key."""
        # JSON as Python writes it is ASCII on one line: whatever is in a name, it cannot end the event.
        event = f"event: {kind}\ndata: {json.dumps(data, allow_nan=False, separators=(',', ':'))}\n\n".encode("ascii")
        with self._changed:
            self._number += 1
            self._events.pop(key, None)
            self._events[key] = self._number, event
            self._changed.notify_all()

    def forget(self, kind_of_keys: str) -> None:
        """Take down every event whose key begins like this."""
        with self._changed:
            for key in [key for key in self._events if key.startswith(kind_of_keys)]:
                del self._events[key]

    def after(self, number: int, timeout_s: float) -> tuple[int, list[bytes]]:
        """Wait for events that are newer than `number`; the number to ask with next, and they, the oldest first.

        None after `timeout_s`, or once it is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._number > number, timeout_s)
            return self._number, [event for posted, event in self._events.values() if posted > number]

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
