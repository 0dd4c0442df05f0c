"""Which channels of an MCAP file hold a sensor's items, and of which sensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from google.protobuf.message import Message

from sensors.drives.mcap import foxglove
from sensors.drives.mcap.reading import McapFile
from sensors.naming import distinct_name, safe_name
from sensors.source import Kind

Part: TypeAlias = Literal["image", "video", "raw", "points", "targets", "reading", "faults"]

_PARTS: Mapping[str, tuple[Part, Kind]] = {
    "foxglove.CompressedImage": ("image", "camera"),
    "foxglove.CompressedVideo": ("video", "camera"),
    "foxglove.RawImage": ("raw", "camera"),
    "foxglove.PointCloud": ("points", "lidar"),
}
# The last part of a topic that says what the messages are, and not whose.
_NO_NAMES = {"image", "image_raw", "compressed", "video", "points", "pointcloud", "targets", "reading", "faults"}


@dataclass(frozen=True, slots=True)
class ItemChannel:
    """One channel that gives items. `message`: None for readings, which are JSON."""

    id: int
    sensor: str
    kind: Kind
    part: Part
    message: type[Message] | None
    fields: tuple[str, ...] = ()  # of readings


def item_channels(file: McapFile) -> dict[int, ItemChannel]:
    """The channels of a file that hold items, by their number.

    Channels whose metadata name one sensor are its; any other channel is a sensor by itself.
    """
    found: dict[int, ItemChannel] = {}
    named = {sensor_of(channel) for channel in file.channels.values() if channel.metadata.get("sensor")}
    for channel in file.channels.values():
        schema = file.schemas.get(channel.schema_id)
        item = _item_channel(channel, schema) if schema is not None else None
        if item is None:
            continue
        if not channel.metadata.get("sensor"):
            item = replace(item, sensor=distinct_name(item.sensor, named))
            named.add(item.sensor)
        found[channel.id] = item
    return found


def sensor_of(channel: Any) -> str:
    """The sensor that a channel belongs to: as its metadata names it, else its topic less what it says of the kind."""
    named: str | None = channel.metadata.get("sensor")
    if named:
        return safe_name(named)
    parts = [part for part in channel.topic.split("/") if part]
    while len(parts) > 1 and parts[-1].lower() in _NO_NAMES:
        parts.pop()
    return safe_name("_".join(parts))


def _item_channel(channel: Any, schema: Any) -> ItemChannel | None:
    metadata = channel.metadata
    sensor = sensor_of(channel)
    if channel.message_encoding == "json":
        fields = _fields(metadata.get("fields"))
        is_reading = schema.name in (foxglove.READING, foxglove.LOCATION) and fields
        return ItemChannel(channel.id, sensor, "motion", "reading", None, fields) if is_reading else None
    if channel.message_encoding != "protobuf":
        return None
    message = foxglove.MESSAGES.get(schema.name)
    kind = metadata.get("kind")
    if schema.name == "foxglove.Log" and metadata.get("part") == "faults" and kind in get_args(Kind):
        return ItemChannel(channel.id, sensor, kind, "faults", message)
    if schema.name not in _PARTS:
        return None
    part, usual = _PARTS[schema.name]
    if part == "points" and kind == "radar":
        return ItemChannel(channel.id, sensor, "radar", "targets", message)
    return ItemChannel(channel.id, sensor, usual, part, message)


def _fields(text: str | None) -> tuple[str, ...]:
    try:
        names = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
