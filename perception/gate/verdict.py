"""All that was measured held against the thresholds, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from engines.accuracy_loss import AccuracyLoss
from engines.letterbox import Pixels
from perception.clearance import Postprocessing
from perception.errors import UsageError
from perception.gate.comparison import Comparison
from perception.gate.latency import Latencies
from perception.gate.row import Row
from perception.gate.thresholds import GateThresholds


@dataclass(slots=True)
class Failures:
    """Frames whose inference failed or gave no finite numbers, by who failed; the latest reasons."""

    only_baseline: int = 0
    only_candidate: int = 0
    both: int = 0
    baseline_reason: str = ""
    candidate_reason: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured of two sides. `missing_classes`: the baseline's that the candidate has not."""

    missing_classes: tuple[str, ...]
    pixels: tuple[Pixels, Pixels]  # how an image becomes the input of each
    postprocessing: tuple[Postprocessing, Postprocessing]
    failures: Failures
    comparison: Comparison
    latencies: Latencies
    accuracy: AccuracyLoss | None


def judge(measured: Measured, thresholds: GateThresholds) -> tuple[Row, ...]:
    """Every row. The candidate passes where all of them do."""
    rows = [*_of_the_request(measured, thresholds)]
    failures = measured.failures
    reason = f" ({failures.candidate_reason})" if failures.only_candidate else ""
    passed = failures.only_candidate <= thresholds.max_failures
    measure = f"{failures.only_candidate}{reason}"
    limit = f"at most {thresholds.max_failures}"
    rows.append(Row("frames on which only the candidate fails", measure, limit, passed, "max_failures"))
    if measured.latencies.baseline_ns:
        rows += [*measured.comparison.rows(), *_of_latency(measured.latencies, thresholds)]
    if measured.accuracy is not None:
        rows.append(_of_accuracy(measured.accuracy, thresholds))
    return tuple(rows)


def check_class_names(thresholds: GateThresholds, names: tuple[str, ...]) -> None:
    """Raise `UsageError` where a limit is for a class that neither side has."""
    for key in ("recall_by_class", "iou_by_class"):
        for name in getattr(thresholds, key):
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "labels.txt in the bundle has them"
                raise UsageError(f"{key}.{name}", "is no class of either bundle", hint)


def _of_the_request(measured: Measured, thresholds: GateThresholds) -> Iterator[Row]:
    missing = ", ".join(measured.missing_classes)
    yield Row("classes that the candidate lacks", missing or "none", "none", not missing, "labels.txt")
    before, after = measured.pixels
    same = before == after
    words = f"the same: {before}" if same else f"{before} against {after}"
    strict = thresholds.same_preprocessing
    limit = "the same" if strict else "may differ"
    yield Row("pixels that go in", words, limit, same or not strict, "same_preprocessing")
    one, other = measured.postprocessing
    same = one == other
    words = f"the same: {one}" if same else f"{one} against {other}"
    strict = thresholds.same_postprocessing
    limit = "the same" if strict else "may differ"
    yield Row("score thresholds and NMS", words, limit, same or not strict, "same_postprocessing")


def _of_latency(latencies: Latencies, thresholds: GateThresholds) -> Iterator[Row]:
    for percent, limit in ((50, thresholds.max_latency_p50), (99, thresholds.max_latency_p99)):
        slower = latencies.slowdown(percent)
        measured = (
            f"{slower.baseline_ms:.2f} to {slower.candidate_ms:.2f} ms, "
            f"{slower.ratio:.2f} times (at least {slower.at_least:.2f})"
        )
        passed = min(slower.ratio, slower.at_least) <= limit
        yield Row(f"latency p{percent}", measured, f"at most {limit:g} times", passed, f"max_latency_p{percent}")


def _of_accuracy(accuracy: AccuracyLoss, thresholds: GateThresholds) -> Row:
    low, high = accuracy.loss_bounds
    before, after = accuracy.before.value, accuracy.after.value
    measured = f"{before:.3f} to {after:.3f}, lost {accuracy.loss:+.3f} ({low:+.3f} to {high:+.3f})"
    limit = thresholds.max_ap50_loss
    return Row("AP50 on labelled images", measured, f"loses at most {limit:g}", accuracy.loss <= limit, "max_ap50_loss")
