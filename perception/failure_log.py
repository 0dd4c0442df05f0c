"""What a person at the terminal reads of frames that failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import structlog

from perception.message import Status
from perception.pipeline import Result
from sensors.source import Source

SHOWN = 3  # lines of one sensor in a minute
MINUTE_S = 60.0
OUTAGE_S = 0.5  # nothing for so long after a failed frame: the camera was gone, and that it is back is worth a line


class FailureLog:
    """Says on stderr which frames failed and why: of each sensor the first few of a minute; the summary counts all.

    Of each sensor and minute, because a vehicle runs for days: one camera whose every frame is damaged must not hide
    that another one is lost, nor what happens tomorrow. `live`: says that a camera that was gone is back, too.
    """

    def __init__(self, *, live: bool = False, now_s: Callable[[], float] = time.monotonic) -> None:
        self._live = live
        self._now_s = now_s
        self._minutes: dict[str, tuple[float, int]] = {}  # by sensor: when its minute began, and how many failed since
        self._failed_s: dict[str, float] = {}  # when a sensor failed that has given nothing since

    def __call__(self, result: Result) -> None:
        """Look at one result."""
        sensor = result.entry.sensor
        if result.status is Status.OK:
            if self._failed_s and (failed_s := self._failed_s.pop(sensor, None)) is not None:
                silent_s = self._now_s() - failed_s
                if silent_s >= OUTAGE_S:
                    _log().info(f"{sensor}: gives frames again after {silent_s:.1f} s")
            return
        now_s = self._now_s()
        if self._live:
            self._failed_s[sensor] = now_s
        began_s, failed = self._minutes.get(sensor, (now_s, 0))
        if now_s - began_s >= MINUTE_S:
            began_s, failed = now_s, 0
        failed += 1
        self._minutes[sensor] = began_s, failed
        if failed <= SHOWN:
            _log().warning(result.status.name, sensor=sensor, frame=result.entry.sequence, reason=result.reason)
        if failed == SHOWN:
            _log().warning(f"{sensor}: further failed frames of this minute are counted, and not shown")


def say_what_is_cut_off(sources: Sequence[Source]) -> None:
    """Say of each recording that ends too early what is missing: its frames never come, and no count shows them."""
    for source in sources:
        if source.info.cut_off:
            _log().warning(f"{source.info.uri}: {source.info.cut_off}")


def _log() -> Any:
    """What writes to what stderr is now: while a progress bar is shown it writes above it."""
    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=[_plain_line])


def _plain_line(_logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
    what = event.pop("event")
    where = f"{event['sensor']} frame {event['frame']}: {what}: {event['reason']}" if event else what
    return f"{level}: {where}"
