"""Opens what is trained on: a `mixture.toml`, or any one dataset."""

from __future__ import annotations

import csv
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from engines.datasets import ALL, Dataset, LabelledImage, Report, open_dataset, refuse, splits_of, unless_unlabelled
from engines.decoders.segmentation import BACKGROUND
from engines.errors import DatasetError
from engines.settings_file import SettingsError, parse
from engines.training.datasets.class_map import ClassMap, class_map
from engines.training.datasets.example import Labels
from engines.training.datasets.mixture import CACHE_BYTES, Mixture, Part
from engines.training.datasets.mixture_file import Exclusion, MixedDataset, MixtureFile, TaughtClasses
from engines.training.datasets.riders import Riders
from engines.training.datasets.splits import split_by_drive


def open_mixture(
    path: Path,
    split: str = "train",
    *,
    root: Path | None = None,
    labels: Labels = Labels.BOXES,
    cache_bytes: int = CACHE_BYTES,
    report: Report = refuse,
) -> Mixture:
    """Open a split of a mixture, or of one dataset: then with its own classes, all of them labelled.

    `labels`: what is to be learned from. Classes of masks that a mixture maps to nothing are its class `background`,
    or without one are not learned.
    `root`: where the paths in a `mixture.toml` begin; default its own folder. A dataset without splits on disk is
    `train` as a whole. Raises `DatasetError`; what is wrong with single images goes to `report`.
    """
    path = Path(path)
    if path.suffix != ".toml":
        theirs = _split_of(splits_of(path), None, split, made=False) or split
        dataset = learned(open_dataset(path, theirs, report_on(labels, report)), labels, str(path))
        part = Part(dataset.name, dataset.images, class_map(dataset.classes, dataset.classes, names={}))
        return Mixture(dataset.classes, [part], cache_bytes=cache_bytes, labels=labels)
    settings = _settings(path)
    base = path.resolve().parent if root is None else Path(root)
    parts = []
    for number, entry in enumerate(settings.dataset, start=1):
        where = f"{path}: dataset {number} ({entry.path})"
        part_or_none = _part(entry, settings, split, base, where, labels, report)
        if part_or_none is not None:
            parts.append(part_or_none)
    if not parts:
        raise DatasetError(str(path), f"has no image in split {split!r}", "give a split that one of its datasets has")
    return Mixture(settings.classes, parts, cache_bytes=cache_bytes, longest_side=settings.longest_side, labels=labels)


def learned(dataset: Dataset, labels: Labels, where: str) -> Dataset:
    """The dataset as far as it is learned from; of masks, their classes. Raises `DatasetError` where it has no such."""
    has_categories = any(image.category is not None for image in dataset.images)
    if labels is Labels.BOXES:
        if has_categories:
            raise DatasetError(where, "has a class for each image and no boxes", "train a classifier of it")
        if dataset.mask_classes and not dataset.boxes:
            raise DatasetError(where, "has masks and no boxes", "train a segmenter of it, or name things in masks.toml")
        return dataset
    if labels is Labels.CATEGORIES:
        if not has_categories:
            raise DatasetError(where, "has no class for each image", "give images by class: CLASS/NAME.jpg")
        return dataset
    if not dataset.mask_classes:
        raise DatasetError(where, "has no masks", "give images/SPLIT/NAME.jpg with masks/SPLIT/NAME.png")
    boxless = LabelledImage.without_boxes
    images = tuple(replace(boxless(image.path), size=image.size, mask=image.mask) for image in dataset.images)
    return replace(dataset, classes=dataset.mask_classes, images=images)


def report_on(labels: Labels, report: Report) -> Report:
    """Without boxes there is nothing to say of, where none are learned from."""
    return report if labels is Labels.BOXES else unless_unlabelled(report)


def taught_classes(path: Path) -> TaughtClasses:
    """What a `mixture.toml` says of a teacher's classes; of one dataset nothing. Raises `DatasetError`."""
    return _settings(Path(path)).teacher if Path(path).suffix == ".toml" else TaughtClasses()


def _settings(path: Path) -> MixtureFile:
    try:
        return parse(path.read_bytes(), MixtureFile)
    except OSError as error:
        raise DatasetError(str(path), f"cannot be read ({error.strerror})", "give a mixture.toml") from None
    except SettingsError as error:
        remedy = "the least that it holds is classes = ['car'] and a [[dataset]] with a path"
        raise DatasetError(str(path), str(error), remedy) from None


