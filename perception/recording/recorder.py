"""The thread that writes a recording, and the queue before it.

Whoever gives an item never waits for the disk, unless it replays a drive, of which nothing may be lost. What does not
fit in the queue, and what the disk does not take, is counted by reason; a Fault in its place is recorded when that goes
again. Everything that was written is on the disk half a second later (fdatasync): a killed process and a power cut lose
that, and what waited.
"""

from __future__ import annotations

import errno
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations

from perception.message import Status
from perception.message import perception_pb2 as pb
from perception.pipeline import Result
from perception.recording.annotations import annotations_of
from perception.recording.parts import Parts, RecordSettings
from sensors.calibration import Calibration
from sensors.drives.mcap.drive_writer import DriveWriter
from sensors.drives.mcap.writing import NotWrittenError
from sensors.errors import RequestError
from sensors.frame import Fault, Frame, Item, PointCloud, RadarScan, Reading, restamped
from sensors.source import SensorInfo, Source

FLUSH_EVERY_S = 0.5
TRY_AGAIN_AFTER_S = 1.0  # where the disk takes nothing; what comes meanwhile is not even coded
WELL_AFTER_S = 5.0  # of writing without a failure: a full disk still takes a small thing now and then
MOST_WAITING_BYTES = 256 << 20  # some 90 frames of 1280x720
MOST_NOTED_DROPS = 1000  # Faults that wait to be recorded in the place of what was dropped

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TOO_SLOW, DISK_FULL, DISK_FAILED, UNWRITABLE = "too_slow", "disk_full", "disk_failed", "unwritable"


@dataclass(slots=True)
class RecordingState:
    """How a recording fares: a copy, of one moment."""

    path: Path
    recorded: Counter[str] = field(default_factory=Counter)  # items by sensor
    dropped: dict[str, Counter[str]] = field(default_factory=dict)  # items by sensor and reason
    bytes_written: int = 0
    parts: int = 0
    parts_removed: int = 0
    failure: str = ""  # for people: what keeps it from writing just now

    def drops(self) -> Counter[str]:
        """Items that are not in the recording, by reason."""
        total: Counter[str] = Counter()
        for reasons in self.dropped.values():
            total.update(reasons)
        return total


