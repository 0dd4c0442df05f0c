"""An MCAP file as an index of messages that are read when their turn comes, whatever became of the file.

Format: MCAP specification, version 0. The index comes from the summary at the file's end; where there is none, because
its writer was killed or still writes, the file is walked from its beginning, record by record, without reading what is
in them. A chunk cut short gives the messages that are whole in it. A damaged chunk is told by its checksum, and the
index beside it still says which messages it held, and when.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import lz4.frame
import numpy as np
import zstandard
from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from numpy.typing import NDArray

from sensors.errors import RequestError

MAGIC = b"\x89MCAP0\r\n"
RECORD_HEAD = struct.Struct("<BQ")  # opcode, length of what follows
MESSAGE_HEAD = struct.Struct("<BQHIQQ")  # record head, channel, sequence, log time, publish time
CHUNK_HEAD = struct.Struct("<QQQI")  # first and last log time, size and CRC-32 of what is in it
MESSAGE_FIELDS_BYTES = MESSAGE_HEAD.size - RECORD_HEAD.size
_FOOTER = struct.Struct("<BQQQI")
_INDEX_HEAD = struct.Struct("<HI")  # of a message index: channel, bytes that follow
_CHUNK_INDEX_HEAD = struct.Struct("<QQQQI")  # of a chunk's index: first and last time, place, length; bytes of places
_CHUNK_INDEX_PLACE = struct.Struct("<HQ")  # channel, and where its message index is

# Real chunks hold 1 to 16 MB. What asks for more memory than this is a damaged or a hostile header.
MOST_CHUNK_BYTES = 256 << 20
MOST_RECORD_BYTES = 16 << 20  # of a schema, a channel, metadata
MOST_SUMMARY_BYTES = 256 << 20
MOST_MESSAGES = 20_000_000  # five hours of a sensor that measures a thousand times a second
_CHUNKS_KEPT_BYTES = 4 << 20  # a few: more are new memory for each, and reading halves its speed at 32 MB
_WALK_BYTES = 1 << 16

ENTRY = np.dtype([("log_time", "<i8"), ("offset", "<i8"), ("chunk", "<i4"), ("channel", "<u2")])
_NO_CHUNK = -1  # a message that lies in the file itself; its offset is the file's

_PARSE_ERRORS = (McapError, struct.error, UnicodeDecodeError, ValueError)


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


class Message(NamedTuple):
    """One message; `data` is a view of its chunk."""

    channel: int
    sequence: int
    log_time: int
    publish_time: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class LostChunk:
    """A chunk of which nothing can be said but when it was, and of which channels."""

    first_ns: int
    channels: tuple[int, ...]
    reason: str


class McapFile:
    """One open file. For one thread. `entries` are all messages by time: an array of `ENTRY`.

    Messages of equal times stay in the order of the file. Raises `RequestError` on opening what is no MCAP.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.schemas: dict[int, Any] = {}
        self.channels: dict[int, Any] = {}
        self.metadata: list[Any] = []
        self.chunks: list[ChunkPlace] = []
        self.lost_chunks: list[LostChunk] = []
        self.has_end = False  # written to its end; else its writer was killed, or still writes
        self.torn_bytes = 0  # at the end of a file without an end, of a record that is not whole
        self.header: Any = None
        self._loose: list[tuple[int, int, int, int]] = []  # messages outside of chunks
        self._kept: OrderedDict[int, tuple[memoryview, bool]] = OrderedDict()
        self._kept_bytes = 0
        self._file = path.open("rb")
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._check_magic()
            if not self._read_summary():
                self._walk()
            self.entries = self._entries()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> McapFile:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was read stays readable."""
        self._file.close()

    # --- messages -------------------------------------------------------------------------------------

    def message(self, entry: Any, *, check: bool = True) -> Message:
        """Read the message of one entry. `check`: its chunk's checksum too. Raises `DamagedError`."""
        log_time, offset, chunk, channel = entry.item() if isinstance(entry, np.generic) else entry
        return self._message(log_time, offset, chunk, channel, check)

    def messages(
        self,
        channels: Collection[int] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        check: bool = True,
    ) -> Iterator[Message]:
        """Give messages by time, from `start_ns` on and before `end_ns`. Raises `DamagedError` at a damaged one."""
        for log_time, offset, chunk, channel in self.within(channels, start_ns, end_ns).tolist():
            yield self._message(log_time, offset, chunk, channel, check)

    def within(
        self, channels: Collection[int] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> NDArray[Any]:
        """The entries of some channels in [start, end)."""
        entries = self.entries
        first = 0 if start_ns is None else int(np.searchsorted(entries["log_time"], start_ns))
        last = len(entries) if end_ns is None else int(np.searchsorted(entries["log_time"], end_ns))
        entries = entries[first:last]
        if channels is not None:
            entries = entries[np.isin(entries["channel"], list(channels))]
        return entries

    def _message(self, log_time: int, offset: int, chunk: int, channel: int, check: bool) -> Message:
        if chunk == _NO_CHUNK:
            data = memoryview(self._loose_record(offset))
            offset = 0
        else:
            data = self._content(chunk, check)
        if offset < 0 or offset + MESSAGE_HEAD.size > len(data):
            raise DamagedError(f"the message index of chunk {chunk} points outside of it")
        opcode, length, found, sequence, found_ns, publish_ns = MESSAGE_HEAD.unpack_from(data, offset)
        end = offset + RECORD_HEAD.size + length
        if opcode != Opcode.MESSAGE or end > len(data) or found != channel or found_ns != log_time:
            raise DamagedError(f"the message index of chunk {chunk} does not fit what is in it")
        return Message(channel, sequence, log_time, publish_ns, data[offset + MESSAGE_HEAD.size : end])

    def _content(self, number: int, check: bool) -> memoryview:
        """What is in a chunk, from those kept if it is among them."""
        kept = self._kept.get(number)
        if kept is not None:
            self._kept.move_to_end(number)
            content, is_checked = kept
            if check and not is_checked:
                content = self._read_chunk(self.chunks[number], check)
                self._kept[number] = content, True
            return content
        content = self._read_chunk(self.chunks[number], check)
        self._kept[number] = content, check
        self._kept_bytes += len(content)
        while self._kept_bytes > _CHUNKS_KEPT_BYTES and len(self._kept) > 1:
            _, (dropped, _) = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)
        return content

    def _read_chunk(self, place: ChunkPlace, check: bool) -> memoryview:
        """Read and decompress a chunk. Raises `DamagedError`."""
        where = f"the chunk at byte {place.offset}"
        if place.length > MOST_CHUNK_BYTES:
            raise DamagedError(f"{where} has {place.length} bytes, more than {MOST_CHUNK_BYTES}")
        record = self._pread(place.length, place.offset)
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

    def _loose_record(self, offset: int) -> bytes:
        head = self._pread(RECORD_HEAD.size, offset)
        if len(head) < RECORD_HEAD.size:
            raise DamagedError(f"the message at byte {offset} is not there")
        length = RECORD_HEAD.unpack(head)[1]
        if length > MOST_CHUNK_BYTES:
            raise DamagedError(f"the message at byte {offset} has {length} bytes")
        return self._pread(RECORD_HEAD.size + length, offset)

    def _pread(self, length: int, offset: int) -> bytes:
        """Read up to `length` bytes; fewer where the file ends."""
        return os.pread(self._file.fileno(), max(0, min(length, self.size - offset)), offset) if offset >= 0 else b""

    # --- index ----------------------------------------------------------------------------------------

    def _check_magic(self) -> None:
        if self.size == 0:
            raise RequestError(str(self.path), "is empty (0 bytes)", "record it again, or leave it out")
        if self._pread(len(MAGIC), 0) != MAGIC:
            what = "is no MCAP file: it does not begin as one"
            raise RequestError(str(self.path), what, "check that the file is what its name says")

    def _read_summary(self) -> bool:
        """Take the index from the end of the file. False where there is none that can be trusted."""
        summary = self._summary()
        if summary is None:
            return False
        metadata: list[Any] = []
        has_messages = False
        try:
            for kind, payload in _records_in(summary):
                if kind == Opcode.CHUNK_INDEX:
                    self.chunks.append(self._chunk_place(payload))
                elif kind == Opcode.METADATA_INDEX:
                    metadata.append(records.MetadataIndex.read(_stream(payload)))
                elif kind == Opcode.STATISTICS:
                    has_messages = any(records.Statistics.read(_stream(payload)).channel_message_counts.values())
                else:
                    self._take(kind, payload)
        except (*_PARSE_ERRORS, DamagedError):
            return False
        if not self._is_whole_index(has_messages):
            return False
        for place in metadata:
            self._take_metadata(self._pread(min(place.length, MOST_RECORD_BYTES), place.offset)[RECORD_HEAD.size :])
        for kind, payload in _records_in(self._pread(_WALK_BYTES, len(MAGIC))):
            if kind == Opcode.HEADER:
                self._take(kind, payload)
            break
        self.has_end = True
        return True

    def _summary(self) -> bytes | None:
        """What lies before the footer; None where there is no footer, or its checksum does not fit."""
        tail = self._pread(_FOOTER.size + len(MAGIC), self.size - _FOOTER.size - len(MAGIC))
        if len(tail) < _FOOTER.size + len(MAGIC) or not tail.endswith(MAGIC):
            return None
        opcode, length, start, _, crc = _FOOTER.unpack_from(tail)
        end = self.size - len(tail)
        is_sound = opcode == Opcode.FOOTER and length == _FOOTER.size - RECORD_HEAD.size
        if not is_sound or not len(MAGIC) <= start < end or end - start > MOST_SUMMARY_BYTES:
            return None
        summary = self._pread(end - start, start)
        is_damaged = crc and zlib.crc32(tail[: _FOOTER.size - 4], zlib.crc32(summary)) != crc
        return None if is_damaged else summary

    def _is_whole_index(self, has_messages: bool) -> bool:
        """Whether the summary tells of all that it should; some writers leave parts of it away."""
        if sum(chunk.length + chunk.index_length for chunk in self.chunks) > self.size:
            return False  # chunks that overlap: one index would be read again and again
        used = {channel for chunk in self.chunks for channel in chunk.channels}
        return used <= self.channels.keys() and (bool(self.chunks) or not has_messages)

    def _chunk_place(self, payload: bytes) -> ChunkPlace:
        """From the summary's record; raises `DamagedError` where it leads out of the file."""
        first_ns, last_ns, offset, length, places = _CHUNK_INDEX_HEAD.unpack_from(payload)
        behind = _CHUNK_INDEX_HEAD.size + places
        if places % _CHUNK_INDEX_PLACE.size or behind + 8 > len(payload):
            raise DamagedError("a chunk of the index is not as it says")
        named = memoryview(payload)[_CHUNK_INDEX_HEAD.size : behind]
        channels = tuple(channel for channel, _ in _CHUNK_INDEX_PLACE.iter_unpack(named))
        # Where no channel has an index there, its length is no clue: some writers leave it 0.
        index_length = int.from_bytes(payload[behind : behind + 8], "little") if channels else 0
        if offset + length + index_length > self.size:
            raise DamagedError("a chunk of the index lies outside of the file")
        return ChunkPlace(offset, length, first_ns, last_ns, offset + length, index_length, channels)

    def _walk(self) -> None:
        """Find every record from the beginning on; stop where the file ends, or no record can be."""
        self.chunks, self.schemas, self.channels, self.metadata = [], {}, {}, []
        offset = len(MAGIC)
        while True:
            head = self._pread(RECORD_HEAD.size + CHUNK_HEAD.size, offset)
            if len(head) < RECORD_HEAD.size:
                self.torn_bytes = len(head)
                break
            opcode, length = RECORD_HEAD.unpack_from(head)
            end = offset + RECORD_HEAD.size + length
            if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                self.has_end = self._pread(len(MAGIC), self.size - len(MAGIC)) == MAGIC
                break
            if opcode == 0 or end > self.size:
                self.torn_bytes = self.size - offset
                self._take_torn(opcode, offset, head)
                break
            if opcode == Opcode.CHUNK and len(head) == RECORD_HEAD.size + CHUNK_HEAD.size:
                first_ns, last_ns, _, _ = CHUNK_HEAD.unpack_from(head, RECORD_HEAD.size)
                self.chunks.append(ChunkPlace(offset, end - offset, first_ns, last_ns, end, 0, ()))
            elif opcode == Opcode.MESSAGE_INDEX and self.chunks:
                last = self.chunks[-1]
                if last.index_offset + last.index_length == offset:
                    length = last.index_length + end - offset
                    self.chunks[-1] = _with_index(last, length)
            elif opcode == Opcode.MESSAGE and len(head) >= MESSAGE_HEAD.size:
                self._take_loose(offset, head)
            elif length <= MOST_RECORD_BYTES:
                self._take(opcode, self._pread(length, offset + RECORD_HEAD.size))
            offset = end

    def _take_torn(self, opcode: int, offset: int, head: bytes) -> None:
        """A record that the file's end cuts: of a chunk that is not compressed the first messages are whole."""
        if opcode != Opcode.CHUNK or len(head) < RECORD_HEAD.size + CHUNK_HEAD.size:
            return
        first_ns, last_ns, _, _ = CHUNK_HEAD.unpack_from(head, RECORD_HEAD.size)
        length = min(self.size - offset, MOST_CHUNK_BYTES)
        self.chunks.append(ChunkPlace(offset, length, first_ns, last_ns, self.size, 0, (), is_torn=True))

    def _take(self, opcode: int, payload: bytes) -> None:
        """Take in a small record; one that cannot be parsed tells nothing."""
        try:
            if opcode == Opcode.SCHEMA:
                schema = records.Schema.read(_stream(payload))
                self.schemas[schema.id] = schema
            elif opcode == Opcode.CHANNEL:
                channel = records.Channel.read(_stream(payload))
                self.channels[channel.id] = channel
            elif opcode == Opcode.METADATA:
                self._take_metadata(payload)
            elif opcode == Opcode.HEADER:
                self.header = records.Header.read(_stream(payload))
        except _PARSE_ERRORS:
            return

    def _take_metadata(self, payload: bytes) -> None:
        try:
            self.metadata.append(records.Metadata.read(_stream(payload)))
        except _PARSE_ERRORS:
            return

    def _take_loose(self, offset: int, head: bytes) -> None:
        _, _, channel, _, log_time, _ = MESSAGE_HEAD.unpack_from(head)
        if log_time < 1 << 63:
            self._loose.append((log_time, offset, _NO_CHUNK, channel))

    def _entries(self) -> NDArray[Any]:
        """Every message of every chunk, by time."""
        found = [_Run(_NO_CHUNK, channel, np.array([[time, offset]])) for time, offset, _, channel in self._loose]
        count = len(self._loose)
        for number, place in enumerate(self.chunks):
            try:
                runs = self._runs_of(number, place)
            except DamagedError as damage:
                self.lost_chunks.append(LostChunk(min(place.first_ns, (1 << 63) - 1), place.channels, str(damage)))
                continue
            found += runs
            count += sum(len(run.pairs) for run in runs)
            if count > MOST_MESSAGES:
                what = f"has more than {MOST_MESSAGES} messages"
                raise RequestError(str(self.path), what, "cut it into parts (`mcap filter` of the mcap tool)")
        return _sorted(found)

    def _runs_of(self, number: int, place: ChunkPlace) -> list[_Run]:
        """From the indexes behind a chunk; where they are missing or damaged, from the chunk itself."""
        runs = self._indexed(number, place) if place.index_length else None
        if runs is None:
            runs = self._runs_within(number, place)
        if not {run.channel for run in runs} <= self.channels.keys():
            raise DamagedError(f"the chunk at byte {place.offset} has messages of channels that the file does not name")
        return runs

    def _indexed(self, number: int, place: ChunkPlace) -> list[_Run] | None:
        runs = []
        for opcode, payload in _records_in(self._pread(place.index_length, place.index_offset)):
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

    def _runs_within(self, number: int, place: ChunkPlace) -> list[_Run]:
        """From the messages themselves, of a chunk that has no index."""
        content = self._read_chunk(place, check=True)
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
                self._take(opcode, bytes(content[offset + RECORD_HEAD.size : end]))
            offset = end
        return [_Run(number, channel, np.array(pairs, np.int64)) for channel, pairs in found.items()]


class _Run(NamedTuple):
    """The messages of one channel in one chunk: `pairs` (N, 2) int64, time and offset."""

    chunk: int
    channel: int
    pairs: NDArray[np.int64]


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


def _with_index(place: ChunkPlace, length: int) -> ChunkPlace:
    return ChunkPlace(place.offset, place.length, place.first_ns, place.last_ns, place.index_offset, length, ())


def _stream(payload: bytes) -> ReadDataStream:
    return ReadDataStream(BytesIO(payload))


def _records_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Opcode and content of the whole records that lie end to end in `data`."""
    offset = 0
    while offset + RECORD_HEAD.size <= len(data):
        opcode, length = RECORD_HEAD.unpack_from(data, offset)
        begin = offset + RECORD_HEAD.size
        if begin + length > len(data):
            return
        yield opcode, data[begin : begin + length]
        offset = begin + length


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
