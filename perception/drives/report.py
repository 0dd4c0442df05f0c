"""What a drive holds and what is wrong with it, as `perception drive info` says it: from its index, or read through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np

from sensors.calibration import Calibration
from sensors.clock_faults import ClockFault, find_clock_faults, in_words
from sensors.errors import SourceError
from sensors.frame import Fault, Frame
from sensors.source import SensorInfo, Source
from sensors.survey import SensorSurvey, survey_of

MOST_REASONS = 5  # of faults, a sensor; all are counted
_EARLIEST_DATE_NS = 10**18  # September 2001: what is below counts from a device's start


@dataclass(frozen=True, slots=True)
class SensorReport:
    """One sensor."""

    info: SensorInfo
    first_ns: int | None
    last_ns: int | None
    count: int  # of stamps
    missing: int  # stamps without a file
    period_ms: tuple[float, float, float] | None  # least, median, most
    notes: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """A drive."""

    uri: str
    size_bytes: int
    sensors: tuple[SensorReport, ...]
    calibration: Calibration
    clock_faults: list[ClockFault]
    notes: tuple[str, ...]
    is_damaged: bool
    read: dict[str, Counter[str]] | None = None  # kinds of items by sensor, where it was read
    faults: dict[str, Counter[str]] = field(default_factory=dict)  # reasons by sensor, where it was read
    ended_by: str = ""  # what kept it from being read to its end


def report_on(source: Source, *, read: bool = False) -> Report:
    """Survey a source; with `read`, read every item of it too."""
    survey = survey_of(source)
    infos = {info.name: info for info in source.info.sensors}
    report = Report(
        uri=source.info.uri,
        size_bytes=survey.size_bytes,
        sensors=tuple(_sensor(infos[sensor.sensor], sensor) for sensor in survey.sensors),
        calibration=source.info.calibration,
        clock_faults=find_clock_faults(survey),
        notes=survey.notes,
        is_damaged=survey.is_damaged,
    )
    if read:
        _read(source, report)
    return report


def _sensor(info: SensorInfo, survey: SensorSurvey) -> SensorReport:
    stamps = survey.stamps_ns
    steps = np.diff(stamps)
    period = (float(steps.min()) / 1e6, float(np.median(steps)) / 1e6, float(steps.max()) / 1e6) if len(steps) else None
    return SensorReport(
        info,
        int(stamps.min()) if len(stamps) else None,
        int(stamps.max()) if len(stamps) else None,
        len(stamps),
        len(survey.without_file),
        period,
        survey.notes,
    )


def _read(source: Source, report: Report) -> None:
    report.read = {}
    try:
        for item in source:
            report.read.setdefault(item.sensor, Counter())[type(item).__name__] += 1
            if isinstance(item, Fault):
                report.faults.setdefault(item.sensor, Counter())[item.reason] += 1
            elif isinstance(item, Frame):
                item.release()
    except SourceError as error:
        report.ended_by = str(error)


def as_json(report: Report) -> dict[str, Any]:
    """The report as `--json` prints it."""
    calibrated = {camera.sensor: camera for camera in report.calibration.cameras}
    return {
        "uri": report.uri,
        "bytes": report.size_bytes,
        "sensors": [
            {
                "name": sensor.info.name,
                "kind": sensor.info.kind,
                "count": sensor.count,
                "missing": sensor.missing,
                "rate_hz": None if sensor.info.rate_hz is None else round(sensor.info.rate_hz, 4),
                "width": sensor.info.width,
                "height": sensor.info.height,
                "first_ns": sensor.first_ns,
                "last_ns": sensor.last_ns,
                "period_ms": None if sensor.period_ms is None else [round(value, 4) for value in sensor.period_ms],
                "calibrated": sensor.info.name in calibrated,
                "notes": list(sensor.notes),
            }
            for sensor in report.sensors
        ],
        "transforms": [[one.parent, one.child] for one in report.calibration.transforms],
        "clock_faults": [
            {
                "sensor": fault.sensor,
                "kind": fault.kind.value,
                "count": fault.count,
                "frames": list(fault.frames),
                "what": fault.what,
            }
            for fault in report.clock_faults
        ],
        "notes": list(report.notes),
        "damaged": report.is_damaged,
        "read": None if report.read is None else {sensor: dict(kinds) for sensor, kinds in report.read.items()},
        "faults": {sensor: dict(reasons) for sensor, reasons in report.faults.items()},
        "ended_by": report.ended_by,
    }


def in_lines(report: Report) -> Iterator[str]:
    """The report as lines for a person."""
    firsts = [sensor.first_ns for sensor in report.sensors if sensor.first_ns is not None]
    yield f"{report.uri}: {_size(report.size_bytes)}, {_length(report)}"
    if firsts:
        yield f"begins at {_when(min(firsts))}"
    yield ""
    yield from _table(report, min(firsts, default=0))
    yield from _calibration_lines(report)
    if report.clock_faults:
        yield ""
        yield "clocks:"
        width = max(len(fault.kind.value) for fault in report.clock_faults)
        names = max(len(fault.sensor) for fault in report.clock_faults)
        for fault in report.clock_faults:
            yield f"  {fault.sensor:<{names}}  {fault.kind.value:<{width}}  {fault.what}"
    notes = [*report.notes, *(f"{s.info.name}: {note}" for s in report.sensors for note in s.notes)]
    if notes:
        yield ""
        yield from notes
    if report.read is not None:
        yield ""
        yield from _read_lines(report)


def _table(report: Report, first_ns: int) -> Iterator[str]:
    if not report.sensors:
        yield "no sensors"
        return
    rows = [("sensor", "kind", "count", "missing", "rate", "period ms", "size", "starts")]
    for sensor in report.sensors:
        info = sensor.info
        period = sensor.period_ms
        rows.append(
            (
                info.name,
                info.kind,
                str(sensor.count),
                str(sensor.missing or "-"),
                f"{info.rate_hz:.2f} Hz" if info.rate_hz else "-",
                f"{period[0]:.1f} / {period[1]:.1f} / {period[2]:.1f}" if period else "-",
                f"{info.width}x{info.height}" if info.width else "-",
                f"+{(sensor.first_ns - first_ns) / 1e9:.3f} s" if sensor.first_ns is not None else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _calibration_lines(report: Report) -> Iterator[str]:
    if not report.calibration:
        return
    yield ""
    for camera in report.calibration.cameras:
        fx, cx, cy = camera.projection[0, 0], camera.projection[0, 2], camera.projection[1, 2]
        lens = camera.distortion_model if camera.distortion else "no distortion"
        size = f", {camera.width}x{camera.height}" if camera.width else ""
        yield f"calibrated: {camera.sensor}, f {fx:.1f}, centre ({cx:.1f}, {cy:.1f}), {lens}{size}"
    if report.calibration.transforms:
        yield "transforms: " + ", ".join(f"{one.child} in {one.parent}" for one in report.calibration.transforms)


def _read_lines(report: Report) -> Iterator[str]:
    assert report.read is not None
    for sensor, kinds in report.read.items():
        yield f"read of {sensor}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        reasons: Mapping[str, int] = report.faults.get(sensor, {})
        for reason, count in list(reasons.items())[:MOST_REASONS]:
            yield f"  {reason}" + (f" ({count} times)" if count > 1 else "")
        if len(reasons) > MOST_REASONS:
            yield f"  and {len(reasons) - MOST_REASONS} more"
    if report.ended_by:
        yield f"ended: {report.ended_by}"


def _length(report: Report) -> str:
    firsts = [sensor.first_ns for sensor in report.sensors if sensor.first_ns is not None]
    lasts = [sensor.last_ns for sensor in report.sensors if sensor.last_ns is not None]
    return in_words(max(lasts) - min(firsts)) if firsts else "no stamps"


def _when(stamp_ns: int) -> str:
    if stamp_ns < _EARLIEST_DATE_NS:
        return f"{stamp_ns / 1e9:.3f} s of the drive's own clock"
    moment = datetime.fromtimestamp(stamp_ns // 10**9, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{stamp_ns % 10**9:09d} UTC"


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB"
