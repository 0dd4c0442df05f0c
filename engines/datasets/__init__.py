"""Labelled images: what a network learns from, and what its accuracy is measured on.

`dataset.py` has the values, each format is one file and one line in `FORMATS`. A dataset is named by its folder, or by
the file that describes it: a `data.yaml`, a COCO JSON file.
"""

from __future__ import annotations

from pathlib import Path

from engines.datasets.camvid import CAMVID
from engines.datasets.coco import COCO
from engines.datasets.dataset import (
    ALL,
    ANY_CLASS,
    Dataset,
    Format,
    LabelledImage,
    Report,
    choose_split,
    refuse,
    unless_unlabelled,
)
from engines.datasets.image_folder import IMAGE_FOLDER
from engines.datasets.kitti_object import KITTI_OBJECT
from engines.datasets.pixels import check_mask_size, read_mask, read_pixels
from engines.datasets.unlabelled import UNLABELLED
from engines.datasets.yolo import YOLO
from engines.errors import DatasetError, NoLabelsError

__all__ = [
    "ALL",
    "ANY_CLASS",
    "FORMATS",
    "Dataset",
    "DatasetError",
    "LabelledImage",
    "NoLabelsError",
    "Report",
    "check_mask_size",
    "format_of",
    "open_dataset",
    "read_mask",
    "read_pixels",
    "refuse",
    "splits_of",
    "unless_unlabelled",
]

# In the order in which they are looked for: what describes itself before what is known by its folders' names.
FORMATS: tuple[Format, ...] = (YOLO, COCO, KITTI_OBJECT, CAMVID, UNLABELLED, IMAGE_FOLDER)
_REMEDY = "give a data.yaml, a COCO JSON file, or the folder of a dataset: YOLO, COCO, KITTI object, masks, CLASS/IMAGE"


def open_dataset(path: Path | str, split: str | None = None, report: Report = refuse) -> Dataset:
    """Read the labels of a dataset's split; images are only found, not opened.

    `split` None: val where there is one, else test, else the only one. Raises `DatasetError` for the first fault,
    or does with each what `report` does, and reads on as far as it can.
    """
    path = Path(path)
    try:
        kind, found = _recognised(path)
        return kind.read(found, choose_split(split, kind.splits(found), str(found)), report)
    except OSError as error:
        raise DatasetError(str(error.filename or path), f"cannot be read ({error.strerror})", _REMEDY) from None


def splits_of(path: Path | str) -> list[str]:
    """The splits that a dataset has; `["all"]` where there are none on disk. Raises `DatasetError`."""
    path = Path(path)
    try:
        kind, found = _recognised(path)
        return kind.splits(found)
    except OSError as error:
        raise DatasetError(str(error.filename or path), f"cannot be read ({error.strerror})", _REMEDY) from None


def format_of(path: Path | str) -> str:
    """The name of a dataset's format. Raises `DatasetError`."""
    return _recognised(Path(path))[0].name


def _recognised(path: Path) -> tuple[Format, Path]:
    if not path.exists():
        raise DatasetError(str(path), "there is no such dataset", _REMEDY)
    for kind in FORMATS:
        found = kind.find(path)
        if found is not None:
            return kind, found
    what = "is no dataset that we know" if path.is_file() else "holds no dataset that we know"
    raise DatasetError(str(path), what, _REMEDY)
