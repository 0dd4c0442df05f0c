"""`perception dataset`: labelled images looked at before anything is learned from them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from engines.datasets import Dataset
    from engines.datasets.survey import Looked, NearPair, SplitSurvey
    from engines.errors import DatasetError

app = typer.Typer(help="Labelled images: counts, sizes, faults, near-duplicates, samples.", no_args_is_help=True)

_LISTED = 20  # faults or pairs that people are shown; JSON has them all


@app.callback()
def _dataset() -> None:
    """A verb of its own, also while there is only one."""


@app.command(no_args_is_help=True)
def info(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Folders of datasets (YOLO, COCO, KITTI object, masks, CLASS/IMAGE, unlabelled images), a data.yaml, "
            "a COCO JSON file, a zip file of CLASS/IMAGE, or a mixture.toml.",
        ),
    ],
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Only this one; default: every split.")] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the paths in a mixture.toml begin; default: beside it.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw samples with their labels into this picture.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=400, help="How many samples, of all splits together.")] = 24,
    threads: Annotated[int, typer.Option(min=1, help="Threads that read images.")] = 2,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at every image and label: what there is, and all that is wrong, file by file.

    Near-duplicates between splits or datasets are listed, because what is learned by heart is then measured. Ends with
    1 where there are faults, or where nothing at all can be read.
    """
    from engines.datasets.survey import survey
    from sensors.errors import EXIT_ANSWER_IS_NO

    if sheet is not None:
        _check_sheet(sheet)
    faults: list[DatasetError] = []
    datasets: list[tuple[str, Dataset]] = []
    for path in paths:
        datasets += _opened(path, split, root, faults)
    surveys, pairs = survey([dataset for _, dataset in datasets], threads=threads, progress=_with_progress)
    faults += [fault for one in surveys for looked in one.looked for fault in looked.faults]
    notes = [note for one in surveys for looked in one.looked for note in looked.notes]
    if sheet is not None and surveys:
        _write_sheet(sheet, surveys, samples)
    if json_:
        print(json.dumps(_facts([kind for kind, _ in datasets], surveys, pairs, faults, notes)))
    else:
        _print_tables([kind for kind, _ in datasets], surveys)
        _print_pairs(pairs)
        _print_list("faults", [str(fault) for fault in faults])
        if notes:
            _print_list("notes", [str(note) for note in notes])
        if sheet is not None and surveys:
            print(f"wrote {sheet}")
    if faults:
        raise typer.Exit(EXIT_ANSWER_IS_NO)


def _opened(path: Path, split: str | None, root: Path | None, faults: list[DatasetError]) -> list[tuple[str, Dataset]]:
    """The splits of a dataset, or of each dataset of a mixture, with the name of the format."""
    from engines.datasets import format_of, open_dataset, splits_of, unless_unlabelled
    from engines.errors import DatasetError

    note = unless_unlabelled(faults.append)
    if path.suffix == ".toml":
        return _of_mixture(path, split, root, faults)
    found = []
    for name in splits_of(path) if split is None else [split]:
        try:
            found.append((format_of(path), open_dataset(path, name, note)))
        except DatasetError as fault:
            if split is not None and split not in splits_of(path):
                raise  # the request is wrong, not the data
            faults.append(fault)
    return found


def _of_mixture(
    path: Path, split: str | None, root: Path | None, faults: list[DatasetError]
) -> list[tuple[str, Dataset]]:
    from engines.errors import DatasetError
    from engines.training.datasets import open_mixture

    found: list[tuple[str, Dataset]] = []
    for name in ("train", "val") if split is None else (split,):
        try:
            mixture = open_mixture(path, name, root=root, report=faults.append)
        except DatasetError:
            if found and split is None:
                continue  # a mixture that only trains has no val
            raise
        shares = mixture.shares()
        for part, share, dataset in zip(mixture.parts, shares, mixture.datasets(name), strict=True):
            labels = [kind for kind, there in zip(mixture.classes, part.class_map.labelled, strict=True) if there]
            about = f"labels {', '.join(labels) or 'nothing'}, {share:.0%} of the draws of {name}"
            found.append((about, dataset))
    return found


def _with_progress(looked: Iterator[Looked], count: int) -> Iterator[Looked]:
    """A bar on the terminal, where there is one and it would be seen."""
    if not sys.stderr.isatty():
        return looked
    from rich.console import Console
    from rich.progress import track

    return iter(track(looked, "looking", total=count, console=Console(stderr=True), transient=True))


def _check_sheet(file: Path) -> None:
    from perception.errors import UsageError

    if file.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise UsageError(f"--sheet {file}", "is no picture", "give a name that ends in .png or .jpg")


