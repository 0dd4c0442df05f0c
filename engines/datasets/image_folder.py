"""Images by class: `CLASS/NAME.jpg`, in a folder or a zip file; splits are folders or zip files `train`, `val`, `test`.

The classes are the folders' names in alphabetical order. CIFAR-10 as images lies like this.
"""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from engines.datasets.dataset import ALL, Dataset, Format, LabelledImage, Report, in_order
from engines.datasets.pixels import IMAGE_SUFFIXES
from engines.errors import DatasetError

_SPLITS = ("train", "val", "test")


def _places(path: Path) -> dict[str, Path]:
    """Split -> the folder or zip file that has its classes."""
    if path.is_file():
        return {ALL: path}
    known = ((split, path / name) for split in _SPLITS for name in (split, f"{split}.zip"))
    return {split: place for split, place in known if place.exists()} or {ALL: path}


def _find(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() == ".zip" else None
    return path if any(_holds_images(place) for place in _places(path).values()) else None


def _holds_images(place: Path) -> bool:
    if place.is_file():
        return True
    return any(_is_image(file.name) for folder in place.iterdir() if folder.is_dir() for file in folder.iterdir())


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _read(path: Path, split: str, _report: Report) -> Dataset:
    places = _places(path)
    found = _entries(places[split])
    if not found:
        raise DatasetError(str(places[split]), "has no image", "an image lies at CLASS/NAME.jpg")
    # Of all splits: the same index has to mean the same class in each.
    classes = sorted({kind for place in places.values() for kind, _ in _entries(place)})
    images = [LabelledImage.without_boxes(file, classes.index(kind)) for kind, file in found]
    return Dataset(path.resolve().name, split, tuple(classes), in_order(images))


def _entries(place: Path) -> list[tuple[str, Path]]:
    """Class and path of each image of a folder or a zip file."""
    if place.is_dir():
        files = (file for folder in place.iterdir() if folder.is_dir() for file in folder.iterdir())
        return [(file.parent.name, file) for file in files if _is_image(file.name)]
    try:
        with zipfile.ZipFile(place) as archive:
            names = [PurePosixPath(name) for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DatasetError(str(place), f"cannot be read as a zip file ({error})", "copy it again") from None
    return [(name.parent.name, place / name) for name in names if _is_image(name.name) and name.parent.name]


IMAGE_FOLDER = Format("images by class", _find, lambda path: list(_places(path)), _read)
