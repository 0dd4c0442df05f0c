"""A mixture with what teachers found on its pictures, and the file that keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.training.datasets import Example, Mixture, TaughtClasses
from engines.training.teaching.findings import SAME_OBJECT_IOU, Findings, fuse, overlap, share_inside
from engines.training.teaching.teacher import Lesson, Teacher, lesson_for

MISSED_LABEL = 0.5  # confidence above which a box is taught even where people labelled that class and drew none
_INSIDE = 0.5  # parts of a finding that lie in a place that people set aside: nothing is said of it then
_VERSION = 2  # of this way to look: findings of another one are not taken from a cache


class TaughtMixture(Mixture):
    """A mixture with what teachers found added to its labels.

    Where people labelled a class, their boxes count, and beside them only what a teacher is sure of and they may have
    missed. Where they did not, the teachers' boxes are all that is known of it, and it counts as labelled. Places that
    they set aside stay so.
    """

    def __init__(
        self,
        mixture: Mixture,
        findings: Sequence[Findings],
        taught: NDArray[np.bool_],
        teachers: Sequence[Bundle] = (),
    ) -> None:
        self.classes, self.parts, self.labels = mixture.classes, mixture.parts, mixture.labels
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
        is_set_aside = (share_inside(found.boxes_xyxy, example.ignored_xyxy) > _INSIDE).any(axis=1)
        added = ~is_labelled & ~is_set_aside & (~example.labelled[found.classes] | is_missed)
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
    known = [lesson.taught(len(mixture.classes)) for lesson in lessons]
    taught = np.any(known, axis=0)
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
                passes = [
                    (scale, knows, found)
                    for teacher, knows in zip(running, known, strict=True)
                    for scale, found in teacher.passes(image)
                ]
                findings.append(fuse(passes))
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
        status = path.stat() if path.is_file() else None  # a class of an archive has no file of its own
        file = f"{status.st_size} {status.st_mtime_ns}" if status else ""
        digest.update(f"{path} {file} {mixture.read(index).image.shape}\n".encode())
    return digest.hexdigest()


def _read_cache(cache: Path, key: str) -> list[Findings] | None:
    try:
        with np.load(cache, allow_pickle=False) as table:
            if str(table["key"]) != key:
                return None
            ends = np.cumsum(table["counts"])[:-1]
            columns = [np.split(table[name], ends) for name in ("boxes_xyxy", "classes", "confidences")]
    except Exception:  # a damaged one: zipfile, zlib, tokenize and numpy each have errors of their own
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
