"""An MCAP file whose messages are read when their turn comes, whatever became of the file.

Opening finds what it holds and where (`index/`). A message that does not lie where the index says, or whose chunk is
damaged, is told apart from those that can be read; a few chunks stay decompressed for the messages that come next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mcap.opcode import Opcode
from numpy.typing import NDArray

from sensors.drives.mcap.chunk import DamagedError, read_chunk
from sensors.drives.mcap.index.entries import NO_CHUNK, entries_of
from sensors.drives.mcap.index.summary import summarised
from sensors.drives.mcap.index.walk import walked
from sensors.drives.mcap.layout import MAGIC, MESSAGE_HEAD, MOST_CHUNK_BYTES, RECORD_HEAD
from sensors.drives.mcap.random_access import RandomAccessFile
from sensors.errors import RequestError

_CHUNKS_KEPT_BYTES = 4 << 20  # a few: more are new memory for each, and reading halves its speed at 32 MB


class Message(NamedTuple):
    """One message; `data` is a view of its chunk."""

    channel: int
    sequence: int
    log_time: int
    publish_time: int
    data: memoryview


class McapFile:
    """One open file. For one thread. `entries` are all messages by time: an array of `index.entries.ENTRY`.

    Messages of equal times stay in the order of the file. Raises `RequestError` on opening what is no MCAP.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: OrderedDict[int, tuple[memoryview, bool]] = OrderedDict()
        self._kept_bytes = 0
        self._file = RandomAccessFile(path)
        try:
            self.size = self._file.size
            self._check_magic()
            contents = summarised(self._file) or walked(self._file)
            self.entries, self.lost_chunks = entries_of(self._file, contents)
        except BaseException:
            self._file.close()
            raise
        self.header = contents.header
        self.schemas = contents.schemas  # by number, and so the channels
        self.channels = contents.channels
        self.metadata = contents.metadata
        self.chunks = contents.chunks
        self.has_end = contents.has_end  # written to its end; else its writer was killed, or still writes
        self.torn_bytes = contents.torn_bytes  # at the end of a file without an end, of a record that is not whole

    def __enter__(self) -> McapFile:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was read stays readable."""
        self._file.close()

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
        if chunk == NO_CHUNK:
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
                content = read_chunk(self._file, self.chunks[number], check=check)
                self._kept[number] = content, True
            return content
        content = read_chunk(self._file, self.chunks[number], check=check)
        self._kept[number] = content, check
        self._kept_bytes += len(content)
        while self._kept_bytes > _CHUNKS_KEPT_BYTES and len(self._kept) > 1:
            _, (dropped, _) = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)
        return content

    def _loose_record(self, offset: int) -> bytes:
        head = self._file.read(RECORD_HEAD.size, offset)
        if len(head) < RECORD_HEAD.size:
            raise DamagedError(f"the message at byte {offset} is not there")
        length = RECORD_HEAD.unpack(head)[1]
        if length > MOST_CHUNK_BYTES:
            raise DamagedError(f"the message at byte {offset} has {length} bytes")
        return self._file.read(RECORD_HEAD.size + length, offset)

    def _check_magic(self) -> None:
        if self.size == 0:
            raise RequestError(str(self.path), "is empty (0 bytes)", "record it again, or leave it out")
        if self._file.read(len(MAGIC), 0) != MAGIC:
            what = "is no MCAP file: it does not begin as one"
            raise RequestError(str(self.path), what, "check that the file is what its name says")
