"""One bundle that looks at pictures, and what its classes are to us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.decoders import NonFiniteOutputError
from engines.decoders.decoder import Decoder
from engines.errors import EngineError, TrainingError
from engines.inference import decoder_for
from engines.results import Detections, Thresholds
from engines.runtime import Engine, open_engine
from engines.training.datasets import TaughtClasses
from engines.training.datasets.riders import rides
from engines.training.teaching.findings import Findings, groups_of

TILE = 0.6  # of the picture's width and height; four of them overlap by a fifth
_EDGE = 4.0  # pixels: a box that comes so near to a cut through the picture may be the part of a larger thing
_LARGEST_IN_TILE = 0.7  # of a tile's side: what is larger is seen better in the whole picture
_THRESHOLDS = Thresholds(score=0.02, nms_iou=0.65, max_detections=300, every_label=True)


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a teacher's classes become ours: `targets` (theirs,) index of ours or -1; riders as (rider, machine, ours)
    where a rider and their machine, two boxes to the teacher, are one thing to us.
    """

    targets: NDArray[np.int64]
    riders: tuple[int, int, int] | None = None

    def taught(self, classes: int) -> NDArray[np.bool_]:
        """Which of our classes (C,) it knows of."""
        known = np.zeros(classes, np.bool_)
        known[self.targets[self.targets >= 0]] = True
        if self.riders is not None:
            known[self.riders[2]] = True
        return known


def lesson_for(theirs: Sequence[str], ours: Sequence[str], classes: TaughtClasses) -> Lesson:
    """Pair a teacher's classes with ours. Raises `TrainingError` where a name is unknown, or where nothing pairs."""
    targets = np.array([ours.index(name) if name in ours else -1 for name in theirs], np.int64)
    for their, our in classes.map.items():
        targets[_index(their, theirs, "teacher.map", "of the teacher")] = _index(our, ours, "teacher.map", "of ours")
    riders = None
    if rule := classes.riders:
        rider, machine = (
            _index(name, theirs, "teacher.riders", "of the teacher") for name in (rule.rider, rule.machine)
        )
        riders = rider, machine, _index(rule.becomes, ours, "teacher.riders", "of ours")
    if (targets < 0).all() and riders is None:
        raise TrainingError(
            "--teacher",
            f"it knows none of {', '.join(ours)} by name (it has {', '.join(theirs)[:200]})",
            'say in the mixture.toml what its classes are: [teacher] map = { car = "vehicle" }',
        )
    return Lesson(targets, riders)


def _index(name: str, known: Sequence[str], where: str, whose: str) -> int:
    if name in known:
        return known.index(name)
    near = get_close_matches(name, known, n=1)
    raise TrainingError(
        where,
        f"{name!r} is no class {whose}",
        f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)[:200]}",
    )


