"""What a classifier's and a segmenter's logits cost: against plain sums, and that the right ones cost least."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from engines.training.class_losses import DICE_WEIGHT, SMOOTHING, category_loss, mask_loss  # noqa: E402
from engines.training.datasets import UNLABELLED  # noqa: E402


def log_softmax(values: Any) -> Any:
    return values - np.log(np.exp(values).sum(axis=0))


def test_a_category_costs_the_smoothed_cross_entropy() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
    truth = [0, 2]
    expected = 0.0
    for row, kind in zip(logits, truth, strict=True):
        target = np.full(3, SMOOTHING / 3)
        target[kind] += 1 - SMOOTHING
        expected -= float((target * log_softmax(row)).sum()) / 2
    found = category_loss(torch.tensor(logits), [torch.tensor(kind) for kind in truth])
    assert float(found.total) == pytest.approx(expected, rel=1e-5)
    assert set(found.parts) == {"classes"}


def test_a_mask_costs_cross_entropy_and_overlap_of_its_labelled_pixels() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5))
    masks = rng.integers(0, 2, (2, 4, 5)).astype(np.uint8)
    masks[0, :, 0] = UNLABELLED
    pixels = overlap = 0.0
    for values, mask in zip(logits, masks, strict=True):
        shares = np.exp(log_softmax(values))
        known = mask != UNLABELLED
        pixels -= sum(np.log(shares[mask[y, x], y, x]) for y, x in zip(*np.nonzero(known), strict=True)) / 20 / 2
        dice = []
        for kind in (0, 1):
            wanted = mask == kind
            dice.append((2 * shares[kind][wanted].sum() + 1) / (shares[kind][known].sum() + wanted.sum() + 1))
        overlap += DICE_WEIGHT * (1 - np.mean(dice)) / 2
    found = mask_loss(torch.tensor(logits), [torch.from_numpy(mask) for mask in masks])
    assert float(found.parts["classes"]) == pytest.approx(pixels, rel=1e-5)
    assert float(found.parts["overlap"]) == pytest.approx(overlap, rel=1e-5)
    assert float(found.total) == pytest.approx(pixels + overlap, rel=1e-5)


def test_where_nothing_is_labelled_nothing_is_learnt() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    mask_loss(logits, [torch.full((4, 4), UNLABELLED, dtype=torch.uint8)]).total.backward()
    assert not logits.grad.any()


def test_an_unlabelled_pixel_changes_nothing() -> None:
    mask = torch.zeros((4, 4), dtype=torch.uint8)
    mask[0, 0] = UNLABELLED
    one = torch.randn(1, 3, 4, 4)
    other = one.clone()
    other[0, :, 0, 0] += torch.tensor([5.0, -3.0, 9.0])
    assert float(mask_loss(one, [mask]).total) == pytest.approx(float(mask_loss(other, [mask]).total))


@pytest.mark.parametrize("kind", ["category", "mask"])
def test_a_batch_costs_the_mean_of_its_parts(kind: str) -> None:
    """So that it does not matter how it is divided among processes."""
    torch.manual_seed(0)
    if kind == "category":
        logits, loss = torch.randn(4, 3), category_loss
        targets = [torch.tensor(k) for k in (0, 1, 2, 2)]
    else:
        logits, loss = torch.randn(4, 3, 6, 6), mask_loss
        targets = list(torch.randint(0, 3, (4, 6, 6), dtype=torch.uint8))
        targets[0][:3] = UNLABELLED
    whole = loss(logits, targets).total
    halves = (loss(logits[:2], targets[:2]).total + loss(logits[2:], targets[2:]).total) / 2
    torch.testing.assert_close(whole, halves)
