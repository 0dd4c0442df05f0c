"""How accurate a bundle is on labelled images, through a real engine: COCO's metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engines.average_precision import AveragePrecision, Truths, mean_of
from engines.bundle import Bundle
from engines.datasets import ANY_CLASS, Dataset, LabelledImage, read_pixels
from engines.decoders import NonFiniteOutputError
from engines.decoders.candidates import MAX_CANDIDATES
from engines.decoders.classification import Classifier
from engines.decoders.decoder import Decoder
from engines.decoders.nms import survivors
from engines.errors import BundleError, DatasetError, EngineError
from engines.inference import decoder_for, found_on
from engines.letterbox import Geometry
from engines.matched_classes import MatchedClasses, match_classes
from engines.results import Detections, Thresholds
from engines.runtime import AUTO, Engine, open_engine

SCORE, NMS_IOU = 0.01, 0.65  # low, as usual where precision over all recalls is asked for


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """One class: AP over IoU 0.50 to 0.95, and at 0.50. None where the dataset has none to find."""

    ap: float | None
    ap50: float | None


@dataclass(frozen=True)
class Evaluation:
    """What a bundle found on a dataset, and how good that is.

    `detections` and `truths` are image by image, in the dataset's order, their classes indexes into `classes`: those
    that are judged. `unjudged` are the dataset's classes that the bundle has no counterpart for.
    """

    measure: ClassVar[str] = "AP50"

    bundle: str
    engine: str
    map: float
    ap50: float
    per_class: dict[str, ClassAccuracy]
    images: int
    classes: tuple[str, ...]
    unjudged: tuple[str, ...]
    detections: tuple[Detections, ...]
    truths: tuple[Truths, ...]
    precision: AveragePrecision

    @property
    def value(self) -> float:
        """What bundles are compared by."""
        return self.ap50

    def value_of(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> float:
        """The same over these images; see `ap50_of`."""
        return self.ap50_of(indices)

    def ap50_of(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> float:
        """AP50 over these images, each as often as its index is given; NaN where they hold nothing to find.

        Nothing is matched anew: for 85 images it takes about a millisecond, so a bootstrap draws thousands.
        """
        return self.precision.ap50(indices)


def evaluate(
    bundle: Bundle,
    dataset: Dataset,
    *,
    engine: str = AUTO,
    threads: int = 1,
    class_map: Sequence[tuple[str, str]] = (),
    score: float = SCORE,
    nms_iou: float = NMS_IOU,
) -> Evaluation:
    """Run a bundle over a dataset and judge what it finds.

    `class_map`: pairs (bundle's class, dataset's class), see `match_classes`. Raises `DatasetError`, `BundleError`,
    `EngineError`.
    """
    if not dataset.boxes:
        raise DatasetError(dataset.name, "has no boxes", "give a dataset of boxes: accuracy is measured on them")
    classes = match_classes(bundle.labels, dataset.classes, class_map)
    thresholds = Thresholds(score, nms_iou, max_detections=MAX_CANDIDATES, every_label=True)
    detections: list[Detections] = []
    truths: list[Truths] = []
    with open_engine(bundle, engine, slots=2, threads=threads) as opened:
        decoder = _decoder(bundle, opened)

        def pictures() -> Iterator[tuple[NDArray[np.uint8], Geometry]]:
            for image in dataset.images:
                pixels = read_pixels(image.path)
                truths.append(_truths(image, (pixels.shape[1], pixels.shape[0]), classes))
                yield pixels, opened.place(pixels.shape[1], pixels.shape[0])

        try:
            for found in found_on(opened, decoder, pictures(), thresholds):
                assert isinstance(found, Detections)  # `_decoder` refuses what finds anything else
                detections.append(_mapped(found, classes, nms_iou))
        except NonFiniteOutputError as error:
            where = str(dataset.images[len(detections)].path)
            raise EngineError(where, f"cannot be judged: {error}", "export or quantise the network again") from None
        name = opened.name
    if not any(len(image.boxes_xyxy) for image in truths):
        raise DatasetError(dataset.name, f"has no box of {', '.join(classes.names)}", "map other classes with --map")
    precision = AveragePrecision(detections, truths, len(classes.names))
    table = precision.per_class()
    per_class = {
        label: ClassAccuracy(_or_none(row.mean()), _or_none(row[0]))
        for label, row in zip(classes.names, table, strict=True)
    }
    return Evaluation(
        bundle=bundle.name,
        engine=name,
        map=mean_of(table.mean(axis=1)),
        ap50=mean_of(table[:, 0]),
        per_class=per_class,
        images=len(truths),
        classes=classes.names,
        unjudged=tuple(n for n, position in zip(dataset.classes, classes.of_dataset, strict=True) if position < 0),
        detections=tuple(detections),
        truths=tuple(truths),
        precision=precision,
    )


def _decoder(bundle: Bundle, engine: Engine) -> Decoder:
    decoder = decoder_for(bundle, engine)
    if decoder.groups or isinstance(decoder, Classifier):
        raise BundleError(
            str(bundle.folder),
            f"its decoder, {bundle.settings.decoder}, finds no boxes",
            "give a detector: accuracy is measured on boxes",
        )
    return decoder


def _mapped(found: Detections, classes: MatchedClasses, nms_iou: float) -> Detections:
    """The detections that are judged, under the judged classes."""
    kinds = np.array(classes.of_bundle, np.int32)[found.classes]
    kept = np.flatnonzero(kinds >= 0)
    boxes, scores, kinds = found.boxes_xyxy[kept], found.scores[kept], kinds[kept]
    if len(set(classes.of_bundle) - {-1}) < sum(position >= 0 for position in classes.of_bundle):
        # Classes that are one now have found the same things: the best box stays, as within a class.
        kept = survivors(boxes, kinds, nms_iou)
        boxes, scores, kinds = boxes[kept], scores[kept], kinds[kept]
    return Detections(boxes, scores, kinds)


def _truths(image: LabelledImage, size: tuple[int, int], classes: MatchedClasses) -> Truths:
    boxes = image.boxes_xyxy(*size)
    kinds = np.array(classes.of_dataset, np.int32)[image.classes]
    kept = (kinds >= 0) & (image.classes != ANY_CLASS)
    # What may be of any class is a crowd of each that is judged.
    anything = np.repeat(boxes[image.classes == ANY_CLASS], len(classes.names), axis=0)
    every = np.tile(np.arange(len(classes.names), dtype=np.int32), len(anything) // max(1, len(classes.names)))
    return Truths(
        np.concatenate([boxes[kept], anything]),
        np.concatenate([kinds[kept], every]),
        np.concatenate([image.crowd[kept], np.ones(len(anything), np.bool_)]),
    )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
