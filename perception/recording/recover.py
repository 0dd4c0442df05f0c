"""A recording that was cut off, or damaged, made whole again of what can be read in it."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from perception.whole_file import whole_file
from sensors.drives.mcap.chunk import DamagedError
from sensors.drives.mcap.reading import McapFile
from sensors.drives.mcap.writing import McapWriter, NotWrittenError

_CODED = {"foxglove.CompressedImage", "foxglove.CompressedVideo"}  # what is compressed already


@dataclass(slots=True)
class Recovery:
    """What was read and what was not."""

    messages: Counter[str] = field(default_factory=Counter)  # by topic
    damaged: Counter[str] = field(default_factory=Counter)  # that the index names and that cannot be read
    lost_chunks: list[str] = field(default_factory=list)  # of which nobody can say what they held
    had_end: bool = True
    torn_bytes: int = 0  # at the end, of what was being written
    last_ns: int | None = None  # the latest message

    @property
    def lost_something(self) -> bool:
        """Whether anything that was recorded is missing. What has no end was cut off: its writer held more."""
        return not self.had_end or bool(self.damaged) or bool(self.lost_chunks)


def recover(source: Path, target: Path) -> Recovery:
    """Copy every message that can be read, bytes as they are. `target` is there whole, or not at all.

    Raises `RequestError` for what is no MCAP, OSError for a disk that does not take it.
    """
    found = Recovery()
    with McapFile(source) as file, whole_file(target) as draft:
        draft.unlink()
        writer = McapWriter(draft, profile=file.header.profile if file.header else "")
        try:
            _copy(file, writer, found)
        except NotWrittenError as failure:
            writer.abandon()
            raise failure.cause from None
        except BaseException:
            writer.abandon()
            raise
        lost = writer.finish()
        if lost:
            raise OSError(errno.ENOSPC, "no space left on the disk", str(target))
    return found


def _copy(file: McapFile, writer: McapWriter, found: Recovery) -> None:
    found.had_end, found.torn_bytes = file.has_end, file.torn_bytes
    found.lost_chunks = [lost.reason for lost in file.lost_chunks]
    schemas = {
        schema.id: writer.add_schema(schema.name, schema.encoding, schema.data) for schema in file.schemas.values()
    }
    channels = {}
    for channel in file.channels.values():
        schema = file.schemas.get(channel.schema_id)
        channels[channel.id] = writer.add_channel(
            channel.topic,
            channel.message_encoding,
            schemas.get(channel.schema_id, 0),
            channel.metadata,
            compress=schema is None or schema.name not in _CODED,
        )
    for record in file.metadata:
        writer.add_metadata(record.name, record.metadata)
    in_file_order = np.lexsort((file.entries["offset"], file.entries["chunk"]))
    for entry in file.entries[in_file_order].tolist():
        topic = file.channels[entry[3]].topic
        try:
            message = file.message(entry)
        except DamagedError:
            found.damaged[topic] += 1
            continue
        writer.add(
            channels[message.channel],
            message.log_time,
            bytes(message.data),
            publish_time=message.publish_time,
            sequence=message.sequence,
        )
        found.messages[topic] += 1
        found.last_ns = max(found.last_ns or 0, message.log_time)
