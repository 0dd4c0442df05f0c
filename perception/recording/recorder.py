"""The thread that writes a recording, and how it is given what is to be written.

Whoever gives an item never waits for the disk, unless it replays a drive, of which nothing may be lost. What does not
fit in the queue, and what the disk does not take, is counted by reason; a Fault in its place is recorded when that goes
again. Everything that was written is on the disk half a second later (fdatasync): a killed process and a power cut lose
that, and what waited.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from perception.message import Status
from perception.pipeline import Result
from perception.recording.parts import Parts, RecordSettings
from perception.recording.queue import FoundMessage, WaitingQueue
from perception.recording.state import TOO_SLOW, Account, RecordingState
from perception.recording.writer import RecordingWriter
from sensors.calibration import Calibration
from sensors.frame import Frame, Item, restamped
from sensors.source import SensorInfo, Source

FLUSH_EVERY_S = 0.5


class Recorder:
    """One recording. Entering checks and opens it; leaving writes what waits and its end.

    `waits`: whoever gives an item waits while the queue is full. Raises `UsageError` where it cannot be written at all.
    """

    def __init__(
        self,
        path: Path,
        sensors: Sequence[SensorInfo],
        settings: RecordSettings = RecordSettings(),
        *,
        calibration: Calibration | None = None,
        waits: bool = False,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self._parts = Parts(path, settings, sensors, calibration or Calibration())
        self._waits = waits
        self._queue = WaitingQueue()
        self._account = Account(path, [sensor.name for sensor in sensors])
        self._writer = RecordingWriter(self._parts, dict(about or {}), self._account)
        self._bug: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="recorder")

    def __enter__(self) -> Recorder:
        self._parts.check()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.finish()
        except BaseException:
            if exc[1] is None:
                raise

    def finish(self) -> None:
        """Write what waits and the end. Raises what was wrong in the recorder itself."""
        self._queue.stop()
        self._thread.join()
        if self._bug is not None:
            raise self._bug

    def state(self) -> RecordingState:
        """How it fares. Any thread."""
        return self._account.state()

    # --- any thread -----------------------------------------------------------------------------------

    def take(self, item: Item) -> Item:
        """Record an item; give back what its next user is to have. A frame's memory is released once both are done."""
        shared = restamped(item, release=_SharedRelease(item.release)) if isinstance(item, Frame) else item
        # By what the wall clock says now: a vehicle boots with a wrong one and sets it on the way.
        arrived_ns = item.arrival_ns + time.time_ns() - time.monotonic_ns()
        if not self._queue.put(shared, arrived_ns, waits=self._waits):
            self._account.drop(item, TOO_SLOW)
            return item
        return shared

    def __call__(self, result: Result) -> None:
        """Record what was found: an observer of the pipeline."""
        if result.frame is None and result.status is Status.OK:
            return  # a scan, on which nothing was looked for
        found = FoundMessage(result.entry.sensor, result.entry.stamp_ns, result.entry.sequence, result.payload)
        # Where there is no room its frame is missing as well, and counted.
        self._queue.put(found, time.time_ns())

    # --- its own thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._record_all()
        except BaseException as bug:
            self._bug = bug
            self._account.fail(f"the recorder broke: {bug}")
            self._queue.stop()

    def _record_all(self) -> None:
        due_s = time.monotonic() + FLUSH_EVERY_S
        while True:
            waiting = self._queue.get(until_s=due_s)
            if waiting is not None:
                self._writer.write(waiting)
            is_over = waiting is None and self._queue.is_over
            if is_over or time.monotonic() >= due_s:
                self._writer.flush()
                due_s = time.monotonic() + FLUSH_EVERY_S
            if is_over:
                self._writer.finish()
                return


def recorder_for(
    path: Path, sources: Sequence[Source], settings: RecordSettings = RecordSettings(), *, waits: bool = False
) -> Recorder:
    """A recorder of all sensors of some sources."""
    sensors = [sensor for source in sources for sensor in source.info.sensors]
    calibrations = [source.info.calibration for source in sources]
    calibration = Calibration(
        tuple(camera for one in calibrations for camera in one.cameras),
        tuple(transform for one in calibrations for transform in one.transforms),
    )
    return Recorder(path, sensors, settings, calibration=calibration, waits=waits)


class _SharedRelease:
    """A frame's release that happens when both of its users have called it, each once."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._users = 2
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._users -= 1
            is_last = self._users == 0
        if is_last:
            self._release()
