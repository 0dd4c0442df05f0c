"""What a classifier's and a segmenter's logits cost them, and why.

Cross-entropy with smoothed labels (Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7) for whole
pictures. For pixels cross-entropy, and beside it the soft Dice loss (Milletari et al. 2016, "V-Net", section 3), each
picture and class by itself: it weighs a thin pole as much as a wide sky, and is close to the IoU that is asked for.
Each is a mean over pictures, and within one over all its pixels, labelled or not: so that the gradients of a batch do
not depend on how it was divided among processes, or among steps that are accumulated.
"""

from __future__ import annotations

from torch import Tensor, stack
from torch.nn.functional import cross_entropy, one_hot

from engines.training.datasets import UNLABELLED
from engines.training.losses import Loss

SMOOTHING = 0.1  # of the truth, spread over all classes
DICE_WEIGHT = 0.5
_EPSILON = 1.0  # pixels: of a class that is on neither side nothing is lost


def category_loss(logits: Tensor, categories: list[Tensor]) -> Loss:
    """Judge logits (B, classes) of B pictures, each of one category ()."""
    total = cross_entropy(logits.float(), stack(categories), label_smoothing=SMOOTHING)
    return Loss(total, {"classes": total.detach()})


def mask_loss(logits: Tensor, masks: list[Tensor]) -> Loss:
    """Judge logits (B, classes, h, w) of B pictures by masks (h, w) uint8 of the same size, `UNLABELLED` left out."""
    logits = logits.float()
    losses, overlaps = [], []
    for of_picture, mask in zip(logits, masks, strict=True):
        known = mask != UNLABELLED
        truth = mask.long()
        pixels = cross_entropy(of_picture[None], truth[None], ignore_index=UNLABELLED, reduction="sum")
        losses.append(pixels / mask.numel())
        overlaps.append(dice_loss(of_picture.softmax(dim=0), truth, known))
    classes = sum(losses, logits.new_zeros(())) / len(masks)
    overlap = DICE_WEIGHT * sum(overlaps, logits.new_zeros(())) / len(masks)
    return Loss(classes + overlap, {"classes": classes.detach(), "overlap": overlap.detach()})


def dice_loss(shares: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """1 - soft Dice, the mean over the classes that a picture has: shares (classes, h, w), truth and known (h, w)."""
    wanted = one_hot(truth.where(known, truth.new_zeros(())), len(shares)).permute(2, 0, 1) * known
    found = shares * known
    both = 2 * (found * wanted).sum(dim=(1, 2)) + _EPSILON
    dice = both / (found.sum(dim=(1, 2)) + wanted.sum(dim=(1, 2)) + _EPSILON)
    there = wanted.sum(dim=(1, 2)) > 0
    return (1 - dice[there]).mean() if there.any() else shares.sum() * 0