class Teacher:
    """One bundle, running. A context manager."""

    def __init__(self, bundle: Bundle, lesson: Lesson, threads: int = 1) -> None:
        self._lesson = lesson
        self._engine: Engine = open_engine(bundle, "onnxruntime", slots=1, threads=threads)
        self._decoder: Decoder = decoder_for(bundle, self._engine)

    def passes(self, image: NDArray[np.uint8]) -> list[tuple[int, Findings]]:
        """What it finds on an image (H, W, 3) BGR in each pass, with the pass's scale: 0 whole, 1 tiles."""
        found = []
        for is_mirrored in (False, True):
            seen = np.ascontiguousarray(image[:, ::-1]) if is_mirrored else image
            for scale, views in enumerate(([_whole(image)], _tiles(image))):
                findings = taught_view(np.concatenate([self._look(seen, view) for view in views]), self._lesson)
                found.append((scale, _mirrored(findings, image.shape[1]) if is_mirrored else findings))
        return found

    def _look(self, image: NDArray[np.uint8], view: tuple[int, int, int, int]) -> NDArray[np.float32]:
        """Rows of (left, top, right, bottom, score, their class) in the image's pixels."""
        left, top, right, bottom = view
        part = np.ascontiguousarray(image[top:bottom, left:right])
        place = self._engine.place(right - left, bottom - top)
        self._engine.stage(0, 0, part, place)
        self._engine.submit(0, 1)
        try:
            found = self._decoder.decode(self._engine.wait(0).rows[0], place, _THRESHOLDS)
        except NonFiniteOutputError as error:
            raise EngineError("--teacher", f"cannot be learnt from: {error}", "export it again") from None
        if not isinstance(found, Detections):
            raise TrainingError("--teacher", "finds no boxes", "give a detector")
        rows = np.column_stack([found.boxes_xyxy, found.scores, found.classes]).astype(np.float32)
        if view != _whole(image):
            size = np.array([right - left, bottom - top])
            inner = np.array([left > 0, top > 0, right < image.shape[1], bottom < image.shape[0]])
            gaps = np.column_stack([rows[:, :2], size - rows[:, 2:4]])
            is_cut = ((gaps < _EDGE) & inner).any(axis=1)
            is_large = ((rows[:, 2:4] - rows[:, :2]) > size * _LARGEST_IN_TILE).any(axis=1)
            rows = rows[~is_cut & ~is_large]
        rows[:, :4] += np.array([left, top, left, top], np.float32)
        return rows

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def __enter__(self) -> Teacher:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _whole(image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    return 0, 0, image.shape[1], image.shape[0]


def _tiles(image: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
    height, width = image.shape[:2]
    wide, high = round(width * TILE), round(height * TILE)
    return [(x, y, x + wide, y + high) for y in (0, height - high) for x in (0, width - wide)]


def _mirrored(findings: Findings, width: int) -> Findings:
    boxes = findings.boxes_xyxy.copy()
    boxes[:, [0, 2]] = width - findings.boxes_xyxy[:, [2, 0]]
    return Findings(boxes, findings.classes, findings.confidences)


def taught_view(rows: NDArray[np.float32], lesson: Lesson) -> Findings:
    """One pass as our classes. What the teacher calls a car and a truck at once is a vehicle with 1 - (1-c)(1-t)."""
    boxes, scores, theirs = rows[:, :4], rows[:, 4].copy(), rows[:, 5].astype(np.int64)
    ours = lesson.targets[theirs]
    made = ridden(boxes, scores, theirs, lesson.riders) if lesson.riders is not None else Findings.of([], [], [])
    kept: tuple[list[NDArray[np.float32]], list[int], list[float]] = ([], [], [])
    for our in np.unique(ours[ours >= 0]):
        of_class = np.flatnonzero(ours == our)
        for group in groups_of(boxes[of_class], scores[of_class]):
            members = of_class[group]
            best = {label: scores[members[theirs[members] == label]].max() for label in np.unique(theirs[members])}
            kept[0].append(boxes[members[0]])
            kept[1].append(int(our))
            kept[2].append(float(1 - np.prod([1 - score for score in best.values()])))
    plain = Findings.of(*kept)
    return Findings(
        np.concatenate([plain.boxes_xyxy, made.boxes_xyxy]),
        np.concatenate([plain.classes, made.classes]),
        np.concatenate([plain.confidences, made.confidences]),
    )


def ridden(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], theirs: NDArray[np.int64], riders: tuple[int, int, int]
) -> Findings:
    """Riders and their machines as one, by the rule of labels (`rides`); what a rider is now, a person is less:
    `scores` changes. The score of both is the root of the product.
    """
    rider, machine, becomes = riders
    people, machines = np.flatnonzero(theirs == rider), np.flatnonzero(theirs == machine)
    together = rides(boxes[people], boxes[machines])
    pairs = [
        (float(np.sqrt(scores[people[p]] * scores[machines[m]])), people[p], machines[m])
        for m, p in np.argwhere(together.T)
    ]
    found: tuple[list[NDArray[np.float32]], list[int], list[float]] = ([], [], [])
    used: set[int] = set()
    for score, person, below in sorted(pairs, key=lambda pair: -pair[0]):
        if {int(person), int(below)} & used:
            continue
        used |= {int(person), int(below)}
        pair = boxes[[person, below]]
        found[0].append(np.concatenate([pair[:, :2].min(axis=0), pair[:, 2:].max(axis=0)]))
        found[1].append(becomes)
        found[2].append(score)
        scores[person] *= 1 - score
    return Findings.of(*found)
