"""What waits, written to the part that is open; and what becomes of it when the disk takes nothing.

A disk that failed is given time, and what comes meanwhile is dropped. Items count as recorded once they are on the disk
(fdatasync), until then they are pending: a chunk that is not taken, or a file that cannot be finished, takes them back.
"""

from __future__ import annotations

import errno
import json
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations

from perception.message import perception_pb2 as pb
from perception.recording.annotations import annotations_of
from perception.recording.parts import Parts
from perception.recording.queue import FoundMessage, Waiting
from perception.recording.state import DISK_FAILED, DISK_FULL, UNWRITABLE, Account
from sensors.drives.mcap.drive_writer import DriveWriter
from sensors.drives.mcap.writing import NotWrittenError
from sensors.errors import RequestError
from sensors.frame import Fault, Frame, Item

TRY_AGAIN_AFTER_S = 1.0  # where the disk takes nothing; what comes meanwhile is not even coded
WELL_AFTER_S = 5.0  # of writing without a failure: a full disk still takes a small thing now and then

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class RecordingWriter:
    """Writes one recording, part after part. For one thread. What happens is told to `account`."""

    def __init__(self, parts: Parts, about: Mapping[str, str], account: Account) -> None:
        self._parts = parts
        self._about = about
        self._account = account
        self._part: DriveWriter | None = None  # that is open
        self._opened = 0  # parts so far
        self._opened_s = 0.0
        self._pending: Counter[str] = Counter()  # items that are with the part and not on the disk yet
        self._failed_s = self._retry_s = 0.0  # when the disk last failed, and when it is tried again
        self._reason = DISK_FAILED  # why it did not take the last thing that it did not take

    def write(self, waiting: Waiting) -> None:
        """Write one thing, or drop it; a frame is released then. Closes a part that is full."""
        what = waiting.what
        try:
            part = self._part_now()
            if part is None:
                self._drop(what, self._reason)
            elif isinstance(what, FoundMessage):
                _write_found(part, what, waiting.arrived_ns)
            else:
                self._write_drops(part, waiting.arrived_ns)
                self._write_item(part, what, waiting.arrived_ns)
        except NotWrittenError as failure:
            self._lose(failure)
        finally:
            if isinstance(what, Frame):
                what.release()
        if self._part is not None and self._parts.is_full(self._part, time.monotonic() - self._opened_s):
            self.flush()
            self.finish()

    def flush(self) -> None:
        """What was written is on the disk when this returns."""
        part = self._part
        if part is None:
            return
        has_more = any(self._pending.values())
        try:
            part.container.flush(to_disk=True)
        except NotWrittenError as failure:
            self._lose(failure)
            return
        except OSError as failure:  # of fdatasync: nobody can say what is on the disk
            self._fail(failure)
            return
        is_well = has_more and time.monotonic() - self._failed_s >= WELL_AFTER_S
        bytes_written = self._parts.finished_bytes + part.container.bytes_written
        self._account.record(self._pending, bytes_written, is_well=is_well)
        self._pending.clear()
        self._parts.make_room(part.container.path)
        self._account.remove_parts(self._parts.removed)

    def finish(self) -> None:
        """Close the part that is open with its end."""
        part, self._part = self._part, None
        if part is None:
            return
        drops = {sensor: dict(reasons) for sensor, reasons in self._account.state().dropped.items() if reasons}
        lost: Mapping[int, int] = {}
        try:
            if drops:
                with suppress(NotWrittenError):  # the summary of the run says it as well
                    part.add_about({"not_recorded": json.dumps(drops)})
            lost = part.container.finish()
        except OSError as failure:
            self._fail(failure)
        self._parts.finished_bytes += part.container.bytes_written
        self._account.close_part(part.items_by_sensor(lost), self._parts.finished_bytes)

    def _part_now(self) -> DriveWriter | None:
        """The open part, or a new one; None while the disk is given time."""
        if time.monotonic() < self._retry_s:
            return None
        if self._part is None:
            try:
                self._part = self._parts.next({**self._about, "part": str(self._opened)})
            except (OSError, NotWrittenError) as failure:
                cause = failure.cause if isinstance(failure, NotWrittenError) else failure
                self._fail(cause)
                return None
            self._opened += 1
            self._opened_s = time.monotonic()
            self._account.open_part()
        return self._part

    def _write_item(self, part: DriveWriter, item: Item, arrived_ns: int) -> None:
        counts = 0 if isinstance(item, Fault) else 1
        # Before it is written: it may be in the very chunk that the disk does not take.
        self._pending[item.sensor] += counts
        try:
            part.write(item, publish_ns=arrived_ns)
        except NotWrittenError as failure:
            if not failure.messages:  # not even its channel could be written
                self._pending[item.sensor] -= counts
                self._account.drop(item, _reason_of(failure.cause))
            raise
        except RequestError as error:
            self._pending[item.sensor] -= counts
            self._account.drop(item, UNWRITABLE)
            self._account.fail(str(error))

    def _write_drops(self, part: DriveWriter, arrived_ns: int) -> None:
        while (fault := self._account.next_noted()) is not None:
            if fault.stamp_ns >= 0:
                part.write(fault, publish_ns=arrived_ns)

    def _drop(self, what: Item | FoundMessage, reason: str) -> None:
        if not isinstance(what, FoundMessage):
            self._account.drop(what, reason)

    def _lose(self, failure: NotWrittenError) -> None:
        """Count what a chunk held that the disk did not take."""
        assert self._part is not None
        items = self._part.items_by_sensor(failure.messages)
        self._pending.subtract(items)
        self._account.lose(items, _reason_of(failure.cause))
        self._fail(failure.cause)

    def _fail(self, cause: OSError) -> None:
        self._reason = _reason_of(cause)
        self._failed_s = time.monotonic()
        self._retry_s = self._failed_s + TRY_AGAIN_AFTER_S
        self._account.fail(cause.strerror or str(cause))


def _write_found(part: DriveWriter, found: FoundMessage, arrived_ns: int) -> None:
    times = {"stamp_ns": found.stamp_ns, "publish_ns": arrived_ns, "sequence": found.sequence}
    part.write_message(found.sensor, "detections", pb.FrameResult, found.payload, **times)
    message = pb.FrameResult.FromString(found.payload)
    if message.status == pb.OK:
        part.write_message(found.sensor, "annotations", ImageAnnotations, annotations_of(message), **times)


def _reason_of(cause: OSError) -> str:
    return DISK_FULL if cause.errno in _FULL else DISK_FAILED
