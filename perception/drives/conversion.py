"""Any drive as MCAP: every item with its stamp, every fault, and what was done with the clocks, written down."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perception.whole_file import whole_file
from sensors.clock_faults import find_clock_faults
from sensors.clock_policy import ClockPolicy
from sensors.drives.mcap.drive_writer import DriveWriter, Images
from sensors.drives.mcap.writing import NotWrittenError
from sensors.errors import RequestError
from sensors.frame import Fault, Frame
from sensors.opening import open_source, recorded_name
from sensors.source import Source, Span
from sensors.survey import survey_of

_WATCH_EVERY = 20  # items


@dataclass(slots=True)
class Converted:
    """What was written."""

    items: Counter[str] = field(default_factory=Counter)  # by sensor, Faults left out
    faults: Counter[str] = field(default_factory=Counter)  # by sensor
    clock_changes: dict[str, dict[str, int]] = field(default_factory=dict)  # what the policies did
    clock_faults: int = 0  # kinds of faults found in the stamps, before any policy
    cut_off: str = ""  # what is missing at the drive's end, in words
    size_bytes: int = 0


def convert(
    uri: str,
    out: Path,
    *,
    images: Images = "keep",
    clocks: Mapping[str, ClockPolicy] | None = None,
    span: Span | None = None,
    watch: Callable[[int, int | None], None] | None = None,
) -> Converted:
    """Write a drive as MCAP; `out` is there whole or not at all.

    `watch` is told now and then how many items are written, and of how many, where that is known.

    Raises `RequestError`, `SourceError`, OSError for a disk that does not take it.
    """
    found = Converted()
    name, uri = recorded_name(uri)
    with open_source(uri, name=name, span=span, clocks=clocks) as source, whole_file(out) as draft:
        draft.unlink()
        faults = find_clock_faults(survey_of(source))
        found.clock_faults = len(faults)
        found.cut_off = source.info.cut_off
        writer = DriveWriter(
            draft,
            source.info.sensors,
            images=images,
            calibration=source.info.calibration,
            about={
                "converted_from": Path(source.info.uri).name,
                "clock_policies": json.dumps({sensor: str(policy) for sensor, policy in (clocks or {}).items()}),
                **({"cut_off": found.cut_off} if found.cut_off else {}),
                "clock_faults": json.dumps([f"{one.sensor}: {one.kind.value}: {one.what}" for one in faults]),
            },
        )
        try:
            _write_all(source, writer, found, watch)
            if not (found.items or found.faults):
                what = "has nothing in this span" if span else "holds nothing of a sensor"
                raise RequestError(uri, what, "`perception drive info` tells what is in it")
            changes = getattr(source, "clock_changes", {})
            found.clock_changes = {sensor: dict(+of_one) for sensor, of_one in changes.items() if +of_one}
            if found.clock_changes:
                writer.add_about({"clock_changes": json.dumps(found.clock_changes)})
        except NotWrittenError as failure:
            writer.container.abandon()
            raise failure.cause from None
        except BaseException:
            writer.container.abandon()
            raise
        if writer.container.finish():
            raise OSError(errno.ENOSPC, "no space left on the disk", str(out))
        found.size_bytes = writer.container.bytes_written
    return found


def _write_all(
    source: Source, writer: DriveWriter, found: Converted, watch: Callable[[int, int | None], None] | None
) -> None:
    counts = [sensor.count for sensor in source.info.sensors]
    total = None if None in counts else sum(count or 0 for count in counts)
    for number, item in enumerate(source, 1):
        writer.write(item)
        (found.faults if isinstance(item, Fault) else found.items)[item.sensor] += 1
        if isinstance(item, Frame):
            item.release()
        if watch and number % _WATCH_EVERY == 0:
            watch(number, total)
