"""What a detector's predictions cost it, and why.

Scores: binary cross-entropy with soft targets, each class for itself. Boxes: 1 - GIoU (Rezatofighi et al. 2019,
equation 4) and a distance of edges in units of the box's own size, which still pulls where two boxes do not meet.
Both are sums over a batch divided by its images and a constant, never by the batch's own number of objects: so that
the gradients of a batch do not depend on how it was divided among processes, or among steps that are accumulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

from engines.training.assignment import area, assign
from engines.training.networks.detector import BOX, Grid

BOX_WEIGHT, EDGE_WEIGHT, SCORE_WEIGHT = 2.0, 0.5, 1.0
_EDGE_KNEE = 0.1  # parts of a box's side: below it the distance counts squared


@dataclass(frozen=True, slots=True)
class Objects:
    """What is known of one picture.

    `boxes_xyxy` (M, 4) in pixels of the network's input, `classes` (M,) int64, `confidences` (M,) 0..1: 1 where a
    person labelled it, a teacher's score where one did. `ignored_xyxy` (K, 4): there nothing is right or wrong.
    `labelled` (C,): classes of which every object here is known.
    """

    boxes_xyxy: Tensor
    classes: Tensor
    confidences: Tensor
    ignored_xyxy: Tensor
    labelled: Tensor

    def to(self, device: torch.device) -> Objects:
        """The same in a device's memory."""
        return Objects(*(getattr(self, name).to(device, non_blocking=True) for name in self.__slots__))

    def __reduce__(self) -> tuple[Callable[..., Objects], tuple[NDArray[Any], ...]]:
        """Go from a loader's process to the trainer by value.

        A tensor would go as a file of shared memory, five for each picture, which took 7 % of the time of a training.
        """
        return _from_arrays, tuple(getattr(self, name).numpy() for name in self.__slots__)


def _from_arrays(*arrays: NDArray[Any]) -> Objects:
    return Objects(*(torch.from_numpy(array) for array in arrays))


@dataclass(frozen=True, slots=True)
class Loss:
    """`total` is what is minimised; `parts` are what it is the sum of, by name, for the log."""

    total: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """`total` is what is minimised; the other two are its parts, weighted, for the log."""

    total: Tensor
    scores: Tensor
    boxes: Tensor


def detection_loss(raw: Tensor, grid: Grid, pictures: list[Objects], objects_per_image: float = 1.0) -> DetectionLoss:
    """Judge raw predictions (B, 4 + classes, N) of B pictures.

    `objects_per_image` is a constant of the dataset: it brings the gradients of crowded and of empty datasets to about
    the same size.
    """
    raw = raw.float()
    centres, sizes = grid.decode(raw[:, :BOX])
    boxes = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1).transpose(1, 2)  # (B, N, 4)
    logits = raw[:, BOX:].transpose(1, 2)  # (B, N, C)
    cells = grid.centres.T
    targets, weights = torch.zeros_like(logits), torch.zeros_like(logits)
    box_loss = raw.new_zeros(())
    for number, objects in enumerate(pictures):
        assigned = assign(
            logits[number].sigmoid(), boxes[number], cells, grid.strides, objects.boxes_xyxy, objects.classes
        )
        own = assigned.truth >= 0
        truth = assigned.truth[own]
        confidence = objects.confidences[truth]
        weights[number] = objects.labelled.to(raw.dtype)
        weights[number, covered(cells, objects.ignored_xyxy)] = 0
        # Where an object is known its class is judged, whether or not anybody looked for all of that class.
        weights[number, own, objects.classes[truth]] = 1
        targets[number, own, objects.classes[truth]] = assigned.target[own] * confidence
        box_loss = (
            box_loss
            + (box_distance(boxes[number, own], objects.boxes_xyxy[truth]) * (assigned.share[own] * confidence)).sum()
        )
    scale = len(pictures) * objects_per_image
    score_loss = (binary_cross_entropy_with_logits(logits, targets, reduction="none") * weights).sum() / scale
    score_loss, box_loss = SCORE_WEIGHT * score_loss, box_loss / scale
    return DetectionLoss(score_loss + box_loss, score_loss.detach(), box_loss.detach())


def box_distance(boxes_xyxy: Tensor, truths_xyxy: Tensor) -> Tensor:
    """How far boxes (K, 4) are from their truths (K, 4): (K,), 0 where they are equal."""
    sides = (truths_xyxy[:, 2:] - truths_xyxy[:, :2]).clamp(min=1)
    edges = smooth_l1_loss(
        boxes_xyxy / sides.repeat(1, 2), truths_xyxy / sides.repeat(1, 2), reduction="none", beta=_EDGE_KNEE
    ).sum(dim=1)
    return BOX_WEIGHT * (1 - giou(boxes_xyxy, truths_xyxy)) + EDGE_WEIGHT * edges


def giou(left: Tensor, right: Tensor) -> Tensor:
    """Generalised IoU of boxes (K, 4) xyxy, pair by pair: -1..1."""
    shared = (torch.minimum(left[:, 2:], right[:, 2:]) - torch.maximum(left[:, :2], right[:, :2])).clamp(min=0).prod(1)
    hull = (torch.maximum(left[:, 2:], right[:, 2:]) - torch.minimum(left[:, :2], right[:, :2])).prod(1)
    union = area(left) + area(right) - shared
    return shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def covered(points: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Which points (N, 2) lie in any of the boxes (K, 4): (N,) bool."""
    inside = (points[None] > boxes_xyxy[:, None, :2]) & (points[None] < boxes_xyxy[:, None, 2:])
    return inside.all(dim=2).any(dim=0)
