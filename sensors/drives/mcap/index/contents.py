"""What a file was found to hold: its schemas and channels, its metadata, and where its chunks are."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode

from sensors.drives.mcap.chunk import ChunkPlace

PARSE_ERRORS = (McapError, struct.error, UnicodeDecodeError, ValueError)


@dataclass(slots=True)
class Contents:
    """Filled while a file is opened. Schemas and channels by their number."""

    header: Any = None
    schemas: dict[int, Any] = field(default_factory=dict)
    channels: dict[int, Any] = field(default_factory=dict)
    metadata: list[Any] = field(default_factory=list)
    chunks: list[ChunkPlace] = field(default_factory=list)
    loose: list[tuple[int, int, int]] = field(default_factory=list)  # messages outside of chunks: time, offset, channel
    has_end: bool = False  # written to its end; else its writer was killed, or still writes
    torn_bytes: int = 0  # at the end of a file without an end, of a record that is not whole

    def take(self, opcode: int, payload: bytes) -> None:
        """Take in a small record; one that cannot be parsed tells nothing."""
        try:
            if opcode == Opcode.SCHEMA:
                schema = parsed(records.Schema, payload)
                self.schemas[schema.id] = schema
            elif opcode == Opcode.CHANNEL:
                channel = parsed(records.Channel, payload)
                self.channels[channel.id] = channel
            elif opcode == Opcode.METADATA:
                self.metadata.append(parsed(records.Metadata, payload))
            elif opcode == Opcode.HEADER:
                self.header = parsed(records.Header, payload)
        except PARSE_ERRORS:
            return


def parsed(kind: Any, payload: bytes) -> Any:
    """A record of one kind of `mcap.records`. Raises one of `PARSE_ERRORS`."""
    return kind.read(ReadDataStream(BytesIO(payload)))
