"""An MCAP file with Foxglove's schemas as a source: every sensor's items by their stamps.

What a damaged chunk held is a Fault each, with its stamp. A file without an end, cut off or still being written, is
read as far as it goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.drives.mcap.calibration import recorded_calibration
from sensors.drives.mcap.channels import ItemChannel, item_channels
from sensors.drives.mcap.drive_writer import about_of
from sensors.drives.mcap.items import SensorItems
from sensors.drives.mcap.notes import missing_end, notes_of
from sensors.drives.mcap.reading import McapFile
from sensors.drives.mcap.stamps import loss_of, stamped
from sensors.errors import RequestError
from sensors.frame import Item
from sensors.source import SensorInfo, SourceInfo, Span
from sensors.survey import SensorSurvey, Survey

_NS_PER_S = 1_000_000_000


class McapDrive:
    """Source of an MCAP drive. Sensors are called as they were recorded; with a `name`, `NAME-SENSOR`, or NAME if one.

    Raises `RequestError` where the file is no MCAP, or holds nothing that is read here.
    """

    def __init__(self, path: Path, name: str = "", span: Span | None = None) -> None:
        self._path = path
        self._closed = Event()
        try:
            file = McapFile(path)
        except OSError as error:
            raise RequestError(str(path), f"cannot be read: {error.strerror}", "check the file") from error
        with file:
            self._channels = item_channels(file)
            if not self._channels:
                raise _nothing_to_read(path, file)
            self._about = about_of(file.metadata)
            self._lost = file.lost_chunks
            recorded = list(dict.fromkeys(channel.sensor for channel in self._channels.values()))
            self._names = {sensor: _name(sensor, name, len(recorded)) for sensor in recorded}
            self._entries = stamped(file, self._channels, is_stamped_by_log=self._about is not None)
            first_ns = int(self._entries["stamp"][0]) if len(self._entries) else 0
            self._start_ns = first_ns + (span.start_ns if span else 0)
            self._end_ns = None if span is None or span.end_ns is None else first_ns + span.end_ns
            self._selected = self._entries
            if span not in (None, Span()):
                stamps = self._entries["stamp"]
                last = len(stamps) if self._end_ns is None else int(np.searchsorted(stamps, self._end_ns))
                self._selected = self._entries[int(np.searchsorted(stamps, self._start_ns)) : last]
            calibration = recorded_calibration(file)
            cut_off = missing_end(file)
            self._survey = Survey((), file.size, tuple(notes_of(file, self._channels, self._about)), not file.has_end)
        infos = tuple(self._sensor_info(sensor) for sensor in recorded)
        self._info = SourceInfo(
            str(path), infos, live=False, calibration=calibration.renamed(self._names), cut_off=cut_off
        )

    @property
    def info(self) -> SourceInfo:
        """Counts and rates as the index tells them; sizes as they were written down."""
        return self._info

    def __enter__(self) -> McapDrive:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration at its next message. Any thread, any number of times."""
        self._closed.set()

    def __iter__(self) -> Iterator[Item]:
        if self._closed.is_set():
            return
        readers = {sensor: SensorItems(name) for sensor, name in self._names.items()}
        with McapFile(self._path) as file:
            for channel in self._channels.values():
                if channel.part == "video":
                    readers[channel.sensor].warm_up(file, channel, self._before(channel))
            for stamp_ns, *entry in self._selected.tolist():
                if self._closed.is_set():
                    return
                channel = self._channels[entry[3]]
                loss = loss_of(entry[2], self._lost)
                if loss is None:
                    yield from readers[channel.sensor].of_message(file, channel, stamp_ns, tuple(entry))
                else:
                    yield readers[channel.sensor].lost(stamp_ns, loss.reason)
            for reader in readers.values():
                if not self._closed.is_set():
                    yield from reader.finish()

    def survey(self) -> Survey:
        """Every sensor's stamps, from the index alone."""
        sensors = []
        for info, recorded in zip(self._info.sensors, self._names, strict=True):
            of_sensor = self._of(recorded, self._entries)
            is_item = np.isin(of_sensor["channel"], [c.id for c in self._channels.values() if c.part != "faults"])
            found = of_sensor[is_item]
            faults = len(of_sensor) - len(found)
            logged: tuple[tuple[str, NDArray[np.int64]], ...] = ()
            if not np.array_equal(found["stamp"], found["log_time"]):
                logged = (("log time", found["log_time"].astype(np.int64)),)
            sensors.append(
                SensorSurvey(
                    info.name,
                    info.kind,
                    found["stamp"].astype(np.int64),
                    np.arange(len(found)),
                    other_clocks_ns=logged,
                    notes=(f"{faults} faults were recorded",) if faults else (),
                )
            )
        facts = self._survey
        return Survey(tuple(sensors), facts.size_bytes, facts.notes, facts.is_damaged or bool(self._lost))

    def _before(self, channel: ItemChannel) -> NDArray[Any]:
        """A channel's entries before the span."""
        of_channel = self._entries[self._entries["channel"] == channel.id]
        before: NDArray[Any] = of_channel[: int(np.searchsorted(of_channel["stamp"], self._start_ns))]
        return before

    def _of(self, sensor: str, entries: NDArray[Any]) -> NDArray[Any]:
        numbers = [channel.id for channel in self._channels.values() if channel.sensor == sensor]
        found: NDArray[Any] = entries[np.isin(entries["channel"], numbers)]
        return found

    def _sensor_info(self, sensor: str) -> SensorInfo:
        kinds = [channel.kind for channel in self._channels.values() if channel.sensor == sensor]
        steps = np.diff(self._of(sensor, self._entries)["stamp"])
        period_ns = float(np.median(steps)) if len(steps) else 0.0
        width, height = _size(self._about, sensor)
        return SensorInfo(
            self._names[sensor],
            kinds[0],
            rate_hz=_NS_PER_S / period_ns if period_ns > 0 else None,
            count=len(self._of(sensor, self._selected)),
            width=width,
            height=height,
        )


def _name(sensor: str, prefix: str, sensors: int) -> str:
    if not prefix:
        return sensor
    return prefix if sensors == 1 else f"{prefix}-{sensor}"


def _size(about: Any, sensor: str) -> tuple[int | None, int | None]:
    try:
        for facts in json.loads((about or {}).get("sensors", "[]")):
            if facts["name"] == sensor:
                width, height = facts["width"], facts["height"]
                return (width, height) if isinstance(width, int) and isinstance(height, int) else (None, None)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None, None


def _nothing_to_read(path: Path, file: McapFile) -> RequestError:
    names = sorted({schema.name for schema in file.schemas.values()})
    if not names:
        what = "holds no channels" + ("" if file.has_end else ": it was cut off before its first")
        return RequestError(str(path), what, "record it again, or leave it out")
    return RequestError(
        str(path),
        f"holds no sensors in Foxglove's schemas, only {', '.join(names[:6])}",
        "convert it: bags of ROS 2 are read with their metadata.yaml beside them",
    )
