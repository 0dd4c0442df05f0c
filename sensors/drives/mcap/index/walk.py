"""The contents of a file without an end: every record from the beginning on, without reading what is in chunks."""

from __future__ import annotations

from mcap.opcode import Opcode

from sensors.drives.mcap.chunk import ChunkPlace
from sensors.drives.mcap.index.contents import Contents
from sensors.drives.mcap.layout import (
    CHUNK_HEAD,
    MAGIC,
    MESSAGE_HEAD,
    MOST_CHUNK_BYTES,
    MOST_RECORD_BYTES,
    RECORD_HEAD,
)
from sensors.drives.mcap.random_access import RandomAccessFile


def walked(file: RandomAccessFile) -> Contents:
    """Find every record; stop where the file ends, or no record can be."""
    contents = Contents()
    chunks = contents.chunks
    offset = len(MAGIC)
    while True:
        head = file.read(RECORD_HEAD.size + CHUNK_HEAD.size, offset)
        if len(head) < RECORD_HEAD.size:
            contents.torn_bytes = len(head)
            break
        opcode, length = RECORD_HEAD.unpack_from(head)
        end = offset + RECORD_HEAD.size + length
        if opcode in (Opcode.DATA_END, Opcode.FOOTER):
            contents.has_end = file.read(len(MAGIC), file.size - len(MAGIC)) == MAGIC
            break
        if opcode == 0 or end > file.size:
            contents.torn_bytes = file.size - offset
            _take_torn(contents, opcode, offset, head)
            break
        if opcode == Opcode.CHUNK and len(head) == RECORD_HEAD.size + CHUNK_HEAD.size:
            first_ns, last_ns, _, _ = CHUNK_HEAD.unpack_from(head, RECORD_HEAD.size)
            chunks.append(ChunkPlace(offset, end - offset, first_ns, last_ns, end, 0, ()))
        elif opcode == Opcode.MESSAGE_INDEX and chunks:
            last = chunks[-1]
            if last.index_offset + last.index_length == offset:
                chunks[-1] = _with_index(last, last.index_length + end - offset)
        elif opcode == Opcode.MESSAGE and len(head) >= MESSAGE_HEAD.size:
            _, _, channel, _, log_time, _ = MESSAGE_HEAD.unpack_from(head)
            if log_time < 1 << 63:
                contents.loose.append((log_time, offset, channel))
        elif length <= MOST_RECORD_BYTES:
            contents.take(opcode, file.read(length, offset + RECORD_HEAD.size))
        offset = end
    return contents


def _with_index(place: ChunkPlace, length: int) -> ChunkPlace:
    # Not by `replace`: it made opening a file of many small chunks a seventh slower.
    return ChunkPlace(place.offset, place.length, place.first_ns, place.last_ns, place.index_offset, length, ())


def _take_torn(contents: Contents, opcode: int, offset: int, head: bytes) -> None:
    """A record that the file's end cuts: of a chunk that is not compressed the first messages are whole."""
    if opcode != Opcode.CHUNK or len(head) < RECORD_HEAD.size + CHUNK_HEAD.size:
        return
    first_ns, last_ns, _, _ = CHUNK_HEAD.unpack_from(head, RECORD_HEAD.size)
    length = min(contents.torn_bytes, MOST_CHUNK_BYTES)
    end = offset + contents.torn_bytes
    contents.chunks.append(ChunkPlace(offset, length, first_ns, last_ns, end, 0, (), is_torn=True))
