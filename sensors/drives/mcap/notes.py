"""What people are told of an MCAP drive beyond its sensors: its end, what is lost, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sensors.drives.mcap.channels import ItemChannel
from sensors.drives.mcap.reading import McapFile

_DEEPEST = 3  # of what a drive says of itself


def notes_of(file: McapFile, channels: dict[int, ItemChannel], about: Mapping[str, str] | None) -> Iterator[str]:
    """What is to be known of a file beyond its sensors."""
    if not file.has_end:
        yield missing_end(file)
    for loss in file.lost_chunks:
        yield f"lost: {loss.reason}"
    for key, value in (about or {}).items():
        if key not in ("version", "stamps", "sensors", "part"):
            yield from _told(key.replace("_", " "), value)
    unread = sorted(
        channel.topic
        for channel in file.channels.values()
        if channel.id not in channels and not channel.metadata.get("sensor") and channel.topic != "/tf"
    )
    if unread:
        yield f"not read here: {', '.join(unread)}"


def missing_end(file: McapFile) -> str:
    """What is told of a file without an end; nothing of one that has it."""
    if file.has_end:
        return ""
    return (
        "it has no end: its writer was killed, or still writes. "
        f"{file.torn_bytes} bytes at the end are of a record that is not whole"
    )


def _told(key: str, value: str) -> Iterator[str]:
    """What a drive says of itself: text, or a list or a table as JSON."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = value
    yield from (f"{key}: {one}" for one in _flat(found))


def _flat(found: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        yield "..."
    elif isinstance(found, dict):
        yield from (f"{name}: {one}" for name, what in found.items() for one in _flat(what, depth + 1))
    elif isinstance(found, list):
        yield from (one for what in found for one in _flat(what, depth + 1))
    else:
        yield str(found)
