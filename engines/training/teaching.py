"""What other networks see on the pictures that are learnt from: soft labels, made once before training.

A teacher is any detector bundle. A small network finds far more where it looks closer, so it sees each picture whole
and in four overlapping tiles, each as it is and mirrored; what it finds in these passes is fused (after Solovyev et
al. 2021, "Weighted boxes fusion"). A fused box's confidence, the mean over the passes of the scale that finds it best,
is what the student learns to give it (Hinton et al. 2015, "Distilling the knowledge in a neural network").
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.decoders import NonFiniteOutputError, build_decoder
from engines.decoders.decoder import Decoder
from engines.errors import EngineError, TrainingError
from engines.results import Detections, Thresholds
from engines.runtime import Engine, open_engine
from engines.training.datasets import Example, Mixture, TaughtClasses

FAINTEST = 0.05  # confidence below which nothing is taught: what is fainter is background to the teacher too
MISSED_LABEL = 0.5  # above it a box is taught even where people labelled that class and drew none
SAME_OBJECT_IOU = 0.55  # of two boxes of one class
TILE = 0.6  # of the picture's width and height; four of them overlap by a fifth
_EDGE = 4.0  # pixels: a box that comes so near to a cut through the picture may be the part of a larger thing
_LARGEST_IN_TILE = 0.7  # of a tile's side: what is larger is seen better in the whole picture
_VERSION = 1  # of this way to look: findings of another one are not taken from a cache
_THRESHOLDS = Thresholds(score=0.02, nms_iou=0.65, max_detections=300, every_label=True)


@dataclass(frozen=True, slots=True)
class Findings:
    """N boxes on one picture: `boxes_xyxy` (N, 4) float32 in its pixels, `classes` (N,) int64, `confidences` (N,)."""

    boxes_xyxy: NDArray[np.float32]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float32]

    @staticmethod
    def of(boxes: Sequence[NDArray[np.float32]], classes: Sequence[int], confidences: Sequence[float]) -> Findings:
        """Make it of lists."""
        return Findings(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64), np.array(confidences, np.float32)
        )


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
        self._engine.submit(0, 1)
        outputs = self._engine.wait(0).rows[0]
        settings = bundle.settings
        shapes = {role: outputs[role].shape for role in settings.outputs}
        self._decoder: Decoder = build_decoder(settings.decoder, shapes, settings.input.width, settings.input.height)

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
        for group in _groups(boxes[of_class], scores[of_class]):
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
    """Riders and their machines as one; what a rider is now, a person is less: `scores` changes.

    A person rides where the lower half of their box meets the machine's, their middle is over it and their feet do
    not stand in front of it. The score of both is the root of the product.
    """
    rider, machine, becomes = riders
    people, machines = np.flatnonzero(theirs == rider), np.flatnonzero(theirs == machine)
    legs = boxes[people].copy()
    legs[:, 1] = (legs[:, 1] + legs[:, 3]) / 2
    middles = (boxes[people, 0] + boxes[people, 2]) / 2
    pairs = []
    for m in machines:
        left, top, right, bottom = boxes[m]
        wide = np.minimum(legs[:, 2], right) - np.maximum(legs[:, 0], left)
        high = np.minimum(legs[:, 3], bottom) - np.maximum(legs[:, 1], top)
        rides = (wide > 0) & (high > 0) & (middles > left) & (middles < right)
        rides &= legs[:, 3] < bottom + 0.15 * (bottom - top)
        pairs += [(float(np.sqrt(scores[people[p]] * scores[m])), people[p], m) for p in np.flatnonzero(rides)]
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


def fuse(passes: Sequence[tuple[int, Findings]]) -> Findings:
    """One set of boxes of several passes (scale, what was found).

    Boxes of one class that overlap are one object: their mean, weighted by confidence. Its confidence is the mean over
    the passes of a scale (0 where a pass missed it), of the scale where that is highest.
    """
    scales = np.array([scale for scale, _ in passes])
    boxes = np.concatenate([found.boxes_xyxy for _, found in passes])
    classes = np.concatenate([found.classes for _, found in passes])
    scores = np.concatenate([found.confidences for _, found in passes])
    origin = np.repeat(np.arange(len(passes)), [len(found.classes) for _, found in passes])
    fused: tuple[list[NDArray[np.float32]], list[int], list[float]] = ([], [], [])
    for our in np.unique(classes):
        of_class = np.flatnonzero(classes == our)
        for group in _groups(boxes[of_class], scores[of_class]):
            members = of_class[group]
            best = np.zeros(len(passes), np.float32)
            np.maximum.at(best, origin[members], scores[members])
            confidence = max(float(best[scales == scale].mean()) for scale in np.unique(scales))
            if confidence >= FAINTEST:
                fused[0].append(np.average(boxes[members], axis=0, weights=scores[members]).astype(np.float32))
                fused[1].append(int(our))
                fused[2].append(confidence)
    return Findings.of(*fused)


def _groups(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> list[NDArray[np.intp]]:
    """Indices of the boxes that overlap a better one, with it, which comes first; best group first."""
    order = np.argsort(-scores, kind="stable")
    overlaps = overlap(boxes, boxes)
    free = np.ones(len(boxes), np.bool_)
    groups = []
    for leader in order:
        if free[leader]:
            group = order[free[order] & (overlaps[leader, order] > SAME_OBJECT_IOU)]
            group = np.concatenate([[leader], group[group != leader]])
            free[group] = False
            groups.append(group)
    return groups


def overlap(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU (N, M) of boxes (N, 4) and (M, 4) xyxy."""
    sides = np.minimum(left[:, None, 2:], right[None, :, 2:]) - np.maximum(left[:, None, :2], right[None, :, :2])
    shared = np.clip(sides, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (left, right)]
    ious: NDArray[np.float32] = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6)
    return ious


