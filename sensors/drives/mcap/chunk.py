"""One chunk of an MCAP file: where it lies, and its content, decompressed and checked.

A damaged chunk is told by its checksum. One cut short, at the end of a file whose writer was killed, gives what is
there of it if it is not compressed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import lz4.frame
import zstandard
from mcap.opcode import Opcode

from sensors.drives.mcap.layout import CHUNK_HEAD, MOST_CHUNK_BYTES, RECORD_HEAD
from sensors.drives.mcap.random_access import RandomAccessFile


class DamagedError(Exception):
    """A part of the file that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk's record lies, and what is declared of it."""

    offset: int  # of its record
    length: int  # of its record, its head included; of a torn one what is there
    first_ns: int
    last_ns: int
    index_offset: int  # of the message indexes behind it
    index_length: int
    channels: tuple[int, ...]  # that have messages in it, as far as declared
    is_torn: bool = False


def read_chunk(file: RandomAccessFile, place: ChunkPlace, *, check: bool) -> memoryview:
    """Read and decompress a chunk. `check`: its checksum too. Raises `DamagedError`."""
    where = f"the chunk at byte {place.offset}"
    if place.length > MOST_CHUNK_BYTES:
        raise DamagedError(f"{where} has {place.length} bytes, more than {MOST_CHUNK_BYTES}")
    record = file.read(place.length, place.offset)
    head = RECORD_HEAD.size + CHUNK_HEAD.size
    if len(record) < place.length or len(record) < head + 4 or record[0] != Opcode.CHUNK:
        raise DamagedError(f"{where} is not there")
    _, _, size, crc = CHUNK_HEAD.unpack_from(record, RECORD_HEAD.size)
    name_length = int.from_bytes(record[head : head + 4], "little")
    begin = head + 4 + name_length + 8
    compression = record[head + 4 : head + 4 + name_length]
    if begin > len(record):
        raise DamagedError(f"{where} has a damaged head")
    data = memoryview(record)[begin:]
    if place.is_torn:
        if compression:
            raise DamagedError(f"{where} is cut short, and compressed")
        return data
    if int.from_bytes(record[begin - 8 : begin], "little") != len(data):
        raise DamagedError(f"{where} has a damaged head")
    content = _decompressed(bytes(compression), data, size, where)
    if check and crc and zlib.crc32(content) != crc:
        raise DamagedError(f"{where} is damaged: its checksum does not fit")
    return content


def _decompressed(compression: bytes, data: memoryview, size: int, where: str) -> memoryview:
    """Decompress into exactly `size` bytes, and never more memory than that. Raises `DamagedError`."""
    if size > MOST_CHUNK_BYTES:
        raise DamagedError(f"{where} would be {size} bytes, more than {MOST_CHUNK_BYTES}")
    try:
        if not compression:
            content = data
        elif compression == b"zstd":
            # A frame that declares its own size is given that much memory, whatever is asked for.
            if zstandard.frame_content_size(data) > size:
                raise DamagedError(f"{where} is damaged: it is larger than it says")
            whole = zstandard.ZstdDecompressor().decompress(data, max_output_size=size) if size else b""
            content = memoryview(whole)
        elif compression == b"lz4":
            content = memoryview(lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size))
        else:
            raise DamagedError(f"{where} is compressed with {compression[:20]!r}, which is not known")
    except (zstandard.ZstdError, RuntimeError, EOFError, ValueError, MemoryError) as error:
        raise DamagedError(f"{where} is damaged: {error}") from None
    if len(content) != size:
        raise DamagedError(f"{where} is damaged: it has {len(content)} of {size} bytes")
    return content
