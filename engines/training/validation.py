"""How good a network is while it is trained, on images that it does not learn from, as `engine evaluate` judges it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.average_precision import AveragePrecision, Truths, mean_of
from engines.class_accuracy import count_pixels, intersection_over_union
from engines.decoders.candidates import MAX_CANDIDATES
from engines.decoders.yolov8 import Yolov8
from engines.evaluate import NMS_IOU, SCORE
from engines.letterbox import Fit, geometry
from engines.results import Detections, Thresholds
from engines.training.datasets import UNLABELLED, Example, Mixture, letterboxed
from engines.training.networks.detector import BOX, Detector, Grid

_AT_ONCE = 16  # pictures: a call for each takes twice as long where they are small
_THRESHOLDS = Thresholds(SCORE, NMS_IOU, max_detections=MAX_CANDIDATES, every_label=True)


@torch.no_grad()
def validate(network: Detector, mixture: Mixture, size: tuple[int, int], fit: Fit) -> dict[str, float]:
    """AP50 of each class, NaN where the images have none, and of `all` of them, as `engine evaluate` judges it.

    What is found of a class that nobody labelled on an image is left out: it may well be there.
    """
    grid = Grid.of(*size, next(network.parameters()).device)
    width, height = size
    place = geometry(Fit.STRETCH, width, height, width, height)
    detections: list[Detections] = []
    truths: list[Truths] = []
    decoder: Yolov8 | None = None
    for example, raw in _seen(network, mixture, size, fit):
        centres, sizes = grid.decode(raw[:, :BOX])
        outputs = {"predictions": torch.cat([centres, sizes, raw[:, BOX:].sigmoid()], dim=1)[0].cpu().numpy()}
        decoder = decoder or Yolov8({name: value.shape for name, value in outputs.items()}, width, height)
        found = decoder.decode(outputs, place, _THRESHOLDS)
        judged = example.labelled[found.classes]
        detections.append(Detections(found.boxes_xyxy[judged], found.scores[judged], found.classes[judged]))
        truths.append(truths_of(example))
    by_class = AveragePrecision(detections, truths, len(mixture.classes)).per_class()[:, 0]
    return _by_name(mean_of(by_class), mixture.classes, by_class)


@torch.no_grad()
def validate_categories(network: nn.Module, mixture: Mixture, size: tuple[int, int], fit: Fit) -> dict[str, float]:
    """The share of pictures whose best class is right: of `all`, and of each class, NaN of one without pictures."""
    truth, is_right = [], []
    for example, logits in _seen(network, mixture, size, fit):
        truth.append(example.category)
        is_right.append(int(logits[0].argmax()) == example.category)
    right, of_class = np.array(is_right), np.array(truth)
    shares = [_mean(right[of_class == position]) for position in range(len(mixture.classes))]
    return _by_name(_mean(right), mixture.classes, shares)


@torch.no_grad()
def validate_masks(network: nn.Module, mixture: Mixture, size: tuple[int, int], fit: Fit) -> dict[str, float]:
    """IoU of each class over all pictures together, NaN of one that none has, and their mean, of `all`."""
    classes = len(mixture.classes)
    pixels = np.zeros((classes, 3), np.int64)
    for example, logits in _seen(network, mixture, size, fit):
        assert example.mask is not None
        found = logits[0].argmax(dim=0).cpu().numpy()
        rows, columns = (one // other for one, other in zip(example.mask.shape, found.shape, strict=True))
        truth = np.where(example.mask == UNLABELLED, -1, example.mask.astype(np.int64))
        pixels += count_pixels(found.repeat(rows, axis=0).repeat(columns, axis=1), truth, classes)
    shares = intersection_over_union(pixels)
    return _by_name(mean_of(shares), mixture.classes, shares)


def _seen(network: nn.Module, mixture: Mixture, size: tuple[int, int], fit: Fit) -> Iterator[tuple[Example, Tensor]]:
    """Each picture as it is at run time, and what the network puts out for it. Its mode is put back at the end."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    for first in range(0, len(mixture), _AT_ONCE):
        indices = range(first, min(first + _AT_ONCE, len(mixture)))
        examples = [letterboxed(mixture.read(index), *size, fit) for index in indices]
        images = torch.from_numpy(np.stack([example.image for example in examples])).permute(0, 3, 1, 2)
        yield from zip(examples, network(images.to(device).float()).split(1), strict=True)
    network.train(was_training)


def _by_name(of_all: float, names: Sequence[str], values: Sequence[float] | NDArray[Any]) -> dict[str, float]:
    return {"all": of_all, **dict(zip(names, map(float, values), strict=True))}


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def truths_of(example: Example) -> Truths:
    """Boxes to be found on a picture; an ignored place is a crowd of every class."""
    classes, ignored = len(example.labelled), len(example.ignored_xyxy)
    return Truths(
        np.concatenate([example.boxes_xyxy, np.repeat(example.ignored_xyxy, classes, axis=0)]).astype(np.float64),
        np.concatenate([example.classes, np.tile(np.arange(classes), ignored)]).astype(np.int32),
        np.concatenate([np.zeros(len(example.classes), np.bool_), np.ones(classes * ignored, np.bool_)]),
    )
