"""The files of a recording: one, or parts by size and time of which the oldest go when they take too much room."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from perception.errors import UsageError
from sensors.calibration import Calibration
from sensors.drives.mcap.drive_writer import DriveWriter, Images
from sensors.source import SensorInfo

PARTS_WITHIN_BOUND = 10  # where only a bound is given: a tenth of it goes at a time
SUFFIX = ".mcap"


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """How a recording is written; None: no limit."""

    images: Images = "keep"
    rotate_bytes: int | None = None
    rotate_s: float | None = None
    keep_bytes: int | None = None  # of all parts together, those of earlier runs too

    @property
    def in_parts(self) -> bool:
        """Whether there may be more than one file."""
        return self.rotate_bytes is not None or self.rotate_s is not None or self.keep_bytes is not None

    @property
    def part_bytes(self) -> int | None:
        """How large a part gets."""
        if self.rotate_bytes is None and self.keep_bytes is not None:
            return max(1, self.keep_bytes // PARTS_WITHIN_BOUND)
        return self.rotate_bytes


class Parts:
    """Gives one writer after the other. For one thread."""

    def __init__(
        self, path: Path, settings: RecordSettings, sensors: Sequence[SensorInfo], calibration: Calibration
    ) -> None:
        self.path = path
        self.settings = settings
        self.removed = 0
        self.finished_bytes = 0  # of parts of this run that are whole, removed ones too
        self._sensors = sensors
        self._calibration = calibration
        self._number = max((number for number, _ in self._existing()), default=-1) + 1

    def check(self) -> None:
        """Raise `UsageError` where nothing can be written. Leaves nothing behind."""
        if self.path.suffix.lower() != SUFFIX:
            raise UsageError(str(self.path), "is no .mcap file", "give the recording a name that ends in .mcap")
        if not self.settings.in_parts and self.path.exists():
            raise UsageError(str(self.path), "is there already", "choose another name; a recording replaces nothing")
        try:
            probe = self.path.with_name(f".{self.path.stem}.probe")
            probe.touch()
            probe.unlink()
        except OSError as error:
            what = f"cannot be written ({error.strerror})"
            raise UsageError(str(self.path), what, "choose another place; its folder has to exist") from None

    def next(self, about: Mapping[str, str]) -> DriveWriter:
        """Open the next part. Raises OSError."""
        path = self.path
        if self.settings.in_parts:
            path = self.path.with_name(f"{self.path.stem}-{self._number:04d}{SUFFIX}")
        writer = DriveWriter(
            path, self._sensors, images=self.settings.images, calibration=self._calibration, about=about
        )
        self._number += 1
        return writer

    def is_full(self, writer: DriveWriter, age_s: float) -> bool:
        """Whether it is time for another part."""
        limit = self.settings.part_bytes
        size = writer.container.bytes_written
        return (limit is not None and size >= limit) or (
            self.settings.rotate_s is not None and age_s >= self.settings.rotate_s
        )

    def make_room(self, growing: Path) -> None:
        """Remove the oldest parts while all together are over the bound; never the one that grows."""
        bound = self.settings.keep_bytes
        if bound is None:
            return
        sizes = []
        for _, part in self._existing():
            with suppress(OSError):
                sizes.append((part, part.stat().st_size))
        total = sum(size for _, size in sizes)
        for part, size in sizes:
            if total <= bound:
                return
            if part != growing:
                with suppress(OSError):
                    part.unlink()
                    self.removed += 1
                    total -= size

    def _existing(self) -> list[tuple[int, Path]]:
        """The parts that are there, oldest first."""
        name = re.compile(re.escape(self.path.stem) + r"-(\d{4,})" + re.escape(SUFFIX))
        try:
            beside = list(self.path.parent.iterdir())
        except OSError:
            return []
        return sorted((int(match[1]), path) for path in beside if (match := name.fullmatch(path.name)))
