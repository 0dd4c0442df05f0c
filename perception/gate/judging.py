"""The way of a gate: every frame of the drives through both bundles in turns, then the verdict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from engines.accuracy_loss import AccuracyLoss
from engines.bundle import Bundle, load_bundle
from engines.datasets import Dataset
from engines.decoders.classification import Classifier
from engines.errors import BundleError
from engines.evaluate import Evaluation, evaluate
from engines.results import Thresholds
from engines.runtime import AUTO, best_engine
from engines.settings_file import SettingsError
from perception.clearance import Postprocessing
from perception.config import DEFAULT, NetworkSettings
from perception.errors import UsageError
from perception.gate.boxes import BoxComparison
from perception.gate.comparison import Comparison, Place
from perception.gate.latency import Latencies
from perception.gate.mask_figures import Groups
from perception.gate.masks import MaskComparison
from perception.gate.row import Row
from perception.gate.side import Look, Side, class_names_by_group, lacking_classes, shared_groups, shared_names
from perception.gate.thresholds import GateThresholds
from perception.gate.verdict import Failures, Measured, check_class_names, judge
from perception.network import Network, open_network
from sensors.errors import EdgePerceptionError
from sensors.frame import Fault, Frame
from sensors.opening import open_sources
from sensors.source import Source, Span


class CouldNotJudgeError(EdgePerceptionError):
    """Nothing can be said of the candidate: no frame, nothing found, or a baseline that fails itself."""


@dataclass(frozen=True, slots=True)
class SideRequest:
    """A bundle, and the thresholds with which it runs: smallest scores by class name, the rest `score`."""

    bundle: Path
    score: float = Thresholds().score
    nms: float = 0.65
    scores_by_class: tuple[tuple[str, float], ...] = ()

    def thresholds(self, bundle: Bundle) -> Thresholds:
        """By class index. Raises `UsageError` on a class that the bundle has not."""
        by_name = {DEFAULT: self.score, **dict(self.scores_by_class)}
        try:
            return NetworkSettings(bundle=self.bundle, thresholds=by_name, nms=self.nms).thresholds_of(bundle)
        except SettingsError as error:
            raise UsageError("--class-score", str(error), "write it as person=0.2") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What is judged, against what, on which drives."""

    baseline: SideRequest
    candidate: SideRequest
    drives: Sequence[str]
    thresholds: GateThresholds
    engine: str = AUTO
    threads: int = 1
    span: Span = Span()
    dataset: Dataset | None = None
    class_map: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict and all that it stands on."""

    request: GateRequest
    bundles: tuple[Bundle, Bundle]
    engine: str
    frames: int
    faults: int  # damaged packets or files of the drives, which neither side saw
    measured: Measured
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may go where the baseline is."""
        return all(row.passed for row in self.rows)


