"""All messages of a file by time, as its chunks' message indexes tell of them.

The index behind a damaged chunk still says which messages it held, and when. Where that index is missing or damaged,
the chunk itself is read; where that cannot be read either, the chunk is lost as a whole.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from mcap.opcode import Opcode
from numpy.typing import NDArray

from sensors.drives.mcap.chunk import ChunkPlace, DamagedError, read_chunk
from sensors.drives.mcap.index.contents import Contents
from sensors.drives.mcap.layout import MESSAGE_FIELDS_BYTES, MESSAGE_HEAD, MOST_RECORD_BYTES, RECORD_HEAD, records_in
from sensors.drives.mcap.random_access import RandomAccessFile
from sensors.errors import RequestError

ENTRY = np.dtype([("log_time", "<i8"), ("offset", "<i8"), ("chunk", "<i4"), ("channel", "<u2")])
NO_CHUNK = -1  # a message that lies in the file itself; its offset is the file's

_MOST_MESSAGES = 20_000_000  # five hours of a sensor that measures a thousand times a second
_INDEX_HEAD = struct.Struct("<HI")  # of a message index: channel, bytes that follow


@dataclass(frozen=True, slots=True)
class LostChunk:
    """A chunk of which nothing can be said but when it was, and of which channels."""

    first_ns: int
    channels: tuple[int, ...]
    reason: str


class _Run(NamedTuple):
    """The messages of one channel in one chunk: `pairs` (N, 2) int64, time and offset."""

    chunk: int
    channel: int
    pairs: NDArray[np.int64]


def entries_of(file: RandomAccessFile, contents: Contents) -> tuple[NDArray[Any], list[LostChunk]]:
    """Every message of every chunk by time, an array of `ENTRY`, and the chunks that are lost.

    Those of equal times stay as they lie in the file. Schemas and channels that stand in chunks alone are added to
    `contents`.
    """
    lost = []
    found = [_Run(NO_CHUNK, channel, np.array([[time, offset]])) for time, offset, channel in contents.loose]
    count = len(found)
    for number, place in enumerate(contents.chunks):
        try:
            runs = _runs_of(file, contents, number, place)
        except DamagedError as damage:
            lost.append(LostChunk(min(place.first_ns, (1 << 63) - 1), place.channels, str(damage)))
            continue
        found += runs
        count += sum(len(run.pairs) for run in runs)
        if count > _MOST_MESSAGES:
            what = f"has more than {_MOST_MESSAGES} messages"
            raise RequestError(str(file.path), what, "cut it into parts (`mcap filter` of the mcap tool)")
    return _sorted(found), lost


def _runs_of(file: RandomAccessFile, contents: Contents, number: int, place: ChunkPlace) -> list[_Run]:
    """From the indexes behind a chunk; where they are missing or damaged, from the chunk itself."""
    runs = _indexed(file, number, place) if place.index_length else None
    if runs is None:
        runs = _runs_within(file, contents, number, place)
    if not {run.channel for run in runs} <= contents.channels.keys():
        raise DamagedError(f"the chunk at byte {place.offset} has messages of channels that the file does not name")
    return runs


def _indexed(file: RandomAccessFile, number: int, place: ChunkPlace) -> list[_Run] | None:
    runs = []
    for opcode, payload in records_in(file.read(place.index_length, place.index_offset)):
        if opcode != Opcode.MESSAGE_INDEX or len(payload) < _INDEX_HEAD.size:
            return None
        channel, length = _INDEX_HEAD.unpack_from(payload)
        if length != len(payload) - _INDEX_HEAD.size or length % 16:
            return None
        pairs = np.frombuffer(payload, "<i8", offset=_INDEX_HEAD.size).reshape(-1, 2)
        if length and pairs.min() < 0:
            return None
        if length:
            runs.append(_Run(number, channel, pairs))
    is_whole = runs and {run.channel for run in runs} >= set(place.channels)
    return runs if is_whole else None


def _runs_within(file: RandomAccessFile, contents: Contents, number: int, place: ChunkPlace) -> list[_Run]:
    """From the messages themselves, of a chunk that has no index."""
    content = read_chunk(file, place, check=True)
    found: dict[int, list[tuple[int, int]]] = {}
    offset = 0
    while offset + RECORD_HEAD.size <= len(content):
        opcode, length = RECORD_HEAD.unpack_from(content, offset)
        end = offset + RECORD_HEAD.size + length
        if opcode == 0 or end > len(content):
            break
        if opcode == Opcode.MESSAGE and length >= MESSAGE_FIELDS_BYTES:
            _, _, channel, _, log_time, _ = MESSAGE_HEAD.unpack_from(content, offset)
            if log_time < 1 << 63:
                found.setdefault(channel, []).append((log_time, offset))
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL) and length <= MOST_RECORD_BYTES:
            contents.take(opcode, bytes(content[offset + RECORD_HEAD.size : end]))
        offset = end
    return [_Run(number, channel, np.array(pairs, np.int64)) for channel, pairs in found.items()]


def _sorted(runs: list[_Run]) -> NDArray[Any]:
    """All messages by time; those of equal times as they lie in the file."""
    counts = [len(run.pairs) for run in runs]
    entries = np.empty(sum(counts), ENTRY)
    if runs:
        pairs = np.concatenate([run.pairs for run in runs])
        entries["log_time"], entries["offset"] = pairs[:, 0], pairs[:, 1]
        entries["chunk"] = np.repeat([run.chunk for run in runs], counts)
        entries["channel"] = np.repeat([run.channel for run in runs], counts)
    in_order: NDArray[Any] = entries[np.lexsort((entries["offset"], entries["chunk"], entries["log_time"]))]
    return in_order
