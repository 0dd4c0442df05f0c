"""COCO's detection metrics (Lin et al. 2014; matching, 101 recall points and thresholds as in its API), by
faster-coco-eval.

What every detection matched is kept image by image, so that the same images drawn again in other numbers (a
bootstrap) are judged without matching anything anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineMissingError
from engines.results import Detections

MAX_DETECTIONS = 100  # of one class on one image that count, as in COCO
_IOU_50 = 0  # position among COCO's ten IoU thresholds, 0.50 to 0.95


@dataclass(frozen=True, slots=True)
class Truths:
    """The M boxes that are to be found on one image: (M, 4) in pixels; classes (M,); crowd (M,), not to be judged."""

    boxes_xyxy: NDArray[np.float64]
    classes: NDArray[np.int32]
    crowd: NDArray[np.bool_]


class AveragePrecision:
    """Detections of some images judged against their truths; `classes` of both count from 0.

    Raises `EngineMissingError` when the package is not installed.
    """

    def __init__(self, detections: Sequence[Detections], truths: Sequence[Truths], class_count: int) -> None:
        try:
            import faster_coco_eval as coco
        except ImportError:
            raise EngineMissingError(
                "evaluation", "the package faster-coco-eval is not installed", "pip install 'edge-perception[evaluate]'"
            ) from None
        table: dict[str, Any] = {
            "info": {},
            "images": [{"id": number} for number in range(1, len(truths) + 1)],
            "categories": [{"id": number, "name": str(number)} for number in range(1, class_count + 1)],
            "annotations": [row for number, image in enumerate(truths, 1) for row in _truth_rows(number, image)],
        }
        for number, row in enumerate(table["annotations"], 1):
            row["id"] = number
        judged = coco.COCO(table)
        found = judged.loadRes(
            [row for number, image in enumerate(detections, 1) for row in _found_rows(number, image)]
        )
        evaluation = coco.COCOeval_faster(judged, found, "bbox", separate_eval=True)
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.areaRng = evaluation.params.areaRng[:1]  # the first is all sizes
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.evaluate()
        self._images = len(truths)
        self._classes = class_count
        self._params = evaluation._paramsEval
        # One entry a class and image, classes first. The library has no public name for it.
        self._matches = list(evaluation._evalImgs_cpp)

    def per_class(self, indices: Sequence[int] | NDArray[np.integer[Any]] | None = None) -> NDArray[np.float64]:
        """AP (classes, 10) at IoU 0.50, 0.55 .. 0.95, over all images or over these, each as often as it is given.

        NaN for a class of which there is nothing to find.
        """
        values = self._precision(indices).mean(axis=1).T
        return np.where(values < 0, np.nan, values)

    def curves(self) -> NDArray[np.float64]:
        """Precision (classes, 101) at IoU 0.50 and a recall of 0, 0.01 .. 1; its mean is the class's AP50.

        It is 0 from the recall on that is not reached; NaN for a class of which there is nothing to find.
        """
        values = self._precision(None)[_IOU_50].T
        return np.where(values < 0, np.nan, values)

    def _precision(self, indices: Sequence[int] | NDArray[np.integer[Any]] | None) -> NDArray[np.float64]:
        """Precision (10 IoUs, 101 recalls, classes), -1 where there is nothing to find."""
        from faster_coco_eval.core.faster_eval_api import _C

        images = range(self._images) if indices is None else [int(index) for index in indices]
        params = self._params
        params.imgIds = list(range(1, len(images) + 1))
        matches = [self._matches[kind * self._images + image] for kind in range(self._classes) for image in images]
        precision = np.asarray(_C.COCOevalAccumulate(params, matches)["precision"])  # IoU, recall, class, size, count
        return precision.reshape(len(params.iouThrs), len(params.recThrs), self._classes)

    def ap50(self, indices: Sequence[int] | NDArray[np.integer[Any]] | None = None) -> float:
        """Mean over classes of the AP at IoU 0.5; NaN where there is nothing to find."""
        return mean_of(self.per_class(indices)[:, _IOU_50])


def mean_of(values: NDArray[np.float64]) -> float:
    """The mean of what is not NaN; NaN of nothing."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def _truth_rows(image: int, truths: Truths) -> list[dict[str, Any]]:
    rows = zip(truths.boxes_xyxy.tolist(), truths.classes.tolist(), truths.crowd.tolist(), strict=True)
    return [
        {
            "image_id": image,
            "category_id": kind + 1,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": int(crowd),
        }
        for (left, top, right, bottom), kind, crowd in rows
    ]


def _found_rows(image: int, found: Detections) -> list[dict[str, Any]]:
    boxes = found.boxes_xyxy.astype(np.float64)  # their sides are differences: not in float32
    return [
        {"image_id": image, "category_id": kind + 1, "bbox": [left, top, right - left, bottom - top], "score": score}
        for (left, top, right, bottom), kind, score in zip(
            boxes.tolist(), found.classes.tolist(), found.scores.tolist(), strict=True
        )
    ]
