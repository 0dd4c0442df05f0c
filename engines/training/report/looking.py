"""What a bundle finds on a mixture's images, through a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import BundleError
from engines.inference import decoder_for, found_on
from engines.letterbox import Geometry
from engines.results import Found, Thresholds
from engines.runtime import open_engine
from engines.training.datasets import Example, Mixture

ENGINE = "onnxruntime"


def found_and_there(
    bundle: Bundle, mixture: Mixture, thresholds: Thresholds, threads: int
) -> Iterator[tuple[Example, Found]]:
    """Give each image with its labels and what is found on it, in the mixture's order.

    Raises `BundleError` where the bundle's classes are not the mixture's, `DatasetError`, `EngineError`,
    `EngineMissingError`.
    """
    if bundle.labels != mixture.classes:
        raise BundleError(str(bundle.folder), "knows other classes than these", "give the data it was trained on")
    waiting: list[Example] = []
    with open_engine(bundle, ENGINE, slots=2, threads=threads) as engine:

        def pictures() -> Iterator[tuple[NDArray[np.uint8], Geometry]]:
            for index in range(len(mixture)):
                example = mixture.read(index)
                waiting.append(example)
                height, width = example.image.shape[:2]
                yield example.image, engine.place(width, height)

        for found in found_on(engine, decoder_for(bundle, engine), pictures(), thresholds):
            yield waiting.pop(0), found
