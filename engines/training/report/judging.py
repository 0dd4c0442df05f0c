"""What a trained detector finds on images that it did not learn from, and how good that is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.average_precision import AveragePrecision, Truths, mean_of
from engines.bundle import Bundle
from engines.decoders.candidates import MAX_CANDIDATES
from engines.errors import BundleError, DatasetError
from engines.evaluate import NMS_IOU, SCORE
from engines.inference import decoder_for, found_on
from engines.letterbox import Geometry
from engines.results import Detections, Thresholds
from engines.runtime import open_engine
from engines.training.datasets import Example, Mixture
from engines.training.validation import truths_of

_THRESHOLDS = Thresholds(SCORE, NMS_IOU, max_detections=MAX_CANDIDATES, every_label=True)


@dataclass(frozen=True)
class Judged:
    """A bundle on a mixture, image by image: what it found and what is there; classes are the mixture's.

    `ap` (classes, 10) at IoU 0.50, 0.55 .. 0.95, NaN without boxes; `curves` (classes, 101), see `AveragePrecision`.
    """

    mixture: Mixture
    engine: str
    detections: tuple[Detections, ...]
    truths: tuple[Truths, ...]
    ap: NDArray[np.float64]
    curves: NDArray[np.float64]

    @property
    def ap50(self) -> float:
        """The mean over the classes; NaN where there is nothing to find."""
        return mean_of(self.ap[:, 0])

    @property
    def map(self) -> float:
        """The mean over classes and IoUs."""
        return mean_of(self.ap.mean(axis=1))

    def boxes(self) -> list[int]:
        """Boxes to be found of each class."""
        kinds = np.concatenate([truths.classes[~truths.crowd] for truths in self.truths])
        return [int((kinds == kind).sum()) for kind in range(len(self.mixture.classes))]


def judge(bundle: Bundle, mixture: Mixture, *, threads: int = 1) -> Judged:
    """Run a bundle over a mixture, whose classes are its labels.

    What is found of a class that nobody labelled on an image is left out: it may well be there. Raises `BundleError`
    for what finds no boxes, `DatasetError`, `EngineError`, `EngineMissingError`.
    """
    detections: list[Detections] = []
    truths: list[Truths] = []
    examples: list[Example] = []
    with open_engine(bundle, "onnxruntime", slots=2, threads=threads) as engine:
        decoder = decoder_for(bundle, engine)
        if decoder.groups or bundle.labels != mixture.classes:
            raise BundleError(str(bundle.folder), "finds no boxes of these classes", "give the data it was trained on")

        def pictures() -> Iterator[tuple[NDArray[np.uint8], Geometry]]:
            for index in range(len(mixture)):
                example = mixture.read(index)
                examples.append(example)
                height, width = example.image.shape[:2]
                yield example.image, engine.place(width, height)

        for number, found in enumerate(found_on(engine, decoder, pictures(), _THRESHOLDS)):
            if not isinstance(found, Detections):
                raise BundleError(str(bundle.folder), "finds no boxes", "a report judges detectors")
            judged = examples[number].labelled[found.classes]
            detections.append(Detections(found.boxes_xyxy[judged], found.scores[judged], found.classes[judged]))
            truths.append(truths_of(examples[number]))
        name = engine.name
    if not any((~of_image.crowd).any() for of_image in truths):
        raise DatasetError("the validation split", "has no box to be found", "give a labelled one")
    precision = AveragePrecision(detections, truths, len(mixture.classes))
    return Judged(mixture, name, tuple(detections), tuple(truths), precision.per_class(), precision.curves())
