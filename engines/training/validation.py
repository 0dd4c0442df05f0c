"""How good a network is while it is trained: average precision on images that it does not learn from."""

from __future__ import annotations

import numpy as np
import torch

from engines.average_precision import AveragePrecision, Truths, mean_of
from engines.decoders.candidates import MAX_CANDIDATES
from engines.decoders.yolov8 import Yolov8
from engines.evaluate import NMS_IOU, SCORE
from engines.letterbox import Fit, geometry
from engines.results import Detections, Thresholds
from engines.training.datasets import Example, Mixture, letterboxed
from engines.training.networks.detector import BOX, Detector, Grid

_THRESHOLDS = Thresholds(SCORE, NMS_IOU, max_detections=MAX_CANDIDATES, every_label=True)


@torch.no_grad()
def validate(network: Detector, mixture: Mixture, size: tuple[int, int], fit: Fit) -> dict[str, float]:
    """AP50 of each class, NaN where the images have none, and of `all` of them, as `engine evaluate` judges it.

    What is found of a class that nobody labelled on an image is left out: it may well be there.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    grid = Grid.of(*size, device)
    width, height = size
    place = geometry(Fit.STRETCH, width, height, width, height)
    detections: list[Detections] = []
    truths: list[Truths] = []
    decoder: Yolov8 | None = None
    for index in range(len(mixture)):
        example = letterboxed(mixture.read(index), width, height, fit)
        image = torch.from_numpy(example.image).permute(2, 0, 1)[None].to(device).float()
        raw = network(image)
        centres, sizes = grid.decode(raw[:, :BOX])
        outputs = {"predictions": torch.cat([centres, sizes, raw[:, BOX:].sigmoid()], dim=1)[0].cpu().numpy()}
        decoder = decoder or Yolov8({name: value.shape for name, value in outputs.items()}, width, height)
        found = decoder.decode(outputs, place, _THRESHOLDS)
        judged = example.labelled[found.classes]
        detections.append(Detections(found.boxes_xyxy[judged], found.scores[judged], found.classes[judged]))
        truths.append(_truths(example))
    network.train(was_training)
    by_class = AveragePrecision(detections, truths, len(mixture.classes)).per_class()[:, 0]
    return {"all": mean_of(by_class), **dict(zip(mixture.classes, map(float, by_class), strict=True))}


def _truths(example: Example) -> Truths:
    """Boxes to be found; an ignored place is a crowd of every class."""
    classes, ignored = len(example.labelled), len(example.ignored_xyxy)
    return Truths(
        np.concatenate([example.boxes_xyxy, np.repeat(example.ignored_xyxy, classes, axis=0)]).astype(np.float64),
        np.concatenate([example.classes, np.tile(np.arange(classes), ignored)]).astype(np.int32),
        np.concatenate([np.zeros(len(example.classes), np.bool_), np.ones(classes * ignored, np.bool_)]),
    )
