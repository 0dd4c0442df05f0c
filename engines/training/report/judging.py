"""What a trained detector finds on images that it did not learn from, and how good that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.average_precision import AveragePrecision, Truths, mean_of
from engines.bundle import Bundle
from engines.decoders.candidates import MAX_CANDIDATES
from engines.errors import BundleError, DatasetError
from engines.evaluate import NMS_IOU, SCORE
from engines.results import Detections, Thresholds
from engines.training.datasets import Mixture
from engines.training.report.looking import ENGINE, found_and_there
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
    for example, found in found_and_there(bundle, mixture, _THRESHOLDS, threads):
        if not isinstance(found, Detections):
            raise BundleError(str(bundle.folder), "finds no boxes", "give images by class, or masks: it is no detector")
        judged = example.labelled[found.classes]
        detections.append(Detections(found.boxes_xyxy[judged], found.scores[judged], found.classes[judged]))
        truths.append(truths_of(example))
    if not any((~of_image.crowd).any() for of_image in truths):
        raise DatasetError("the validation split", "has no box to be found", "give a labelled one")
    precision = AveragePrecision(detections, truths, len(mixture.classes))
    return Judged(mixture, ENGINE, tuple(detections), tuple(truths), precision.per_class(), precision.curves())
