"""Point cloud files (PCD, version 0.7, binary): a header in text says what each point's bytes are.

The header's count of points is the truth, and not the file's size: files with bytes behind the last point are about.
https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.drives.float32 import as_float32
from sensors.drives.image_file import UnreadableFileError, read_file

_MOST_HEADER_BYTES = 1 << 16
_KINDS = {"F": "f", "I": "i", "U": "u"}
_SIZES = {"F": ("4", "8"), "I": ("1", "2", "4", "8"), "U": ("1", "2", "4", "8")}


@dataclass(frozen=True, slots=True)
class PcdCloud:
    """A file's points: `columns` by name, (N,) each, and how many bytes lie behind the last one."""

    columns: dict[str, NDArray[Any]]
    bytes_behind: int

    def table(self) -> NDArray[np.float32]:
        """All columns (N, fields) float32."""
        return np.stack([as_float32(column) for column in self.columns.values()], axis=1)


def read_pcd(file: Path) -> PcdCloud:
    """Read a binary PCD file. Raises `UnreadableFileError`."""
    data = read_file(file)
    header, begin = _header(file.name, data)
    try:
        names, sizes, kinds = header["FIELDS"], header["SIZE"], header["TYPE"]
        counts = header.get("COUNT", ["1"] * len(names))
        points = int(header["POINTS"][0])
        if header["DATA"] != ["binary"]:
            how = " ".join(header["DATA"])[:30]
            raise UnreadableFileError(f"{file.name}: its data is {how}, and only binary is read")
        if len({len(names), len(sizes), len(kinds), len(counts), len(set(names))}) > 1 or set(counts) != {"1"}:
            raise UnreadableFileError(f"{file.name}: its header does not say what a point is")
        if any(size not in _SIZES[kind] for size, kind in zip(sizes, kinds, strict=True)):
            raise UnreadableFileError(f"{file.name}: its header names a type of number that does not exist")
        point = np.dtype([(n, f"<{_KINDS[k]}{s}") for n, s, k in zip(names, sizes, kinds, strict=True)])
    except (KeyError, ValueError, IndexError):
        raise UnreadableFileError(f"{file.name}: its header lacks a line, or has no number where one belongs") from None
    behind = len(data) - begin - points * point.itemsize
    if points < 0 or behind < 0:
        whole = (len(data) - begin) // point.itemsize
        raise UnreadableFileError(f"{file.name}: is cut short: it has {whole} of {points} points")
    rows = np.frombuffer(data, point, count=points, offset=begin)
    return PcdCloud({name: np.ascontiguousarray(rows[name]) for name in names}, behind)


def _header(name: str, data: bytes) -> tuple[dict[str, list[str]], int]:
    """The header's lines by their first word, and where the data begins."""
    header: dict[str, list[str]] = {}
    offset = 0
    while "DATA" not in header:
        end = data.find(b"\n", offset, _MOST_HEADER_BYTES)
        if end < 0:
            raise UnreadableFileError(f"{name}: is no PCD file: its header does not end")
        words = data[offset:end].decode("ascii", "replace").split()
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
        offset = end + 1
    return header, offset
