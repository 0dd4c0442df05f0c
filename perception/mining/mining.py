"""The way of mining: every frame of the drives looked at, what is worth labelling chosen, and its pictures read again.

Drives are read twice. The first time a frame leaves some 2 kB behind, whatever its size; the second time, only as far
as the last frame that was chosen, gives the pictures.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle, load_bundle
from engines.datasets.held_back import held_back
from engines.datasets.near_duplicates import picture_hash
from engines.decoders import NonFiniteOutputError
from engines.errors import EngineError
from engines.results import Detections, Thresholds
from engines.runtime import AUTO
from perception.errors import UsageError
from perception.mining.choice import Candidate, choose
from perception.mining.disagreement import disagreements
from perception.mining.flicker import WINDOW, vanished
from perception.mining.looked import Finding, Looked
from perception.mining.looking import Looker, teacher_targets
from perception.mining.low_confidence import unsure
from perception.mining.pseudo_labels import pseudo_labels
from perception.network import open_network
from sensors.errors import EXIT_ANSWER_IS_NO, EdgePerceptionError, SourceError
from sensors.frame import Fault, Frame
from sensors.naming import distinct_name, safe_name, split_name
from sensors.opening import default_name, open_source, recorded_name
from sensors.source import Source, Span
from sensors.yuv import bgr

Watch = Callable[[int, int | None], None]
TRAIN, VAL = "train", "val"


class NothingFoundError(EdgePerceptionError):
    """No frame is worth labelling by what was asked. Nothing was written."""

    exit_code = EXIT_ANSWER_IS_NO


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningRequest:
    """What is looked at, by whom, and how much of it is wanted."""

    drives: Sequence[str]
    model: Path
    teacher: Path | None = None
    class_map: Sequence[tuple[str, str]] = ()  # (teacher's class, model's class)
    engine: str = AUTO
    threads: int = 1
    span: Span = Span()
    score: float = 0.3  # at which a box is shown
    sure: float = 0.5  # at which it is believed
    nms: float = 0.65
    count: int = 100
    apart_s: float = 0.5
    val: float = 0.2  # share of the frames whose drives are held back

    def __post_init__(self) -> None:
        if not self.score < self.sure:
            raise UsageError(f"--sure {self.sure}", f"is not above --score {self.score}", "give a higher one")


@dataclass(slots=True)
class DriveAccount:
    """One drive: what it is called, and what became of its frames."""

    uri: str
    name: str
    frames: int = 0
    faults: int = 0  # damaged packets or files, which nobody saw
    failed: int = 0  # frames that a network could not answer
    reasons: Counter[str] = field(default_factory=Counter)  # frames that have each


@dataclass(frozen=True, slots=True)
class Pick:
    """A frame that was chosen, the boxes that it is handed on with, and its file in the dataset."""

    candidate: Candidate
    labels: Detections
    split: str
    stem: str  # of its file's name


@dataclass(frozen=True, slots=True)
class Mined:
    """What was found. `alike`: frames left out because one like them was taken."""

    request: MiningRequest
    model: Bundle
    teacher: Bundle | None
    drives: tuple[DriveAccount, ...]
    picks: tuple[Pick, ...]
    alike: int


class Mining:
    """One search. Entering opens everything; `run` and `pictures` block; `stop` ends both early."""

    def __init__(self, request: MiningRequest) -> None:
        self._request = request
        self._stopping = threading.Event()
        self._source: Source | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Mining:
        request = self._request
        cv2.setNumThreads(1)  # as in a run
        with ExitStack() as opened:
            self._model = load_bundle(request.model)
            self._teacher = None if request.teacher is None else load_bundle(request.teacher)
            labels = self._model.labels
            self._known = np.zeros(len(labels), np.bool_)
            targets = None
            if self._teacher is not None:
                targets = teacher_targets(self._teacher.labels, labels, request.class_map)
                self._known[targets[targets >= 0]] = True
            self._drives = _named(request.drives)
            for drive in self._drives:
                with _opened(drive.uri, Span()) as source:  # what is wrong is said before anything takes long
                    if source.info.live:
                        raise UsageError(source.info.uri, "is live, and cannot be read twice", "record it first")
            self._looker = self._look_with(opened, self._model, np.arange(len(labels), dtype=np.int32))
            self._asked = None
            if self._teacher is not None and targets is not None:
                self._asked = self._look_with(opened, self._teacher, targets)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._opened.__exit__(*exc)

    def _look_with(self, opened: ExitStack, bundle: Bundle, targets: NDArray[np.int32]) -> Looker:
        request = self._request
        thresholds = Thresholds(request.score, request.nms)
        network = open_network(bundle, engine=request.engine, slots=1, threads=request.threads, thresholds=thresholds)
        opened.callback(network.engine.close)
        return Looker(network, targets)

    @property
    def is_stopped(self) -> bool:
        """Whether it was ended early."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """End after the frame at hand. Any thread, or a signal handler."""
        self._stopping.set()
        if self._source is not None:
            self._source.close()

    def run(self, watch: Watch = lambda _done, _all: None) -> Mined | None:
        """Look at all frames and choose; None where it was stopped.

        `watch` hears how many frames were looked at, and of how many, where that is known. Raises
        `NothingFoundError`, `EngineError` where a network answers no frame at all, and what ends a source.
        """
        candidates: list[Candidate] = []
        for number, drive in enumerate(self._drives):
            for candidate in self._candidates(number, drive, watch):
                candidates.append(candidate)
                drive.reasons.update(candidate.reasons)
            if self.is_stopped:
                return None
        chosen = choose(candidates, self._request.count, round(self._request.apart_s * 1e9))
        self._check_there_is_something(candidates)
        return Mined(
            self._request,
            self._model,
            self._teacher,
            tuple(self._drives),
            tuple(self._picks(chosen.taken)),
            chosen.alike,
        )

    def pictures(self, mined: Mined) -> Iterator[tuple[Pick, Frame]]:
        """The chosen frames again, drive by drive; ends early where it is stopped. A frame is good until the next.

        Raises what ends a source, and `SourceError` where a drive is not what it was.
        """
        wanted: defaultdict[int, dict[tuple[str, int], Pick]] = defaultdict(dict)
        for pick in mined.picks:
            frame = pick.candidate.frame
            wanted[frame.drive][frame.sensor, frame.sequence] = pick
        for number, of_drive in wanted.items():
            uri = self._drives[number].uri
            for item in self._items(uri):
                if not isinstance(item, Frame):
                    continue
                one = of_drive.get((item.sensor, item.sequence))
                if one is not None:
                    if picture_hash(bgr(item)).bits != one.candidate.frame.hash.bits:
                        break
                    del of_drive[item.sensor, item.sequence]
                    yield one, item
                item.release()
                if not of_drive:
                    break
            if of_drive and not self.is_stopped:
                raise SourceError(uri, "gives other frames than it gave before", "mine it while nobody writes to it")

    def _items(self, uri: str) -> Iterator[Any]:
        with _opened(uri, self._request.span) as source:
            self._source = source
            try:
                for item in source:
                    if self.is_stopped:
                        return
                    yield item
            finally:
                self._source = None

    def _candidates(self, number: int, drive: DriveAccount, watch: Watch) -> Iterator[Candidate]:
        """Frames of a drive with at least one finding; a frame waits until it is known what comes back after it."""
        windows: defaultdict[str, deque[tuple[Looked, list[Finding]]]] = defaultdict(deque)
        before = sum(one.frames for one in self._drives)
        cameras = _cameras(drive.uri, self._request.span)
        counts = list(cameras.values())
        total = None if None in counts else before + sum(count or 0 for count in counts)
        for item in self._items(drive.uri):
            if isinstance(item, Fault):
                drive.faults += item.sensor in cameras
            if not isinstance(item, Frame):
                continue
            drive.frames += 1
            watch(before + drive.frames, total)
            looked = self._look(item, number)
            item.release()
            if looked is None:
                drive.failed += 1
                continue
            window = windows[looked.sensor]
            window.append((looked, self._findings(looked)))
            for place, finding in vanished([frame for frame, _ in window]):
                window[place][1].append(finding)
            if len(window) == WINDOW:
                yield from _if_any(*window.popleft())
        for window in windows.values():
            for frame, findings in window:
                yield from _if_any(frame, findings)

    def _look(self, frame: Frame, drive: int) -> Looked | None:
        image = np.ascontiguousarray(bgr(frame))
        try:
            found = self._looker.look(image)
            taught = None if self._asked is None else self._asked.look(image)
        except (EngineError, NonFiniteOutputError) as error:
            self._failure = str(error)
            return None
        found = self._looker.follow(found, drive, frame.sensor, frame.stamp_ns)
        size = (image.shape[1], image.shape[0])
        return Looked(drive, frame.sensor, frame.sequence, frame.stamp_ns, size, picture_hash(image), found, taught)

    def _findings(self, frame: Looked) -> list[Finding]:
        request = self._request
        return [
            *unsure(frame, request.score, request.sure),
            *disagreements(frame, self._model.labels, self._known, request.sure),
        ]

    def _check_there_is_something(self, candidates: Sequence[Candidate]) -> None:
        if candidates:
            return
        frames, failed = (sum(getattr(one, what) for one in self._drives) for what in ("frames", "failed"))
        drives = ", ".join(one.uri for one in self._drives)
        if frames and failed == frames:
            raise EngineError(drives, f"not one of {frames} frames could be answered: {self._failure}", "try `replay`")
        what = f"none of {frames} frames is worth labelling by these networks" if frames else "there is no frame"
        remedy = "give a --teacher, a lower --score, or other drives"
        raise NothingFoundError(drives, what, remedy if frames else "check --start and --duration against the drive")

    def _picks(self, taken: Sequence[Candidate]) -> Iterator[Pick]:
        request = self._request
        labels = [pseudo_labels(one.frame, one.findings, self._known, request.sure) for one in taken]
        frames = Counter(self._drives[one.frame.drive].name for one in taken)
        # A split that shows nothing to find could be neither trained on nor judged by.
        boxes = Counter[str]()
        for one, of_frame in zip(taken, labels, strict=True):
            boxes[self._drives[one.frame.drive].name] += len(of_frame)
        if not boxes.total():
            raise NothingFoundError(
                ", ".join(request.drives), "neither network is sure of any box", "give a lower --sure or a --teacher"
            )
        with_boxes = {name: frames[name] for name in frames if boxes[name]}
        held = held_back(with_boxes, request.val) if request.val and len(with_boxes) > 1 else []
        for one, of_frame in zip(taken, labels, strict=True):
            name, sensor = self._drives[one.frame.drive].name, one.frame.sensor
            stem = (
                f"{name}--{one.frame.sequence:06}" if sensor == name else f"{name}--{sensor}--{one.frame.sequence:06}"
            )
            yield Pick(one, of_frame, VAL if name in held else TRAIN, stem)


def _if_any(frame: Looked, findings: Sequence[Finding]) -> Iterator[Candidate]:
    if findings:
        yield Candidate(frame, tuple(findings))


def _opened(uri: str, span: Span) -> Source:
    name, path = recorded_name(uri)
    return open_source(path, name=name, span=span)


def _cameras(uri: str, span: Span) -> dict[str, int | None]:
    """A drive's cameras, and how many frames each has, where it tells."""
    with _opened(uri, span) as source:
        return {sensor.name: sensor.count for sensor in source.info.sensors if sensor.kind == "camera"}


def _named(uris: Sequence[str]) -> list[DriveAccount]:
    """Drives with names of their own, as they stand in file names."""
    drives: list[DriveAccount] = []
    for uri in uris:
        written, path = split_name(uri)
        name = written or default_name(path) or safe_name(Path(path).stem)
        drives.append(DriveAccount(uri, distinct_name(name, [drive.name for drive in drives])))
    return drives
