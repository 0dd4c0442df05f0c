"""The figures of a run, as a person and `--json` get them at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perception.network import Network
from perception.pipeline import Pipeline
from perception.recording import Recorder, RecordingState
from perception.stream import Outbox


def summary(
    pipeline: Pipeline, networks: Sequence[Network], outbox: Outbox, cpu_s: float, recorder: Recorder | None = None
) -> dict[str, Any]:
    """Figures of a run that has ended. `cpu_s`: CPU that it used. Latencies are None where nothing was published."""
    ledger, total, wall_s = pipeline.ledger, pipeline.ledger.total(), pipeline.wall_s
    busy_s = ledger.engine_busy_ns / 1e9

    def percentiles(durations: Any) -> dict[str, float | None]:
        return {name: _rounded(durations.ms(percent)) for name, percent in (("p50", 50), ("p99", 99))}

    def one_or_all(names: list[str]) -> str | list[str]:
        return names[0] if len(names) == 1 else names

    return {
        "captured": total.captured,
        "published": total.published,
        "dropped": dict(total.dropped),
        "failed": dict(total.failed),
        "wall_s": round(wall_s, 4),
        "fps": round(total.published / wall_s, 3) if wall_s else 0.0,
        "engine_fps": round(ledger.inferences / busy_s, 3) if busy_s else None,
        "latency_ms": percentiles(ledger.latency),
        "added_latency_ms": percentiles(ledger.added_latency),
        **({"gpu_ms": {stage: percentiles(times) for stage, times in ledger.gpu.items()}} if ledger.gpu else {}),
        "cpu_ms_per_frame": _rounded(cpu_s * 1e3 / total.captured) if total.captured else None,
        "detections": ledger.detections,
        **(
            {"crops": {"classified": ledger.crops, "left_out": ledger.crops_left_out}}
            if any(network.crops for network in networks)
            else {}
        ),
        "engine": one_or_all([network.engine.name for network in networks]),
        "bundle": one_or_all([network.bundle.name for network in networks]),
        "digest": outbox.digest(),
        "sensors": {
            sensor: {
                "captured": counts.captured,
                "published": counts.published,
                "dropped": dict(counts.dropped),
                "failed": dict(counts.failed),
            }
            for sensor, counts in sorted(ledger.counts().items())
        },
        **({"recording": recording_figures(recorder.state())} if recorder else {}),
    }


def recording_figures(state: RecordingState) -> dict[str, Any]:
    """Figures of a recording."""
    return {
        "path": str(state.path),
        "items": dict(sorted((+state.recorded).items())),
        "bytes": state.bytes_written,
        "dropped": {sensor: dict(reasons) for sensor, reasons in sorted(state.dropped.items()) if reasons},
        "parts": state.parts,
        "parts_removed": state.parts_removed,
        "failure": state.failure,
    }


def recording_in_words(figures: Mapping[str, Any]) -> list[str]:
    """The same as lines for a person."""
    items = ", ".join(f"{sensor} {count}" for sensor, count in figures["items"].items())
    parts = f" in {figures['parts']} parts" if figures["parts"] > 1 else ""
    lines = [f"recorded {figures['path']}{parts}: {figures['bytes'] / 1e6:.1f} MB, {items or 'nothing'}"]
    for sensor, reasons in figures["dropped"].items():
        why = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        lines.append(f"not recorded of {sensor}: {why}")
    if figures["parts_removed"]:
        lines.append(f"oldest parts removed: {figures['parts_removed']}")
    return lines + ([f"recording: {figures['failure']}"] if figures["failure"] else [])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def in_words(figures: Mapping[str, Any]) -> list[str]:
    """The figures as lines for a person."""

    def counted(reasons: Mapping[str, int]) -> str:
        return ", ".join(f"{reason} {count}" for reason, count in reasons.items())

    lines = [f"{figures['published']} of {figures['captured']} frames published, {figures['detections']} detections"]
    lines += [f"{fate}: {counted(figures[fate])}" for fate in ("dropped", "failed") if figures[fate]]
    if crops := figures.get("crops"):
        lines.append(f"crops classified: {crops['classified']}, left out as too many in a frame: {crops['left_out']}")
    latency, added = figures["latency_ms"], figures["added_latency_ms"]
    if figures["engine_fps"]:  # none where nothing was inferred: scans alone are published too
        lines += [
            f"{figures['wall_s']:.2f} s, {figures['fps']:.1f} fps (engine alone {figures['engine_fps']:.1f}), "
            f"{figures['cpu_ms_per_frame']:.1f} ms of CPU a frame",
            f"latency p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms; "
            f"added to the engine's p50 {added['p50']:.1f} ms, p99 {added['p99']:.1f} ms",
        ]
    if stages := figures.get("gpu_ms"):
        lines.append("GPU, p50: " + ", ".join(f"{stage} {times['p50']:.2f}" for stage, times in stages.items()) + " ms")
    if "recording" in figures:
        lines += recording_in_words(figures["recording"])
    return [*lines, f"digest {figures['digest']}"]
