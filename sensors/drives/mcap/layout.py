"""How records lie in an MCAP file: the sizes of their heads, and the most that is believed of them.

Format: MCAP specification, version 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAGIC = b"\x89MCAP0\r\n"
RECORD_HEAD = struct.Struct("<BQ")  # opcode, length of what follows
MESSAGE_HEAD = struct.Struct("<BQHIQQ")  # record head, channel, sequence, log time, publish time
CHUNK_HEAD = struct.Struct("<QQQI")  # first and last log time, size and CRC-32 of what is in it
MESSAGE_FIELDS_BYTES = MESSAGE_HEAD.size - RECORD_HEAD.size

# Real chunks hold 1 to 16 MB. What asks for more memory than this is a damaged or a hostile header.
MOST_CHUNK_BYTES = 256 << 20
MOST_RECORD_BYTES = 16 << 20  # of a schema, a channel, metadata


def records_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Opcode and content of the whole records that lie end to end in `data`."""
    offset = 0
    while offset + RECORD_HEAD.size <= len(data):
        opcode, length = RECORD_HEAD.unpack_from(data, offset)
        begin = offset + RECORD_HEAD.size
        if begin + length > len(data):
            return
        yield opcode, data[begin : begin + length]
        offset = begin + length