def _write_sheet(file: Path, surveys: list[SplitSurvey], count: int) -> None:
    import cv2
    import numpy as np

    from engines.datasets.sheet import samples
    from engines.datasets.sheet import sheet as drawn
    from perception.whole_file import whole_file

    rng = np.random.default_rng(0)  # the same sheet every time: a change is seen
    total = sum(len(one.dataset.images) for one in surveys)
    chosen = []
    for one in surveys:
        of_split = max(1, round(count * len(one.dataset.images) / max(1, total)))
        chosen += [(one.dataset, image) for image in samples(one.dataset, of_split, rng)]
    with whole_file(file) as draft:
        cv2.imwrite(str(draft), drawn(chosen))


def _print_tables(kinds: list[str], surveys: list[SplitSurvey]) -> None:
    """A table a dataset, with a column a split."""
    groups: dict[str, list[tuple[str, SplitSurvey]]] = {}
    for kind, one in zip(kinds, surveys, strict=True):
        groups.setdefault(one.dataset.name, []).append((kind, one))
    for name, group in groups.items():
        print(f"{name}: {'; '.join(dict.fromkeys(kind for kind, _ in group))}")
        rows = [_rows(one) for _, one in group]
        labels = list(dict.fromkeys(label for of_split in rows for label in of_split))
        wide = max(map(len, labels))
        cells = [[of_split.get(label, "-") for label in labels] for of_split in rows]
        widths = [max(map(len, column)) for column in cells]
        for number, label in enumerate(labels):
            line = "  ".join(column[number].rjust(width) for column, width in zip(cells, widths, strict=True))
            print(f"  {label:<{wide}}  {line}")


def _rows(one: SplitSurvey) -> dict[str, str]:
    """What is said of one split: label -> figure."""
    rows = {"": one.dataset.split, "images": str(len(one.dataset.images))}
    for name, count in one.categories.items():
        rows[f"  {name}"] = str(count)
    if one.dataset.boxes:
        rows["without boxes"] = str(one.without_boxes)
        rows["boxes"] = str(sum(one.boxes.values()))
        rows |= {f"  {name}": str(count) for name, count in one.boxes.items()}
        if one.crowds:
            rows["ignored places"] = str(one.crowds)
        if one.box_percent is not None:
            rows["box size, % of image"] = " / ".join(f"{value:.0f}" for value in one.box_percent)
    elif not one.categories:
        rows["labels"] = "none"
    if one.mask_percent:
        rows["pixels labelled, %"] = f"{sum(one.mask_percent.values()):.1f}"
        rows |= {f"  {name} (mask)": f"{share:.1f}" for name, share in one.mask_percent.items()}
    sizes = [size for size, _ in one.sizes]
    if len(sizes) == 1:
        rows["image size"] = f"{sizes[0][0]}x{sizes[0][1]}"
    elif sizes:
        low, high = (f"{pick(w for w, _ in sizes)}x{pick(h for _, h in sizes)}" for pick in (min, max))
        rows["image size"] = f"{low} to {high}"
    return rows


def _print_pairs(pairs: list[NearPair]) -> None:
    leaks = [pair for pair in pairs if pair.is_leak]
    within = len(pairs) - len(leaks)
    _print_list(
        "near-duplicates between splits or datasets",
        [
            f"{pair.first.path} ({'/'.join(pair.of_first)}) and {pair.second.path} ({'/'.join(pair.of_second)})"
            for pair in leaks
        ],
    )
    if within:
        print(f"near-duplicates within one split: {within} pairs")


def _print_list(what: str, lines: list[str]) -> None:
    print(f"{what}: {len(lines) or 'none'}")
    for line in lines[:_LISTED]:
        print(f"  {line}")
    if len(lines) > _LISTED:
        print(f"  and {len(lines) - _LISTED} more (--json lists all)")


def _facts(
    kinds: list[str],
    surveys: list[SplitSurvey],
    pairs: list[NearPair],
    faults: list[DatasetError],
    notes: list[DatasetError],
) -> dict[str, Any]:
    return {
        "splits": [
            {
                "dataset": one.dataset.name,
                "split": one.dataset.split,
                "about": kind,
                "images": len(one.dataset.images),
                "without_boxes": one.without_boxes,
                "boxes": one.boxes,
                "ignored": one.crowds,
                "categories": one.categories,
                "image_sizes": {f"{width}x{height}": count for (width, height), count in one.sizes},
                "box_percent": None if one.box_percent is None else [round(value, 2) for value in one.box_percent],
                "mask_percent": {name: round(share, 3) for name, share in one.mask_percent.items()},
            }
            for kind, one in zip(kinds, surveys, strict=True)
        ],
        "near_duplicates": [
            {"first": str(pair.first.path), "second": str(pair.second.path), "between_splits": pair.is_leak}
            for pair in pairs
        ],
        "faults": [_fact(fault) for fault in faults],
        "notes": [_fact(note) for note in notes],
    }


def _fact(fault: DatasetError) -> dict[str, str]:
    return {"file": fault.thing, "what": fault.what, "remedy": fault.remedy}
