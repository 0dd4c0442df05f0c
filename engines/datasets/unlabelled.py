"""Images that nobody labelled: a folder of them, or `images/SPLIT/` without labels. A teacher may say more."""

from __future__ import annotations

from pathlib import Path

from engines.datasets.dataset import ALL, Dataset, Format, LabelledImage, Report, in_order
from engines.datasets.pixels import IMAGE_SUFFIXES
from engines.errors import DatasetError, NoLabelsError


def _find(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    if (path / "images").is_dir():
        return path
    return path if any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir()) else None


def _folders(path: Path) -> dict[str, Path]:
    images = path / "images"
    if not images.is_dir():
        return {ALL: path}
    return {folder.name: folder for folder in sorted(images.iterdir()) if folder.is_dir()} or {ALL: images}


def _read(path: Path, split: str, report: Report) -> Dataset:
    folder = _folders(path)[split]
    files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise DatasetError(str(folder), "has no image", "check the folder")
    remedy = "label them, or use them in a mixture with labels = []"
    report(NoLabelsError(str(folder), f"has {len(files)} images and no label", remedy))
    return Dataset(path.resolve().name, split, (), in_order(map(LabelledImage.without_boxes, files)))


UNLABELLED = Format("images without labels", _find, lambda path: list(_folders(path)), _read)