def _part(
    entry: MixedDataset,
    settings: MixtureFile,
    split: str,
    base: Path,
    where: str,
    labels: Labels,
    report: Report,
) -> Part | None:
    """One dataset's images of a split, or None where it has none of that split."""
    place = base / entry.path
    theirs = _split_of(splits_of(place), entry.split, split, made=entry.drives is not None)
    if theirs is None:
        return None
    needs_no_boxes = entry.labels == () or entry.empty
    told = unless_unlabelled(report) if needs_no_boxes else report_on(labels, report)
    dataset = open_dataset(place, theirs, told)
    if not needs_no_boxes or labels is not Labels.BOXES:
        dataset = learned(dataset, labels, where)
    if entry.drives is not None:
        dataset = replace(dataset, images=split_by_drive(dataset.images, entry.drives.pattern, entry.drives.val)[split])
    images = _without(dataset.images, entry.exclude, base / entry.path, where)
    mapped = _map(entry, settings, dataset, labels, where)
    if labels is Labels.CATEGORIES:  # what is no class of ours teaches nothing
        images = tuple(i for i in images if i.category is not None and mapped.targets[i.category] >= 0)
    return Part(dataset.name, images, mapped, entry.weight) if images else None


def _split_of(known: list[str], named: str | None, wanted: str, *, made: bool) -> str | None:
    """The split on disk to be read, or None where it has no part in the one that is wanted.

    One that is `named` belongs to train; so does a dataset without splits, unless they are `made` of it.
    """
    if made:
        return named or (ALL if ALL in known else "train")
    if named is not None:
        return named if wanted == "train" else None
    if known == [ALL]:
        return ALL if wanted in {"train", ALL} else None
    return wanted if wanted in known else None


def _map(entry: MixedDataset, settings: MixtureFile, dataset: Dataset, labels: Labels, where: str) -> ClassMap:
    names = dict(entry.map)
    if labels is Labels.MASKS and BACKGROUND in settings.classes:
        known = {*settings.classes, *entry.map, *entry.ignore}
        names |= {name: BACKGROUND for name in dataset.classes if name not in known}
    made = class_map(
        dataset.classes, settings.classes, names=names, ignored=entry.ignore, labels=entry.labels, where=where
    )
    if entry.riders is None:
        return made
    class_map(  # only to check the names
        dataset.classes,
        settings.classes,
        names=dict.fromkeys((entry.riders.rider, entry.riders.machine), entry.riders.becomes),
        where=f"{where}.riders",
    )
    becomes = settings.classes.index(entry.riders.becomes)
    labelled = made.labelled.copy()
    labelled[becomes] |= entry.labels is None
    labelled.flags.writeable = False
    riders = Riders(dataset.classes.index(entry.riders.rider), dataset.classes.index(entry.riders.machine), becomes)
    return replace(made, labelled=labelled, riders=riders)


def _without(
    images: tuple[LabelledImage, ...], exclusions: tuple[Exclusion, ...], folder: Path, where: str
) -> tuple[LabelledImage, ...]:
    """The images that no exclusion names. Raises `DatasetError` where its table cannot be read."""
    for exclusion in exclusions:
        if exclusion.file is not None:
            images = tuple(image for image in images if not fnmatchcase(image.path.name, exclusion.file))
        else:
            names = _named_in_table(exclusion, folder, where)
            images = tuple(image for image in images if image.path.name not in names)
    return images


def _named_in_table(exclusion: Exclusion, folder: Path, where: str) -> set[str]:
    """The file names of the rows whose column has the value."""
    file = folder / str(exclusion.csv)
    try:
        with file.open(newline="", encoding="utf-8", errors="replace") as lines:
            rows = list(csv.DictReader(lines))
    except OSError as error:
        raise DatasetError(where, f"{file} cannot be read ({error.strerror})", "mend exclude.csv") from None
    except csv.Error as error:
        raise DatasetError(where, f"{file} is no CSV file ({error})", "mend exclude.csv") from None
    for column in ("file", str(exclusion.column)):
        if rows and column not in rows[0]:
            raise DatasetError(where, f"{file} has no column {column!r}", f"it has {', '.join(map(str, rows[0]))}")
    return {row["file"] for row in rows if fnmatchcase(row[str(exclusion.column)] or "", str(exclusion.value))}
