"""How accurate a bundle is, whatever it finds: boxes, what a picture is, or a class for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from engines.bundle import Bundle
from engines.class_accuracy import MaskAccuracy, TopAccuracy, evaluate_categories, evaluate_masks
from engines.datasets import Dataset
from engines.decoders.classification import Classifier
from engines.decoders.segmentation import Segmentation
from engines.evaluate import NMS_IOU, SCORE, Evaluation, evaluate
from engines.runtime import AUTO

# Each has a `measure` (a name), its `value` over all `images`, and `value_of` some of them.
Accuracy: TypeAlias = Evaluation | TopAccuracy | MaskAccuracy


def measure(
    bundle: Bundle,
    dataset: Dataset,
    *,
    engine: str = AUTO,
    threads: int = 1,
    class_map: Sequence[tuple[str, str]] = (),
    score: float = SCORE,
    nms_iou: float = NMS_IOU,
) -> Accuracy:
    """Run a bundle over a dataset and judge it by what its decoder gives. Raises as `evaluate` does."""
    if bundle.settings.decoder == Classifier.name:
        return evaluate_categories(bundle, dataset, engine=engine, threads=threads, class_map=class_map)
    if bundle.settings.decoder == Segmentation.name and dataset.mask_classes:
        return evaluate_masks(bundle, dataset, engine=engine, threads=threads, class_map=class_map)
    return evaluate(bundle, dataset, engine=engine, threads=threads, class_map=class_map, score=score, nms_iou=nms_iou)