class Judging:
    """One gate. Entering opens everything; `run` blocks; `stop` ends it early, and then there is no verdict."""

    def __init__(self, request: GateRequest) -> None:
        self._request = request
        self._opened = ExitStack()
        self._stopping = threading.Event()

    def __enter__(self) -> Judging:
        request = self._request
        cv2.setNumThreads(1)  # as in a run
        with ExitStack() as opened:
            baseline, candidate = (load_bundle(side.bundle) for side in (request.baseline, request.candidate))
            names = shared_names(baseline, candidate)
            check_class_names(request.thresholds, names)
            self._sources: list[Source] = [
                opened.enter_context(source) for source in open_sources(request.drives, span=request.span)
            ]
            for source in self._sources:
                if source.info.live:
                    raise UsageError(source.info.uri, "is live, and would not be seen twice alike", "record it first")
            # One engine for both, and with `auto` the one that the candidate would get on the vehicle.
            self._engine = best_engine(candidate) if request.engine == AUTO else request.engine
            networks = [
                self._open(opened, bundle, asked)
                for bundle, asked in ((baseline, request.baseline), (candidate, request.candidate))
            ]
            groups = [class_names_by_group(network) for network in networks]
            _check_kinds(networks, groups, request)
            both = shared_groups(*groups)
            self._sides = tuple(Side(network, names, request.thresholds, both) for network in networks)
            self._comparison: Comparison
            if both:
                self._missing_classes = lacking_classes(*groups)
                self._comparison = MaskComparison(both, request.thresholds)
            else:
                self._missing_classes = tuple(label for label in baseline.labels if label not in candidate.labels)
                self._comparison = BoxComparison(names, request.thresholds)
            self._failures = Failures()
            self._latencies = Latencies()
            self._frames = self._faults = 0
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._opened.__exit__(*exc)

    def _open(self, opened: ExitStack, bundle: Bundle, asked: SideRequest) -> Network:
        thresholds = asked.thresholds(bundle)
        network = open_network(
            bundle, engine=self._engine, slots=1, threads=self._request.threads, thresholds=thresholds
        )
        opened.callback(network.engine.close)
        return network

    @property
    def is_stopped(self) -> bool:
        """Whether it was ended early."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """End after the frame at hand. Any thread, or a signal handler."""
        self._stopping.set()
        for source in self._sources:
            source.close()

    def run(self, say: Callable[[str], None] = lambda _line: None) -> Judgement | None:
        """Judge; None where it was stopped. Raises `CouldNotJudgeError`, and what ends a source."""
        for number, source in enumerate(self._sources):
            before = self._frames
            for item in source:
                if self.is_stopped:
                    return None
                if isinstance(item, Fault):
                    self._faults += 1
                elif isinstance(item, Frame):
                    self._compare(item, number, source.info.uri)
                    item.release()
            say(f"{source.info.uri}: {self._frames - before} frames")
        if self.is_stopped:
            return None
        self._check_it_says_something()
        accuracy = self._accuracy(say) if self._request.dataset is not None else None
        return self._judgement(accuracy)

    def _compare(self, frame: Frame, drive: int, uri: str) -> None:
        """One frame through both sides. Who is first changes: the second finds the frame in the cache."""
        first = self._frames % 2
        self._frames += 1
        looks: list[Look] = [Look(None, 0)] * 2
        for side in (first, 1 - first):
            looks[side] = self._sides[side].look(frame, drive)
        one, other = looks
        place = Place(drive, Path(uri).name)
        if one.seen is None or other.seen is None:
            self._count_failure(one, other)
            if one.seen is not None or other.seen is not None:
                self._comparison.show_failure(frame, place, (one, other))
            return
        self._latencies.add(one.elapsed_ns, other.elapsed_ns)
        self._comparison.add(frame, place, (one, other))

    def _count_failure(self, one: Look, other: Look) -> None:
        failures = self._failures
        failures.both += bool(one.failure and other.failure)
        failures.only_baseline += bool(one.failure and not other.failure)
        failures.only_candidate += bool(other.failure and not one.failure)
        failures.baseline_reason = one.failure or failures.baseline_reason
        failures.candidate_reason = other.failure or failures.candidate_reason

    def _check_it_says_something(self) -> None:
        """Raise `CouldNotJudgeError` unless the baseline showed enough to be held against."""
        drives = ", ".join(self._request.drives)
        failures = self._failures
        if not self._frames:
            faults = f"; {self._faults} could not be read" if self._faults else ""
            remedy = "check --start and --duration against the drive, and whether it plays elsewhere"
            raise CouldNotJudgeError(drives, f"could not judge: there is no frame{faults}", remedy)
        if failures.only_baseline + failures.both == self._frames:
            raise CouldNotJudgeError(
                str(self._request.baseline.bundle),
                f"could not judge: the baseline fails on all {self._frames} frames ({failures.baseline_reason})",
                "give a baseline that works: try it with `perception replay`",
            )
        too_little = self._comparison.says_too_little()
        if too_little and failures.only_candidate <= self._request.thresholds.max_failures:
            what, remedy = too_little
            raise CouldNotJudgeError(drives, f"could not judge: in {self._frames} frames {what}", remedy)

    def _accuracy(self, say: Callable[[str], None]) -> AccuracyLoss:
        request = self._request
        assert request.dataset is not None
        say(f"{request.dataset.name}: {len(request.dataset.images)} labelled images")

        def of(side: SideRequest, bundle: Bundle) -> Evaluation:
            assert request.dataset is not None
            return evaluate(
                bundle,
                request.dataset,
                engine=self._engine,
                threads=request.threads,
                class_map=request.class_map,
                nms_iou=side.nms,
            )

        baseline, candidate = self._sides
        return AccuracyLoss(of(request.baseline, baseline.bundle), of(request.candidate, candidate.bundle))

    def _judgement(self, accuracy: AccuracyLoss | None) -> Judgement:
        baseline, candidate = self._sides
        postprocessing: tuple[Postprocessing, Postprocessing] = baseline.postprocessing, candidate.postprocessing
        thresholds = self._request.thresholds
        measured = Measured(
            missing_classes=self._missing_classes,
            pixels=(baseline.bundle.settings.pixels, candidate.bundle.settings.pixels),
            postprocessing=postprocessing,
            failures=self._failures,
            comparison=self._comparison,
            latencies=self._latencies,
            accuracy=accuracy,
        )
        return Judgement(
            request=self._request,
            bundles=(baseline.bundle, candidate.bundle),
            engine=baseline.engine,
            frames=self._frames,
            faults=self._faults,
            measured=measured,
            rows=judge(measured, thresholds),
        )


def _check_kinds(networks: Sequence[Network], groups: Sequence[Groups], request: GateRequest) -> None:
    """Raise unless both find boxes, or both find masks of a group that is called the same."""
    baseline, candidate = groups
    name = str(networks[1].bundle.folder)
    for network in networks:
        if network.decoder.name == Classifier.name:
            remedy = "give two detectors or two segmenters; `perception engine evaluate` compares classifiers"
            raise BundleError(str(network.bundle.folder), "classifies, and has no place on a frame to compare", remedy)
    if bool(baseline) != bool(candidate):
        finds = {True: "masks", False: "boxes"}
        what = f"finds {finds[bool(candidate)]}, and the baseline finds {finds[bool(baseline)]}"
        raise BundleError(name, what, "give two detectors or two segmenters")
    if baseline and not baseline.keys() & candidate.keys():
        what = f"has the groups {', '.join(candidate)}, and the baseline {', '.join(baseline)}: none in common"
        raise BundleError(name, what, "call them alike: `perception engine import --outputs GROUP=OUTPUT`")
    if baseline and request.dataset is not None:
        raise UsageError(
            "--labels", "are boxes, and both bundles find masks", "leave it away: masks are compared pixel by pixel"
        )
