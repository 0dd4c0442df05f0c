"""How Ctrl-C and SIGTERM end a command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130  # exit code after SIGINT, as shells have it


TERMINATED = 128 + signal.SIGTERM  # likewise, where nothing was there to drain


@contextmanager
def cleaned_up() -> Iterator[None]:
    """Let SIGTERM end what runs here as an exception would: what is half-written is removed on its way out.

    A command that drains (`Signals`) has handlers of its own inside. Python only lets the main thread do this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: Any) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stopped_by_signals() -> Iterator[list[int]]:
    """Give a list that SIGINT or SIGTERM puts an exit code into, for what ends its step first. A second one ends it."""
    exit_codes: list[int] = []
    handlers: dict[int, Any] = {}

    def stop(number: int, _frame: Any) -> None:
        exit_codes.append(128 + number)
        signal.signal(number, handlers[number])

    for which in (signal.SIGINT, signal.SIGTERM):
        handlers[which] = signal.signal(which, stop)
    try:
        yield exit_codes
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class EndedEarly(BaseException):
    """A signal before there is a run to drain. No `Exception`: nothing on the way may take it for a failure."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


class Signals:
    """SIGINT and SIGTERM drain the run and close it; before there is a run they end the program at once."""

    def __init__(self) -> None:
        self.interrupted = False
        self._is_caught = False
        self._stop: Callable[[], None] | None = None

    def then(self, stop: Callable[[], None]) -> None:
        """From now on, a signal calls `stop`."""
        self._stop = stop

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._caught) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, _frame: Any) -> None:
        if self._is_caught:
            return  # it is draining already, and what drains it must not be entered again
        self._is_caught = True
        self.interrupted = number == signal.SIGINT
        if self._stop is None:
            raise EndedEarly(INTERRUPTED if self.interrupted else 0)
        self._stop()
