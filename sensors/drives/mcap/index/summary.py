"""A file's contents from the summary at its end."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from mcap import records
from mcap.opcode import Opcode

from sensors.drives.mcap.chunk import ChunkPlace, DamagedError
from sensors.drives.mcap.index.contents import PARSE_ERRORS, Contents, parsed
from sensors.drives.mcap.layout import MAGIC, MOST_RECORD_BYTES, RECORD_HEAD, records_in
from sensors.drives.mcap.random_access import RandomAccessFile

_FOOTER = struct.Struct("<BQQQI")
_CHUNK_INDEX_HEAD = struct.Struct("<QQQQI")  # of a chunk's index: first and last time, place, length; bytes of places
_CHUNK_INDEX_PLACE = struct.Struct("<HQ")  # channel, and where its message index is
_MOST_SUMMARY_BYTES = 256 << 20
_MOST_HEADER_BYTES = 1 << 16


def summarised(file: RandomAccessFile) -> Contents | None:
    """Take the contents from the end of the file. None where there is no summary that can be trusted."""
    summary = _summary(file)
    if summary is None:
        return None
    contents = Contents(has_end=True)
    metadata: list[Any] = []
    has_messages = False
    try:
        for kind, payload in records_in(summary):
            if kind == Opcode.CHUNK_INDEX:
                contents.chunks.append(_chunk_place(payload, file.size))
            elif kind == Opcode.METADATA_INDEX:
                metadata.append(parsed(records.MetadataIndex, payload))
            elif kind == Opcode.STATISTICS:
                has_messages = any(parsed(records.Statistics, payload).channel_message_counts.values())
            else:
                contents.take(kind, payload)
    except (*PARSE_ERRORS, DamagedError):
        return None
    if not _is_whole(contents, has_messages, file.size):
        return None
    for place in metadata:
        record = file.read(min(place.length, MOST_RECORD_BYTES), place.offset)
        contents.take(Opcode.METADATA, record[RECORD_HEAD.size :])
    for kind, payload in records_in(file.read(_MOST_HEADER_BYTES, len(MAGIC))):
        if kind == Opcode.HEADER:
            contents.take(kind, payload)
        break
    return contents


def _summary(file: RandomAccessFile) -> bytes | None:
    """What lies before the footer; None where there is no footer, or its checksum does not fit."""
    tail = file.read(_FOOTER.size + len(MAGIC), file.size - _FOOTER.size - len(MAGIC))
    if len(tail) < _FOOTER.size + len(MAGIC) or not tail.endswith(MAGIC):
        return None
    opcode, length, start, _, crc = _FOOTER.unpack_from(tail)
    end = file.size - len(tail)
    is_sound = opcode == Opcode.FOOTER and length == _FOOTER.size - RECORD_HEAD.size
    if not is_sound or not len(MAGIC) <= start < end or end - start > _MOST_SUMMARY_BYTES:
        return None
    summary = file.read(end - start, start)
    is_damaged = crc and zlib.crc32(tail[: _FOOTER.size - 4], zlib.crc32(summary)) != crc
    return None if is_damaged else summary


def _is_whole(contents: Contents, has_messages: bool, size: int) -> bool:
    """Whether the summary tells of all that it should; some writers leave parts of it away."""
    if sum(chunk.length + chunk.index_length for chunk in contents.chunks) > size:
        return False  # chunks that overlap: one index would be read again and again
    used = {channel for chunk in contents.chunks for channel in chunk.channels}
    return used <= contents.channels.keys() and (bool(contents.chunks) or not has_messages)


def _chunk_place(payload: bytes, size: int) -> ChunkPlace:
    """From the summary's record, in a file of `size` bytes. Raises `DamagedError` where it leads out of that."""
    first_ns, last_ns, offset, length, places = _CHUNK_INDEX_HEAD.unpack_from(payload)
    behind = _CHUNK_INDEX_HEAD.size + places
    if places % _CHUNK_INDEX_PLACE.size or behind + 8 > len(payload):
        raise DamagedError("a chunk of the index is not as it says")
    named = memoryview(payload)[_CHUNK_INDEX_HEAD.size : behind]
    channels = tuple(channel for channel, _ in _CHUNK_INDEX_PLACE.iter_unpack(named))
    # Where no channel has an index there, its length is no clue: some writers leave it 0.
    index_length = int.from_bytes(payload[behind : behind + 8], "little") if channels else 0
    if offset + length + index_length > size:
        raise DamagedError("a chunk of the index lies outside of the file")
    return ChunkPlace(offset, length, first_ns, last_ns, offset + length, index_length, channels)
