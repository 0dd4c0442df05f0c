"""Which cell has to find which object: task-aligned assignment.

Feng et al. 2021, "TOOD: Task-aligned One-stage Object Detection", section 3.2: a cell's alignment with an object is
score^alpha * IoU^beta of what it predicts now; the best few cells inside an object are its own, and their classes'
targets are the alignment, scaled so that an object's best cell has the best IoU as its target. So a score learns to
say how good the box is, and one large object has one best box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CELLS = 10  # an object's own cells at most
ALPHA, BETA = 0.5, 6.0
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Assignment:
    """What each of N cells has to find.

    `truth` (N,) int64: index of its object, -1 for none. `share` (N,) 0..1: how much the cell counts among its object's
    own, 1 for the best one. `target` (N,) 0..1: the score that it has to give, `share` times the best one's IoU.
    """

    truth: Tensor
    share: Tensor
    target: Tensor


@torch.no_grad()
def assign(
    scores: Tensor, boxes_xyxy: Tensor, centres: Tensor, strides: Tensor, truths_xyxy: Tensor, classes: Tensor
) -> Assignment:
    """Give the cells of one image to its objects.

    What is predicted now: `scores` (N, classes) 0..1 and `boxes_xyxy` (N, 4). Cells: `centres` (N, 2), `strides` (N,).
    Objects: `truths_xyxy` (M, 4), `classes` (M,). A cell may find an object in which its centre lies; an object that
    is smaller than a cell is found by the cells in which it lies.
    """
    cells, objects = len(scores), len(truths_xyxy)
    if not objects:
        nobody = torch.full((cells,), -1, dtype=torch.int64, device=scores.device)
        return Assignment(nobody, scores.new_zeros(cells), scores.new_zeros(cells))
    middles = (truths_xyxy[:, :2] + truths_xyxy[:, 2:]) / 2
    reach = torch.maximum((truths_xyxy[:, 2:] - truths_xyxy[:, :2])[:, None] / 2, strides[None, :, None] / 2)
    inside = ((centres[None] - middles[:, None]).abs() <= reach).all(dim=2)  # (M, N)
    overlap = iou(truths_xyxy[:, None], boxes_xyxy[None])
    alignment = scores.T[classes] ** ALPHA * overlap**BETA * inside
    best, chosen = alignment.topk(min(CELLS, cells), dim=1)
    own = torch.zeros_like(inside)
    own.scatter_(1, chosen, best > 0)
    # A cell that several objects want goes to the one that its box overlaps most.
    truth = torch.where(own, overlap, -1.0).argmax(dim=0)
    taken = own.any(dim=0)
    own &= torch.nn.functional.one_hot(truth, objects).T.bool()
    alignment = alignment * own
    # Clamped to the smallest normal number: before anything is learnt an IoU of 0.01 makes an alignment of 1e-12.
    share = alignment / alignment.amax(dim=1, keepdim=True).clamp(min=torch.finfo(alignment.dtype).tiny)
    target = share * (overlap * own).amax(dim=1, keepdim=True)
    return Assignment(torch.where(taken, truth, -1), share.amax(dim=0), target.amax(dim=0))


def iou(left: Tensor, right: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4) xyxy, elementwise after broadcasting."""
    sides = torch.minimum(left[..., 2:], right[..., 2:]) - torch.maximum(left[..., :2], right[..., :2])
    shared = sides.clamp(min=0).prod(dim=-1)
    return shared / (area(left) + area(right) - shared + _EPSILON)


def area(boxes_xyxy: Tensor) -> Tensor:
    """Areas (...) of boxes (..., 4) xyxy."""
    return (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0).prod(dim=-1)
