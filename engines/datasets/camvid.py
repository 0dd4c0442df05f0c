"""Images with masks: `images/SPLIT/NAME.jpg` and `masks/SPLIT/NAME.png`, an 8-bit image whose values are class ids.

Without a `masks.toml` beside them, which names other classes, they are those of CamVid as SegNet's authors reduced it
(11 classes, 11 for what nobody labelled). Masks know no instances: a box is one connected component of a class of
things, and things that touch share one. Components that are too small to be told from a rough outline are a crowd.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from engines.datasets.dataset import ALL, Dataset, Format, LabelledImage, Report, in_order
from engines.datasets.pixels import IMAGE_SUFFIXES, read_mask
from engines.errors import DatasetError, NoLabelsError
from engines.settings_file import SettingsError, Strict, parse

SETTINGS_NAME = "masks.toml"


class MaskSettings(Strict):
    """`masks.toml`: what the values of masks mean. The defaults are CamVid's."""

    classes: tuple[str, ...] = (
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    )
    unlabelled: tuple[int, ...] = (11, 255)
    things: tuple[str, ...] = ("car", "pedestrian", "bicyclist")
    smallest_px: Annotated[int, Field(ge=1)] = (
        300  # pixels of a component that is a box: 17 x 17, at CamVid's 480 x 360
    )


def _find(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    return path if (path / "images").is_dir() and (path / "masks").is_dir() else None


def _splits(path: Path) -> list[str]:
    found = [folder.name for folder in sorted((path / "images").iterdir()) if folder.is_dir()]
    return [name for name in found if (path / "masks" / name).is_dir()] or [ALL]


def _read(path: Path, split: str, report: Report) -> Dataset:
    settings = _settings(path)
    for name in settings.things:
        if name not in settings.classes:
            raise DatasetError(str(path / SETTINGS_NAME), f"things: {name!r} is no class", "name it in classes")
    inside = "" if split == ALL else split
    images = {f.stem: f for f in sorted((path / "images" / inside).iterdir()) if f.suffix.lower() in IMAGE_SUFFIXES}
    masks = {file.stem: file for file in sorted((path / "masks" / inside).glob("*.png"))}
    found = []
    for name in sorted(images.keys() | masks.keys()):
        if name not in images:
            report(DatasetError(str(masks[name]), "its image is not there", f"copy it to {path / 'images' / inside}"))
        elif name not in masks:
            remedy = f"copy {name}.png to {path / 'masks' / inside}"
            report(DatasetError(str(images[name]), "has no mask", remedy))
        else:
            try:
                found.append(_labelled(images[name], masks[name], settings))
            except DatasetError as fault:
                report(fault)
    if not found:  # a mask without a thing says what is on its image all the same
        report(NoLabelsError(str(path), f"split {split!r} has no image with a mask", "give a labelled split"))
    return Dataset(path.resolve().name, split, settings.things, in_order(found), settings.classes)


def _settings(path: Path) -> MaskSettings:
    file = path / SETTINGS_NAME
    try:
        return parse(file.read_bytes(), MaskSettings) if file.is_file() else MaskSettings()
    except SettingsError as error:
        raise DatasetError(str(file), str(error), "write for example classes = ['road', 'car']") from None


def _labelled(image: Path, mask: Path, settings: MaskSettings) -> LabelledImage:
    values = read_mask(mask)
    beyond = set(np.unique(values).tolist()) - {*range(len(settings.classes)), *settings.unlabelled}
    if beyond:
        raise DatasetError(
            str(mask),
            f"has the value {min(beyond)}, which is no class",
            f"values are 0 to {len(settings.classes) - 1}, and {settings.unlabelled} for unlabelled",
        )
    rows: list[tuple[float, ...]] = []
    for position, name in enumerate(settings.things):
        rows += [(*box, position, pixels < settings.smallest_px) for box, pixels in _components(values, settings, name)]
    table = np.array(rows, np.float64).reshape(-1, 6)
    size = (values.shape[1], values.shape[0])
    crowd = table[:, 5].astype(np.bool_)
    return LabelledImage(image, table[:, :4].copy(), table[:, 4].astype(np.int32), crowd, size=size, mask=mask)


def _components(
    values: NDArray[np.uint8], settings: MaskSettings, name: str
) -> list[tuple[tuple[int, int, int, int], int]]:
    """Box and number of pixels of each connected component (of eight neighbours) of a class."""
    of_class = np.asarray(values == settings.classes.index(name), np.uint8)
    _, _, table, _ = cv2.connectedComponentsWithStats(of_class, connectivity=8)
    return [((x, y, x + w, y + h), pixels) for x, y, w, h, pixels in table[1:].tolist()]


CAMVID = Format("masks", _find, _splits, _read)
