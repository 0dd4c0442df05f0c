"""When the sensors took what a file's messages hold.

A drive written here has its stamps as the messages' times, so that its index finds any moment. Elsewhere the time of a
message is when it was logged; the stamp stands in the message, and is looked up in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from sensors.drives.mcap import foxglove
from sensors.drives.mcap.channels import ItemChannel
from sensors.drives.mcap.chunk import DamagedError
from sensors.drives.mcap.index.entries import ENTRY, LostChunk
from sensors.drives.mcap.reading import McapFile

# `ENTRY`, and when the sensor took it. A chunk that is lost as a whole is the number -2, -3, ... of its loss.
STAMPED = np.dtype([("stamp", "<i8"), *ENTRY.descr])
_FIRST_LOSS = -2


def stamped(file: McapFile, channels: dict[int, ItemChannel], *, is_stamped_by_log: bool) -> NDArray[Any]:
    """The entries of all item channels with their stamps, and an entry a lost chunk and channel; by stamp."""
    entries = file.within(channels.keys())
    lost = [
        (loss.first_ns, loss.first_ns, 0, _FIRST_LOSS - number, channel)
        for number, loss in enumerate(file.lost_chunks)
        for channel in _channels_of(loss.channels, channels)
    ]
    found = np.empty(len(entries) + len(lost), STAMPED)
    for name in ENTRY.names or ():
        found[name][: len(entries)] = entries[name]
    stamps = found["stamp"][: len(entries)]
    stamps[:] = entries["log_time"]
    if not is_stamped_by_log:
        stamps[:] = [_header_stamp(file, channels, entry) for entry in entries.tolist()]
    found[len(entries) :] = np.array(lost, STAMPED)
    in_order: NDArray[Any] = found[np.argsort(found["stamp"], kind="stable")]
    return in_order


def loss_of(chunk: int, losses: Sequence[LostChunk]) -> LostChunk | None:
    """The lost chunk that an entry stands for; None where the entry is a message's."""
    return losses[_FIRST_LOSS - chunk] if is_loss(chunk) else None


def is_loss(chunk: int) -> bool:
    """Whether an entry stands for a lost chunk: there is no message to read."""
    return chunk <= _FIRST_LOSS


def _channels_of(named: Sequence[int], channels: dict[int, ItemChannel]) -> list[int]:
    """Of those that a lost chunk is said to hold the item channels; one a sensor where nothing is said."""
    if named:
        return [channel for channel in named if channel in channels]
    return list({channel.sensor: channel.id for channel in channels.values()}.values())


def _header_stamp(file: McapFile, channels: dict[int, ItemChannel], entry: tuple[int, int, int, int]) -> int:
    """When the sensor took a message, as it says itself; when it was logged where it says nothing."""
    message_type = channels[entry[3]].message
    if message_type is None:
        return entry[0]
    number = message_type.DESCRIPTOR.fields_by_name["timestamp"].number
    try:
        data = file.message(entry, check=False).data
        # Written in front as a rule; then the rest of the message, which may be megabytes, need not be parsed.
        if len(data) > 2 and data[0] == number << 3 | 2 and data[1] < 128:
            stamp = Timestamp.FromString(bytes(data[2 : 2 + data[1]]))
        else:
            stamp = foxglove.parsed(message_type, data).timestamp
        stamp_ns = stamp.seconds * foxglove.NS_PER_S + stamp.nanos
    except (DamagedError, ValueError, foxglove.UnreadableMessageError):
        return entry[0]
    return stamp_ns if 0 < stamp_ns < 1 << 63 else entry[0]
