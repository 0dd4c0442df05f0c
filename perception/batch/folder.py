"""Where a batch's outputs lie, and which of its drives are done.

    OUT/DRIVE.mcap          a drive's sensors and what was found on them
    OUT/detections.parquet  the table of all drives that are done
    OUT/batch.json          every drive with its figures, or why it failed
    OUT/.batch/             what the batch itself needs to go on: a record, a table and a log a drive

A drive is done when its record is there, which is written last, and says what is there: the same source and settings,
and files of that size. So a batch that was killed at any moment goes on, and does no drive twice.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception.errors import UsageError
from perception.whole_file import whole_file

TABLE, SUMMARY = "detections.parquet", "batch.json"
_INSIDE = ".batch"


@dataclass(frozen=True, slots=True)
class DrivePlaces:
    """The files of one drive."""

    out: Path
    name: str

    @property
    def recording(self) -> Path:
        """Of sensors and detections."""
        return self.out / f"{self.name}.mcap"

    @property
    def table(self) -> Path:
        """Its rows."""
        return self.out / _INSIDE / f"{self.name}.parquet"

    @property
    def record(self) -> Path:
        """That it is done, and what came of it."""
        return self.out / _INSIDE / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What its process said."""
        return self.out / _INSIDE / f"{self.name}.log"

    @property
    def draft(self) -> Path:
        """A folder for what is not whole yet."""
        return self.out / _INSIDE / f"{self.name}.draft"

    def begin(self) -> None:
        """Make an empty draft; nothing of an earlier try stays."""
        self.record.unlink(missing_ok=True)
        shutil.rmtree(self.draft, ignore_errors=True)
        self.draft.mkdir(parents=True)

    def finish(self, recording: Path, table: Path, facts: Mapping[str, Any]) -> None:
        """Put a drive's files in their places, and the record of it last."""
        for made, place in ((recording, self.recording), (table, self.table)):
            with made.open("rb") as file:
                os.fsync(file.fileno())
            made.replace(place)
        sizes = {"recording_bytes": self.recording.stat().st_size, "table_bytes": self.table.stat().st_size}
        with whole_file(self.record) as draft:
            draft.write_text(json.dumps({**facts, **sizes}))
        shutil.rmtree(self.draft, ignore_errors=True)

    def found(self, source: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record of a drive that is done, of the very source; None where it has to be done."""
        try:
            facts: dict[str, Any] = json.loads(self.record.read_text())
            sizes = self.recording.stat().st_size, self.table.stat().st_size
            is_whole = sizes == (facts["recording_bytes"], facts["table_bytes"])
            return facts if is_whole and facts["source"] == source else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


@contextmanager
def opened(out: Path, settings: Mapping[str, Any], *, begin_anew: bool = False) -> Iterator[None]:
    """Make or enter a batch's folder, for one batch at a time. Raises `UsageError`."""
    inside = out / _INSIDE
    try:
        inside.mkdir(parents=True, exist_ok=True)
        lock = (inside / "lock").open("w")
    except OSError as error:
        raise UsageError(str(out), f"cannot be written ({error.strerror})", "choose another place") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
        except OSError:
            what = "another batch is at work in it"
            raise UsageError(str(out), what, "wait for its end, or choose another folder") from None
        if begin_anew:
            for record in inside.glob("*.json"):
                record.unlink()
        _check_settings(out, inside / "settings.json", settings)
        yield


def source_facts(uri: str) -> dict[str, Any]:
    """What tells whether a drive is still the one that was done: its place, size and when it was changed."""
    path = Path(uri)
    try:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        stats = [file.stat() for file in files]
    except OSError:
        stats = []
    size, changed = sum(one.st_size for one in stats), max((one.st_mtime_ns for one in stats), default=0)
    return {"uri": uri, "files": len(stats), "bytes": size, "changed_ns": changed}


def _check_settings(out: Path, file: Path, settings: Mapping[str, Any]) -> None:
    """Raise `UsageError` where the folder holds a batch of other networks or thresholds: one table has one meaning."""
    try:
        before = json.loads(file.read_text())
    except FileNotFoundError:
        before = None
    except (OSError, ValueError):
        before = {}
    if before is None:
        with whole_file(file) as draft:
            draft.write_text(json.dumps(settings))
    elif before != settings:
        other = ", ".join(key for key in settings if before.get(key) != settings[key])
        what = f"holds a batch with another {other}"
        raise UsageError(str(out), what, "choose another folder, or do all drives again with --force")