class TaughtMixture(Mixture):
    """A mixture with what teachers found added to its labels.

    Where people labelled a class, their boxes count, and beside them only what a teacher is sure of and they may have
    missed. Where they did not, the teachers' boxes are all that is known of it, and it counts as labelled.
    """

    def __init__(
        self,
        mixture: Mixture,
        findings: Sequence[Findings],
        taught: NDArray[np.bool_],
        teachers: Sequence[Bundle] = (),
    ) -> None:
        self.classes, self.parts = mixture.classes, mixture.parts
        self.teachers = tuple({"bundle": teacher.name, "sha256": teacher.sha256} for teacher in teachers)
        self._mixture = mixture
        self._findings, self._taught = findings, taught
        self._labels_all = bool(taught.all())

    def __len__(self) -> int:
        return len(self._mixture)

    def read(self, index: int) -> Example:
        """Give an image, its labels and what the teachers add. Raises `DatasetError`."""
        example, found = self._mixture.read(index), self._findings[index]
        same = found.classes[:, None] == example.classes[None]
        is_labelled = ((overlap(found.boxes_xyxy, example.boxes_xyxy) > SAME_OBJECT_IOU) & same).any(axis=1)
        is_missed = found.confidences >= MISSED_LABEL
        added = ~is_labelled & (~example.labelled[found.classes] | is_missed)
        return Example(
            example.image,
            np.concatenate([example.boxes_xyxy, found.boxes_xyxy[added]]),
            np.concatenate([example.classes, found.classes[added]]),
            example.ignored_xyxy,
            example.labelled | self._taught,
            np.concatenate([example.confidences, found.confidences[added]]),
        )

    def path_of(self, index: int) -> Path:
        """Where an image lies."""
        return self._mixture.path_of(index)

    def draw(self, rng: np.random.Generator, like: int | None = None) -> int:
        """Give an index by the weights; where the teachers know all classes, every image is like every other."""
        return self._mixture.draw(rng, None if self._labels_all else like)


def teach(
    mixture: Mixture,
    teachers: Sequence[Bundle],
    classes: TaughtClasses,
    cache: Path,
    *,
    threads: int = 1,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> TaughtMixture:
    """Let teachers look at every image of a mixture, or read what they found in the file `cache` before.

    `told` hears how many images are done. Raises `TrainingError`, `DatasetError`, `EngineError`.
    """
    lessons = [lesson_for(teacher.labels, mixture.classes, classes) for teacher in teachers]
    taught = np.any([lesson.taught(len(mixture.classes)) for lesson in lessons], axis=0)
    key = _key(mixture, teachers, lessons)
    findings = _read_cache(cache, key)
    if findings is None:
        findings = []
        with ExitStack() as stack:
            running = [
                stack.enter_context(Teacher(t, lesson, threads)) for t, lesson in zip(teachers, lessons, strict=True)
            ]
            for index in range(len(mixture)):
                image = mixture.read(index).image
                findings.append(fuse([found for teacher in running for found in teacher.passes(image)]))
                told(index + 1, len(mixture))
        _write_cache(cache, key, findings)
    return TaughtMixture(mixture, findings, taught, teachers)


def _key(mixture: Mixture, teachers: Sequence[Bundle], lessons: Sequence[Lesson]) -> str:
    """Of all that findings depend on: who looks, at which files, and what is made of it."""
    digest = hashlib.sha256(f"{_VERSION}\n".encode())
    for teacher, lesson in zip(teachers, lessons, strict=True):
        digest.update(f"{teacher.sha256} {lesson.targets.tolist()} {lesson.riders}\n".encode())
    for index in range(len(mixture)):
        path = mixture.path_of(index)
        digest.update(
            f"{path} {path.stat().st_size if path.is_file() else 0} {mixture.read(index).image.shape}\n".encode()
        )
    return digest.hexdigest()


def _read_cache(cache: Path, key: str) -> list[Findings] | None:
    try:
        with np.load(cache, allow_pickle=False) as table:
            if str(table["key"]) != key:
                return None
            ends = np.cumsum(table["counts"])[:-1]
            columns = [np.split(table[name], ends) for name in ("boxes_xyxy", "classes", "confidences")]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return [Findings(*row) for row in zip(*columns, strict=True)]


def _write_cache(cache: Path, key: str, findings: Sequence[Findings]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    draft = cache.with_name(f".{cache.stem}.part.npz")
    np.savez_compressed(
        draft,
        key=np.array(key),
        counts=np.array([len(found.classes) for found in findings]),
        boxes_xyxy=np.concatenate([found.boxes_xyxy for found in findings]),
        classes=np.concatenate([found.classes for found in findings]),
        confidences=np.concatenate([found.confidences for found in findings]),
    )
    draft.replace(cache)
