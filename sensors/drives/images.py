"""A folder of images, or one image file, as a source: the files in natural order, one stamp apart.

Stamps are index / rate: files carry no time that can be trusted. Images become 8-bit BGR and may differ
in size.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from threading import Event

from sensors.drives.image_file import UnreadableFileError, read_coded_image
from sensors.drives.suffixes import IMAGE_SUFFIXES
from sensors.errors import RequestError
from sensors.frame import Fault, Frame, Item
from sensors.source import SensorInfo, SourceInfo, Span

# What a folder of images is played at unless said otherwise: the rate of many recorded drives.
DEFAULT_RATE_HZ = 10.0

_NS_PER_S = 1_000_000_000


class ImageFolder:
    """Source of one camera's frames from image files, read when their turn comes.

    A file that is empty, damaged, cut short or unreadable is a Fault; the next one still comes. Images are
    fresh memory each: nothing to release.
    """

    def __init__(self, path: Path, name: str, span: Span | None = None, rate_hz: float = DEFAULT_RATE_HZ) -> None:
        files = _image_files(path)
        span = span or Span()
        rate = Fraction(rate_hz)
        stamps = [round(index * _NS_PER_S / rate) for index in range(len(files))]
        self._name = name
        self._files = [
            (stamp_ns, file) for stamp_ns, file in zip(stamps, files, strict=True) if _contains(span, stamp_ns)
        ]
        self._closed = Event()
        sensor = SensorInfo(name=name, kind="camera", rate_hz=rate_hz, count=len(self._files))
        self._info = SourceInfo(uri=str(path), sensors=(sensor,), live=False)

    @property
    def info(self) -> SourceInfo:
        """Count and rate; no size, because every image may have its own."""
        return self._info

    def __enter__(self) -> ImageFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration at its next image. Any thread, any number of times."""
        self._closed.set()

    def __iter__(self) -> Iterator[Item]:
        for sequence, (stamp_ns, file) in enumerate(self._files):
            if self._closed.is_set():
                return
            yield self._read(sequence, stamp_ns, file)

    def _read(self, sequence: int, stamp_ns: int, file: Path) -> Item:
        arrival_ns = time.monotonic_ns()
        try:
            image, coded = read_coded_image(file)
        except UnreadableFileError as reason:
            return Fault(self._name, sequence, stamp_ns, arrival_ns, str(reason))
        return Frame(self._name, sequence, stamp_ns, arrival_ns, time.monotonic_ns(), image, coded=coded)


def natural_order(file: Path) -> tuple[list[str | int], str]:
    """Sort key under which frame2 comes before frame10."""
    parts = re.split(r"([0-9]+)", file.name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], file.name


def _contains(span: Span, stamp_ns: int) -> bool:
    return span.start_ns <= stamp_ns and (span.end_ns is None or stamp_ns < span.end_ns)


def _image_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        # Hidden files are other programs' notes (macOS writes ._frame1.jpg beside frame1.jpg). A link that
        # leads nowhere stays: somebody meant an image there, and it becomes a Fault.
        found = [
            file
            for file in path.iterdir()
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and not file.is_dir()
        ]
    except OSError as error:
        raise RequestError(str(path), f"cannot be read: {error.strerror}", "check the folder") from error
    if not found:
        known = " ".join(sorted(IMAGE_SUFFIXES))
        raise RequestError(str(path), "has no images in it", f"name a folder that holds files of {known}")
    return sorted(found, key=natural_order)