@dataclass(frozen=True, slots=True)
class _Found:
    """A message of the stream that waits to be recorded."""

    sensor: str
    stamp_ns: int
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Waiting:
    what: Item | _Found
    arrived_ns: int  # on the wall clock
    size: int


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
        self._about = dict(about or {})
        self._waits = waits
        self._queue: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._state = RecordingState(path, dropped={sensor.name: Counter() for sensor in sensors})
        self._noted: deque[Fault] = deque(maxlen=MOST_NOTED_DROPS)
        self._writer: DriveWriter | None = None
        self._pending: Counter[str] = Counter()  # items that are with the writer and not on the disk yet
        self._opened_s = 0.0
        self._failed_s = self._retry_s = 0.0  # when the disk last failed, and when it is tried again
        self._reason = DISK_FAILED  # why it did not take the last thing that it did not take
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
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        if self._bug is not None:
            raise self._bug

    def state(self) -> RecordingState:
        """How it fares. Any thread."""
        with self._changed:
            now = self._state
            return RecordingState(
                now.path,
                now.recorded.copy(),
                {sensor: reasons.copy() for sensor, reasons in now.dropped.items()},
                now.bytes_written,
                now.parts,
                now.parts_removed,
                now.failure,
            )

    # --- any thread -----------------------------------------------------------------------------------

    def take(self, item: Item) -> Item:
        """Record an item; give back what its next user is to have. A frame's memory is released once both are done."""
        size = _size(item)
        with self._changed:
            while self._waits and self._has_no_room(size) and not self._stopping:
                self._changed.wait()
            if self._stopping or self._has_no_room(size):
                self._drop(item, TOO_SLOW)
                return item
            if isinstance(item, Frame):
                item = restamped(item, release=_SharedRelease(item.release))
            # By what the wall clock says now: a vehicle boots with a wrong one and sets it on the way.
            arrived_ns = item.arrival_ns + time.time_ns() - time.monotonic_ns()
            self._queue.append(_Waiting(item, arrived_ns, size))
            self._waiting_bytes += size
            self._changed.notify_all()
        return item

    def __call__(self, result: Result) -> None:
        """Record what was found: an observer of the pipeline."""
        if result.frame is None and result.status is Status.OK:
            return  # a scan, on which nothing was looked for
        found = _Found(result.entry.sensor, result.entry.stamp_ns, result.entry.sequence, result.payload)
        with self._changed:
            if self._stopping or self._has_no_room(len(found.payload)):
                return  # its frame is missing as well, and counted
            self._queue.append(_Waiting(found, time.time_ns(), len(found.payload)))
            self._waiting_bytes += len(found.payload)
            self._changed.notify_all()

    def _has_no_room(self, size: int) -> bool:
        return bool(self._queue) and self._waiting_bytes + size > MOST_WAITING_BYTES

    def _drop(self, item: Item, reason: str) -> None:
        """Count an item that is not recorded. The lock is held."""
        self._state.dropped.setdefault(item.sensor, Counter())[reason] += 1
        words = f"was not recorded: {reason.replace('_', ' ')}"
        self._noted.append(Fault(item.sensor, item.sequence, item.stamp_ns, item.arrival_ns, words))

    # --- its own thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._record_all()
        except BaseException as bug:
            with self._changed:
                self._bug, self._stopping = bug, True
                self._state.failure = f"the recorder broke: {bug}"
                self._changed.notify_all()

    def _record_all(self) -> None:
        due_s = time.monotonic() + FLUSH_EVERY_S
        while True:
            with self._changed:
                while not self._queue and not self._stopping and time.monotonic() < due_s:
                    self._changed.wait(max(0.0, due_s - time.monotonic()))
                waiting = self._queue.popleft() if self._queue else None
                if waiting is not None:
                    self._waiting_bytes -= waiting.size
                    self._changed.notify_all()
                is_over = waiting is None and self._stopping
            if waiting is not None:
                self._write(waiting)
            if is_over or time.monotonic() >= due_s:
                self._flush()
                due_s = time.monotonic() + FLUSH_EVERY_S
            if is_over:
                self._finish()
                return

    def _write(self, waiting: _Waiting) -> None:
        what = waiting.what
        try:
            writer = self._writer_now()
            if writer is None:
                self._give_up(what, self._reason)
            elif isinstance(what, _Found):
                self._write_found(writer, what, waiting.arrived_ns)
            else:
                self._write_drops(writer, waiting.arrived_ns)
                self._write_item(writer, what, waiting.arrived_ns)
        except NotWrittenError as failure:
            self._lost(failure)
        finally:
            if isinstance(what, Frame):
                what.release()
        if self._writer is not None and self._parts.is_full(self._writer, time.monotonic() - self._opened_s):
            self._flush()
            self._finish()

    def _write_item(self, writer: DriveWriter, item: Item, arrived_ns: int) -> None:
        counts = 0 if isinstance(item, Fault) else 1
        # Before it is written: it may be in the very chunk that the disk does not take.
        self._pending[item.sensor] += counts
        try:
            writer.write(item, publish_ns=arrived_ns)
        except NotWrittenError as failure:
            if not failure.messages:  # not even its channel could be written
                self._pending[item.sensor] -= counts
                self._give_up(item, self._reason_of(failure.cause.errno))
            raise
        except RequestError as error:
            self._pending[item.sensor] -= counts
            self._give_up(item, UNWRITABLE)
            with self._changed:
                self._state.failure = str(error)

    def _write_found(self, writer: DriveWriter, found: _Found, arrived_ns: int) -> None:
        times = {"stamp_ns": found.stamp_ns, "publish_ns": arrived_ns, "sequence": found.sequence}
        writer.write_message(found.sensor, "detections", pb.FrameResult, found.payload, **times)
        message = pb.FrameResult.FromString(found.payload)
        if message.status == pb.OK:
            writer.write_message(found.sensor, "annotations", ImageAnnotations, annotations_of(message), **times)

    def _write_drops(self, writer: DriveWriter, arrived_ns: int) -> None:
        while True:
            with self._changed:
                if not self._noted:
                    return
                fault = self._noted.popleft()
            if fault.stamp_ns >= 0:
                writer.write(fault, publish_ns=arrived_ns)

    def _writer_now(self) -> DriveWriter | None:
        """The open file, or a new one; None while the disk is given time."""
        if time.monotonic() < self._retry_s:
            return None
        if self._writer is None:
            try:
                self._writer = self._parts.next({**self._about, "part": str(self._state.parts)})
            except (OSError, NotWrittenError) as failure:
                cause = failure.cause if isinstance(failure, NotWrittenError) else failure
                self._fail(cause)
                return None
            self._opened_s = time.monotonic()
            with self._changed:
                self._state.parts += 1
        return self._writer

    def _flush(self) -> None:
        """What was written is on the disk when this returns."""
        writer = self._writer
        if writer is None:
            return
        has_more = any(self._pending.values())
        try:
            writer.container.flush(to_disk=True)
        except NotWrittenError as failure:
            self._lost(failure)
            return
        except OSError as failure:  # of fdatasync: nobody can say what is on the disk
            self._fail(failure)
            return
        with self._changed:
            self._state.recorded.update(self._pending)
            self._state.bytes_written = self._parts.finished_bytes + writer.container.bytes_written
            if has_more and time.monotonic() - self._failed_s >= WELL_AFTER_S:
                self._state.failure = ""
        self._pending.clear()
        self._parts.make_room(writer.container.path)
        with self._changed:
            self._state.parts_removed = self._parts.removed

    def _finish(self) -> None:
        """Close the file with its end."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        with self._changed:
            drops = {sensor: dict(reasons) for sensor, reasons in self._state.dropped.items() if reasons}
        lost: Mapping[int, int] = {}
        try:
            if drops:
                with suppress(NotWrittenError):  # the summary of the run says it as well
                    writer.add_about({"not_recorded": json.dumps(drops)})
            lost = writer.container.finish()
        except OSError as failure:
            self._fail(failure)
        items = writer.items_by_sensor(lost)
        with self._changed:
            self._parts.finished_bytes += writer.container.bytes_written
            self._state.bytes_written = self._parts.finished_bytes
            for sensor, count in items.items():
                self._state.recorded[sensor] -= count
                self._state.dropped[sensor][DISK_FULL] += count

    def _lost(self, failure: NotWrittenError) -> None:
        """Count what a chunk held that the disk did not take."""
        assert self._writer is not None
        items = self._writer.items_by_sensor(failure.messages)
        with self._changed:
            for sensor, count in items.items():
                self._pending[sensor] -= count
                self._state.dropped[sensor][self._reason_of(failure.cause.errno)] += count
        self._fail(failure.cause)

    def _give_up(self, what: Item | _Found, reason: str) -> None:
        if not isinstance(what, _Found):
            with self._changed:
                self._drop(what, reason)

    def _fail(self, cause: OSError) -> None:
        self._reason = self._reason_of(cause.errno)
        self._failed_s = time.monotonic()
        self._retry_s = self._failed_s + TRY_AGAIN_AFTER_S
        with self._changed:
            self._state.failure = cause.strerror or str(cause)

    @staticmethod
    def _reason_of(number: int | None) -> str:
        return DISK_FULL if number in _FULL else DISK_FAILED


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


def _size(item: Item) -> int:
    if isinstance(item, Frame):
        return item.image.nbytes + (len(item.coded.data) if item.coded else 0)
    if isinstance(item, PointCloud):
        return item.points.nbytes
    if isinstance(item, RadarScan):
        return item.targets.nbytes
    return item.values.nbytes if isinstance(item, Reading) else len(item.reason)
