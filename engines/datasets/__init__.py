"""Labelled images: what a network's accuracy is measured on.

`dataset.py` has the values, each format is one file. A dataset is named by its `data.yaml`, by a COCO JSON file, or
by the folder that holds one of them.
"""

from __future__ import annotations

from pathlib import Path

from engines.datasets.coco import annotation_files, read_coco
from engines.datasets.dataset import Dataset, LabelledImage
from engines.datasets.yolo import SETTINGS_NAMES, read_yolo
from engines.errors import DatasetError

__all__ = ["Dataset", "DatasetError", "LabelledImage", "open_dataset"]


def open_dataset(path: Path | str, split: str | None = None) -> Dataset:
    """Read the labels of a dataset's split; images are only found, not opened. Raises `DatasetError`.

    `split` None: val where there is one, else test, else the only one.
    """
    path = Path(path)
    remedy = "give a data.yaml, a COCO JSON file, or the folder of one"
    try:
        if path.is_file():
            if path.suffix in {".yaml", ".yml"}:
                return read_yolo(path, split)
            if path.suffix == ".json":
                return read_coco(path, split)
            raise DatasetError(str(path), "is no dataset that we know", remedy)
        if not path.is_dir():
            raise DatasetError(str(path), "there is no such dataset", remedy)
        for name in SETTINGS_NAMES:
            if (path / name).is_file():
                return read_yolo(path / name, split)
        if annotation_files(path):
            return read_coco(path, split)
    except OSError as error:
        raise DatasetError(str(error.filename or path), f"cannot be read ({error.strerror})", remedy) from None
    raise DatasetError(str(path), "holds neither a data.yaml nor a COCO JSON file", remedy)
