"""A file that is read at any place, whatever a damaged index says of where that is."""

from __future__ import annotations

import os
from pathlib import Path


class RandomAccessFile:
    """One open file. Its size is that of the moment of opening: what a writer adds later is not read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        self.size = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file; what was read stays readable."""
        self._file.close()

    def read(self, length: int, offset: int) -> bytes:
        """Read up to `length` bytes; fewer where the file ends."""
        return os.pread(self._file.fileno(), max(0, min(length, self.size - offset)), offset) if offset >= 0 else b""
