"""An MCAP file written so that what is in it stays readable whatever happens next.

Messages gather in a chunk, which is written whole: when it is large enough, or when `flush` says so. What a full disk
cuts is taken back, so that the file always ends behind a whole record. Pictures are compressed already, and lie in
chunks of their own that are not compressed again; of such a chunk that a power cut tears the first messages can still
be read. Schemas and channels stand outside of chunks: a damaged one takes no other's meaning with it.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard
from mcap import records
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode

from sensors.drives.mcap.layout import CHUNK_HEAD, MAGIC, MESSAGE_FIELDS_BYTES, MESSAGE_HEAD, RECORD_HEAD

CHUNK_BYTES = 1 << 20  # what is gathered before it is written; what one damaged byte costs at the most
_ZSTD_LEVEL = 1  # of a lidar scan a third less at 400 MB/s; level 3 gains 2 % more and takes half as long again

LIBRARY = "edge-perception"


class NotWrittenError(Exception):
    """The disk did not take a chunk. `messages`: how many were in it, by channel; the file is as it was before."""

    def __init__(self, messages: Mapping[int, int], cause: OSError) -> None:
        super().__init__(cause.strerror or str(cause))
        self.messages = dict(messages)
        self.cause = cause


@dataclass(slots=True)
class _Chunk:
    """Messages that wait to be written together."""

    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    crc: int = 0
    first_ns: int = 0
    last_ns: int = 0
    index: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # by channel: time and offset


class McapWriter:
    """Writes one new file. For one thread. Raises OSError on opening, NotWrittenError later.

    `flush` and `finish` are the caller's to call; a file without its end is readable, only slower to open.
    """

    def __init__(self, path: Path, profile: str = "") -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._end = 0  # of the last whole record
        self._schemas: list[Any] = []
        self._channels: list[Any] = []
        self._is_compressed: list[bool] = []
        self._open: dict[bool, _Chunk] = {True: _Chunk(), False: _Chunk()}
        self._chunk_indexes: list[Any] = []
        self._metadata_indexes: list[Any] = []
        self._counts: Counter[int] = Counter()
        builder = RecordBuilder()
        records.Header(profile, LIBRARY).write(builder)
        try:
            self._write(MAGIC + _taken(builder), {})
        except NotWrittenError as failure:
            os.close(self._fd)
            path.unlink(missing_ok=True)
            raise failure.cause from None

    @property
    def bytes_written(self) -> int:
        """The file's size so far."""
        return self._end

    @property
    def bytes_waiting(self) -> int:
        """Of messages that are in no chunk of the file yet."""
        return sum(chunk.size for chunk in self._open.values())

    def add_schema(self, name: str, encoding: str, data: bytes) -> int:
        """Write a schema and give its id."""
        schema = records.Schema(id=len(self._schemas) + 1, data=data, encoding=encoding, name=name)
        self._write(_built(schema), {})
        self._schemas.append(schema)
        return schema.id

    def add_channel(
        self, topic: str, encoding: str, schema: int, metadata: Mapping[str, str] | None = None, *, compress: bool
    ) -> int:
        """Write a channel and give its id. `compress`: its messages, with those of all such channels."""
        channel = records.Channel(
            id=len(self._channels) + 1,
            topic=topic,
            message_encoding=encoding,
            schema_id=schema,
            metadata=dict(metadata or {}),
        )
        self._write(_built(channel), {})
        self._channels.append(channel)
        self._is_compressed.append(compress)
        return channel.id

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write a record of names and values, at once."""
        record = _built(records.Metadata(name=name, metadata=dict(values)))
        offset = self._end
        self._write(record, {})
        self._metadata_indexes.append(records.MetadataIndex(offset=offset, length=len(record), name=name))

    def add(self, channel: int, log_time: int, data: bytes, *, publish_time: int, sequence: int) -> None:
        """Add a message; its chunk is written once it is large enough. Times in ns, not below 0."""
        chunk = self._open[self._is_compressed[channel - 1]]
        head = MESSAGE_HEAD.pack(
            Opcode.MESSAGE,
            MESSAGE_FIELDS_BYTES + len(data),
            channel,
            sequence & 0xFFFF_FFFF,
            log_time,
            publish_time,
        )
        chunk.first_ns = min(chunk.first_ns, log_time) if chunk.pieces else log_time
        chunk.last_ns = max(chunk.last_ns, log_time) if chunk.pieces else log_time
        chunk.index.setdefault(channel, []).append((log_time, chunk.size))
        chunk.pieces += (head, data)
        chunk.crc = zlib.crc32(data, zlib.crc32(head, chunk.crc))
        chunk.size += len(head) + len(data)
        if chunk.size >= CHUNK_BYTES:
            self._close_chunk(compress=self._is_compressed[channel - 1])

    def flush(self, *, to_disk: bool) -> None:
        """Write what was added; `to_disk`: wait until it would survive a power cut."""
        for compress in (False, True):
            self._close_chunk(compress=compress)
        if to_disk:
            os.fdatasync(self._fd)

    def finish(self) -> dict[int, int]:
        """Write the end, to the disk, and close; give how many messages had to go for it, by channel.

        Where the disk has no room for the index, the last chunks make room.
        """
        lost: Counter[int] = Counter()
        try:
            try:
                self.flush(to_disk=False)
            except NotWrittenError as failure:
                lost.update(failure.messages)
            while True:
                try:
                    self._write(self._summary(), {})
                    break
                except NotWrittenError:
                    if not self._chunk_indexes:
                        break  # readable without
                    lost.update(self._take_back_chunk())
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
        return lost

    def abandon(self) -> None:
        """Close without an end, as if killed; what was flushed stays."""
        os.close(self._fd)

    # --- records --------------------------------------------------------------------------------------

    def _close_chunk(self, *, compress: bool) -> None:
        chunk = self._open[compress]
        if not chunk.pieces:
            return
        self._open[compress] = _Chunk()
        counts = {channel: len(entries) for channel, entries in chunk.index.items()}
        name = b"zstd" if compress else b""
        pieces = chunk.pieces
        if compress:
            pieces = [zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(b"".join(pieces))]
        size = sum(map(len, pieces))
        length = CHUNK_HEAD.size + 4 + len(name) + 8 + size
        head = [
            RECORD_HEAD.pack(Opcode.CHUNK, length),
            CHUNK_HEAD.pack(chunk.first_ns, chunk.last_ns, chunk.size, chunk.crc),
            len(name).to_bytes(4, "little"),
            name,
            size.to_bytes(8, "little"),
        ]
        offset, chunk_length = self._end, RECORD_HEAD.size + length
        builder = RecordBuilder()
        places = {}
        for channel, entries in chunk.index.items():
            places[channel] = offset + chunk_length + builder.count
            records.MessageIndex(channel, entries).write(builder)
        index = _taken(builder)
        self._write(b"".join([*head, *pieces, index]), counts)
        self._counts.update(counts)
        self._chunk_indexes.append(
            records.ChunkIndex(
                chunk_length=chunk_length,
                chunk_start_offset=offset,
                compression=name.decode(),
                compressed_size=size,
                message_end_time=chunk.last_ns,
                message_index_length=len(index),
                message_index_offsets=places,
                message_start_time=chunk.first_ns,
                uncompressed_size=chunk.size,
            )
        )

    def _take_back_chunk(self) -> dict[int, int]:
        """Cut the last chunk off the file; give the messages in it by channel."""
        last = self._chunk_indexes.pop()
        self._end = last.chunk_start_offset
        os.ftruncate(self._fd, self._end)
        os.lseek(self._fd, self._end, os.SEEK_SET)
        # One index record a channel, of 15 bytes and 16 a message; the next one begins where it ends.
        ends = [*list(last.message_index_offsets.values())[1:], self._index_end(last)]
        lost = {
            channel: (end - begin - 15) // 16
            for (channel, begin), end in zip(last.message_index_offsets.items(), ends, strict=True)
        }
        self._counts.subtract(lost)
        # What was written behind the chunk went with it.
        self._metadata_indexes = [place for place in self._metadata_indexes if place.offset < self._end]
        return lost

    @staticmethod
    def _index_end(index: Any) -> int:
        end: int = index.chunk_start_offset + index.chunk_length + index.message_index_length
        return end

    def _summary(self) -> bytes:
        """Everything behind the last chunk."""
        data_end = _built(records.DataEnd(0))
        start = self._end + len(data_end)
        builder = RecordBuilder()
        offsets = []

        def group(opcode: Opcode, of_group: list[Any]) -> None:
            if not of_group:
                return
            begin = builder.count
            for record in of_group:
                record.write(builder)
            offsets.append(records.SummaryOffset(opcode, start + begin, builder.count - begin))

        group(Opcode.SCHEMA, self._schemas)
        group(Opcode.CHANNEL, self._channels)
        group(Opcode.STATISTICS, [self._statistics()])
        group(Opcode.CHUNK_INDEX, self._chunk_indexes)
        group(Opcode.METADATA_INDEX, self._metadata_indexes)
        offsets_start = start + builder.count
        for offset in offsets:
            offset.write(builder)
        summary = _taken(builder)
        footer = _built(records.Footer(start, offsets_start, 0))[:-4]
        crc = zlib.crc32(footer, zlib.crc32(summary))
        return b"".join([data_end, summary, footer, crc.to_bytes(4, "little"), MAGIC])

    def _statistics(self) -> Any:
        times = [(index.message_start_time, index.message_end_time) for index in self._chunk_indexes]
        return records.Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts={channel.id: self._counts[channel.id] for channel in self._channels},
            chunk_count=len(self._chunk_indexes),
            message_count=sum(self._counts.values()),
            message_end_time=max((last for _, last in times), default=0),
            message_start_time=min((first for first, _ in times), default=0),
            metadata_count=len(self._metadata_indexes),
            schema_count=len(self._schemas),
        )

    def _write(self, data: bytes, messages: Mapping[int, int]) -> None:
        """Write whole records behind the last one; if the disk does not take all of it, nothing stays."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as failure:
            os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)
            raise NotWrittenError(messages, failure) from failure
        self._end += len(data)


def _built(record: Any) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return _taken(builder)


def _taken(builder: Any) -> bytes:
    return bytes(builder.end())
