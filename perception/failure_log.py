"""What a person at the terminal reads of frames that failed."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from perception.message import Status
from perception.pipeline import Result


class FailureLog:
    """Says on stderr which frames failed and why: the first few in full, all in the summary's counts."""

    SHOWN = 10

    def __init__(self) -> None:
        self._failed = 0

    def __call__(self, result: Result) -> None:
        """Look at one result."""
        if result.status is Status.OK:
            return
        self._failed += 1
        if self._failed > self.SHOWN:
            return
        # To what stderr is now: while a progress bar is shown it writes above it.
        log = structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=[_plain_line])
        log.warning(result.status.name, sensor=result.entry.sensor, frame=result.entry.sequence, reason=result.reason)
        if self._failed == self.SHOWN:
            log.warning("further failed frames are counted, and not shown")


def _plain_line(_logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
    what = event.pop("event")
    where = f"{event['sensor']} frame {event['frame']}: {what}: {event['reason']}" if event else what
    return f"{level}: {where}"
