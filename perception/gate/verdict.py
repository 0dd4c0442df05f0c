"""The figures held against the thresholds, row by row: measured, limit, pass or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from engines.accuracy_loss import AccuracyLoss
from perception.clearance import Postprocessing
from perception.errors import UsageError
from perception.gate.figures import Figures
from perception.gate.latency import Latencies
from perception.gate.thresholds import GateThresholds
from perception.gate.tracks import TrackFigures

SPARE = 1  # tracks, or changes of an id, that are let pass whatever their share: one is chance


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was judged, in words; `key` is its threshold's."""

    figure: str
    measured: str
    limit: str
    passed: bool
    key: str


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
    postprocessing: tuple[Postprocessing, Postprocessing]
    failures: Failures
    figures: Figures
    tracks: TrackFigures
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
        rows += [
            *_of_boxes(measured.figures, thresholds),
            *_of_classes(measured.figures, thresholds),
            *_of_tracks(measured.tracks, thresholds),
            *_of_latency(measured.latencies, thresholds),
        ]
    if measured.accuracy is not None:
        rows.append(_of_accuracy(measured.accuracy, thresholds))
    return tuple(rows)


def check_class_names(thresholds: GateThresholds, names: tuple[str, ...]) -> None:
    """Raise `UsageError` where `recall_by_class` names a class that neither side has."""
    for name in thresholds.recall_by_class:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "labels.txt in the bundle has them"
            raise UsageError(f"recall_by_class.{name}", "is no class of either bundle", hint)


def _of_the_request(measured: Measured, thresholds: GateThresholds) -> Iterator[Row]:
    missing = ", ".join(measured.missing_classes)
    yield Row("classes that the candidate lacks", missing or "none", "none", not missing, "labels.txt")
    one, other = measured.postprocessing
    same = one == other
    words = f"the same: {one}" if same else f"{one} against {other}"
    strict = thresholds.same_postprocessing
    limit = "the same" if strict else "may differ"
    yield Row("score thresholds and NMS", words, limit, same or not strict, "same_postprocessing")


def _of_boxes(figures: Figures, thresholds: GateThresholds) -> Iterator[Row]:
    total = figures.all_classes
    yield _least("match rate", total.match_rate, thresholds.min_match_rate, "min_match_rate")
    yield _least("recall", total.recall, thresholds.min_recall, "min_recall")
    if total.candidate:
        yield _least("precision", total.precision, thresholds.min_precision, "min_precision")
    if total.mean_iou is not None:
        yield _least("mean IoU of partners", total.mean_iou, thresholds.min_mean_iou, "min_mean_iou")
    if total.score_shift is not None:
        yield _shift("score shift", total.score_shift, thresholds)
    one, other = figures.share_of_doubles()
    limit = thresholds.max_doubles_change
    words = f"{one:.3f} to {other:.3f}"
    passed = abs(other - one) <= limit
    yield Row("share of doubles", words, f"changes by at most {limit:g}", passed, "max_doubles_change")


def _of_classes(figures: Figures, thresholds: GateThresholds) -> Iterator[Row]:
    """Where there is enough to judge by: of recall the baseline's boxes, of precision the candidate's."""
    enough = thresholds.min_class_boxes
    for name, of_class in figures.per_class().items():
        own = thresholds.recall_by_class.get(name)
        if own is not None and of_class.baseline:
            yield _least(f"recall of {name}", of_class.recall, own, f"recall_by_class.{name}")
        elif of_class.baseline >= enough:
            yield _least(f"recall of {name}", of_class.recall, thresholds.min_class_recall, "min_class_recall")
        if of_class.candidate >= enough:
            limit = thresholds.min_class_precision
            yield _least(f"precision of {name}", of_class.precision, limit, "min_class_precision")
        if of_class.baseline >= enough and of_class.score_shift is not None:
            yield _shift(f"score shift of {name}", of_class.score_shift, thresholds)


def _of_tracks(tracks: TrackFigures, thresholds: GateThresholds) -> Iterator[Row]:
    for what, count, total, limit, key in (
        ("vanished tracks", tracks.vanished, tracks.baseline, thresholds.max_vanished_tracks, "max_vanished_tracks"),
        ("appeared tracks", tracks.appeared, tracks.candidate, thresholds.max_appeared_tracks, "max_appeared_tracks"),
        ("id switches", tracks.id_switches, tracks.baseline, thresholds.max_id_switches, "max_id_switches"),
    ):
        most = max(SPARE, int(limit * total))
        words = f"{count} on {total} tracks" if key == "max_id_switches" else f"{count} of {total}"
        yield Row(what, words, f"at most {most} ({limit:g} a track)", count <= most, key)


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


def _least(figure: str, measured: float, limit: float, key: str) -> Row:
    return Row(figure, f"{measured:.3f}", f"at least {limit:g}", measured >= limit, key)


def _shift(figure: str, measured: float, thresholds: GateThresholds) -> Row:
    limit = thresholds.max_score_shift
    return Row(figure, f"{measured:+.3f}", f"at most {limit:g} up or down", abs(measured) <= limit, "max_score_shift")
