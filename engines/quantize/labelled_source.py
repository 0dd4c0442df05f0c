"""Images by class as a recorded drive: a classifier is calibrated on pictures like those that it learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engines.datasets import Dataset, format_of, open_dataset, read_pixels, splits_of
from engines.datasets.image_folder import IMAGE_FOLDER
from engines.errors import DatasetError
from sensors.frame import Frame, Item
from sensors.source import SensorInfo, SourceInfo

_SEED = 0  # of the order: classes lie one after the other on the disk, and any part has to hold all of them


class LabelledSource:
    """A `Source` that gives a dataset's images in an order of chance, always the same one."""

    def __init__(self, path: str, dataset: Dataset) -> None:
        self._dataset = dataset
        self.info = SourceInfo(path, (SensorInfo(dataset.name, "camera", count=len(dataset.images)),), live=False)

    def __enter__(self) -> LabelledSource:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        order = np.random.default_rng(_SEED).permutation(len(self._dataset.images)).tolist()
        for number, index in enumerate(order):
            image = read_pixels(self._dataset.images[index].path)
            yield Frame(self._dataset.name, number, number, arrival_ns=0, decoded_ns=0, image=image)

    def close(self) -> None:
        """Nothing stays open."""


def open_labelled(path: str) -> LabelledSource | None:
    """Open images by class, their split train where they have one; None where it is something else."""
    try:
        if format_of(path) != IMAGE_FOLDER.name:
            return None
        splits = splits_of(path)
        return LabelledSource(path, open_dataset(Path(path), "train" if "train" in splits else splits[0]))
    except DatasetError:
        return None
