"""Which cell has to find which object, and what it costs when it does not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from engines.training.assignment import CELLS, assign, iou  # noqa: E402
from engines.training.losses import Objects, detection_loss, giou  # noqa: E402
from engines.training.networks.detector import Grid  # noqa: E402

WIDTH, HEIGHT, CLASSES = 128, 64, 3
GRID = Grid.of(WIDTH, HEIGHT)
N = len(GRID.strides)


def objects(
    boxes: Any = (),
    classes: Any = (),
    confidences: Any = None,
    ignored: Any = (),
    labelled: Any = (True, True, True),
) -> Objects:
    return Objects(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(classes, dtype=torch.int64),
        torch.tensor(np.ones(len(classes)) if confidences is None else confidences, dtype=torch.float32),
        torch.tensor(ignored, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labelled),
    )


def raw_boxes(boxes_xyxy: Any) -> Any:
    """What every cell has to put out for its box to be `boxes_xyxy` (N, 4) or (4,)."""
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32).expand(N, 4).T
    centres, sizes = (boxes[:2] + boxes[2:]) / 2, boxes[2:] - boxes[:2]
    return torch.cat([(centres - GRID.centres) / GRID.strides, torch.log(sizes / GRID.strides)])


def raw(boxes_xyxy: Any = (0, 0, 8, 8), logits: Any = -8.0) -> Any:
    """Predictions (1, 4 + classes, N): the same box and logits in every cell."""
    scores = torch.tensor(logits, dtype=torch.float32).expand(CLASSES, N) if np.ndim(logits) < 2 else logits
    return torch.cat([raw_boxes(boxes_xyxy), scores])[None].clone().requires_grad_()


def assigned(truths: Any, classes: Any, boxes: Any = None, scores: Any = None) -> Any:
    centres, strides = GRID.centres.T, GRID.strides
    if boxes is None:  # each cell's box is three strides wide, as before anything is learnt
        half = strides[:, None] * 1.5
        boxes = torch.cat([centres - half, centres + half], dim=1)
    scores = torch.full((N, CLASSES), 0.01) if scores is None else scores
    truths = torch.tensor(truths, dtype=torch.float32).reshape(-1, 4)
    return assign(scores, boxes, centres, strides, truths, torch.tensor(classes, dtype=torch.int64))


def test_an_object_gets_cells_whose_centres_lie_in_it_and_the_best_counts_in_full() -> None:
    found = assigned([(20, 10, 60, 50)], [1])
    own = torch.nonzero(found.truth == 0).flatten()
    assert 0 < len(own) <= CELLS
    centres = GRID.centres.T[own]
    assert bool(((centres >= torch.tensor([20, 10])) & (centres <= torch.tensor([60, 50]))).all())
    assert float(found.share.max()) == pytest.approx(1)
    assert float(found.share[found.truth < 0].sum()) == 0
    boxes_iou = iou(torch.tensor([20.0, 10, 60, 50]), torch.cat([centres, centres], 1))
    assert boxes_iou.shape == (len(own),)


def test_the_target_of_the_best_cell_is_its_overlap() -> None:
    truth = (24.0, 8.0, 56.0, 40.0)
    boxes = torch.tensor((24.0, 8.0, 56.0, 36.0)).expand(N, 4)  # 7/8 of it, wherever it is predicted
    found = assigned([truth], [0], boxes=boxes)
    assert float(found.target.max()) == pytest.approx(7 / 8, abs=1e-5)


def test_of_equal_boxes_the_cell_that_is_sure_of_the_class_is_best() -> None:
    boxes = torch.tensor((24.0, 8.0, 56.0, 40.0)).expand(N, 4)
    scores = torch.full((N, CLASSES), 0.1)
    sure = int(((GRID.centres.T - torch.tensor([44.0, 20.0])).abs().sum(1) + (GRID.strides != 8) * 1e3).argmin())
    scores[sure, 2] = 0.9
    found = assigned([(24, 8, 56, 40)], [2], boxes=boxes, scores=scores)
    assert int(found.share.argmax()) == sure
    other = assigned([(24, 8, 56, 40)], [1], boxes=boxes, scores=scores)
    assert set(other.share[other.truth >= 0].tolist()) == {1.0}  # to an object of another class all are alike


def test_an_object_smaller_than_a_cell_is_found_by_the_cell_that_it_lies_in() -> None:
    found = assigned([(33, 17, 35, 19)], [0])  # between the centres of all cells
    assert int((found.truth == 0).sum()) >= 1
    nearest = int(found.share.argmax())
    assert GRID.strides[nearest] == 8
    assert GRID.centres.T[nearest].tolist() == [36, 20]


def test_a_cell_that_two_objects_want_goes_to_the_one_it_overlaps_more() -> None:
    boxes = torch.tensor((0.0, 0.0, 40.0, 40.0)).expand(N, 4)
    found = assigned([(0, 0, 64, 64), (0, 0, 40, 40)], [0, 1], boxes=boxes)
    inside = (GRID.centres.T < 40).all(dim=1) & (found.truth >= 0)
    assert bool(inside.any())
    assert set(found.truth[inside].tolist()) == {1}


def test_without_objects_no_cell_has_to_find_anything() -> None:
    found = assigned([], [])
    assert set(found.truth.tolist()) == {-1}
    assert float(found.target.sum()) == float(found.share.sum()) == 0


def test_even_an_object_that_no_box_nearly_meets_gets_a_best_cell() -> None:
    """Before anything is learnt: overlap 0.002, to the sixth power 1e-16."""
    centres = GRID.centres.T
    boxes = torch.cat([centres - 1, centres + 1], dim=1)
    found = assigned([(0, 0, 60, 60)], [0], boxes=boxes)
    assert float(found.share.max()) == pytest.approx(1)


def test_overlaps_are_those_of_the_textbook() -> None:
    left, right = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 10]])
    assert float(iou(left, right)) == pytest.approx(50 / 150)
    assert float(giou(left, right)) == pytest.approx(50 / 150)  # their hull is their union
    apart = torch.tensor([[20.0, 0, 30, 10]])
    assert float(iou(left, apart)) == 0
    assert float(giou(left, apart)) == pytest.approx(-100 / 300)
    assert float(giou(left, left)) == pytest.approx(1)


sides = st.floats(0.5, 60, width=32)
places = st.floats(0, 60, width=32)


@settings(max_examples=50)
@given(places, places, sides, sides, places, places, sides, sides)
def test_generalised_overlap_is_symmetric_between_minus_one_and_the_overlap(
    x0: float, y0: float, w0: float, h0: float, x1: float, y1: float, w1: float, h1: float
) -> None:
    left, right = torch.tensor([[x0, y0, x0 + w0, y0 + h0]]), torch.tensor([[x1, y1, x1 + w1, y1 + h1]])
    value = float(giou(left, right))
    assert value == pytest.approx(float(giou(right, left)), abs=1e-5)
    assert -1 <= value <= float(iou(left, right)) + 1e-5


def test_perfect_predictions_cost_next_to_nothing_and_every_change_costs_more() -> None:
    truth = (24.0, 8.0, 56.0, 40.0)
    known = [objects([truth], [1])]
    logits = torch.full((CLASSES, N), -12.0)
    share = assigned([truth], [1], boxes=torch.tensor(truth).expand(N, 4), scores=logits.sigmoid().T)
    logits[1, share.truth == 0] = 12.0
    perfect = loss_of(raw(truth, logits), known, "total")
    assert perfect < 0.01
    assert loss_of(raw((24, 8, 50, 40), logits), known, "boxes") > 0.1
    missed = torch.full((CLASSES, N), -12.0)
    assert loss_of(raw(truth, missed), known, "scores") > 1
    wrong = logits[[1, 0, 2]]
    assert loss_of(raw(truth, wrong), known, "scores") > 1


def loss_of(predictions: Any, known: Any, part: str = "total") -> float:
    return float(getattr(detection_loss(predictions.detach(), GRID, known), part))


def gradient(predictions: Any, known: Objects) -> Any:
    detection_loss(predictions, GRID, [known]).total.backward()
    return predictions.grad[0]


def test_a_class_that_nobody_labelled_is_neither_right_nor_wrong() -> None:
    grad = gradient(raw(logits=2.0), objects(labelled=(True, False, True)))
    assert float(grad[4 + 1].abs().max()) == 0
    assert float(grad[4 + 0].min()) > 0  # where it was looked for, finding it where it is not is wrong
    assert float(grad[4 + 2].min()) > 0


def test_an_object_teaches_its_class_where_nobody_looked_for_all_of_that_class() -> None:
    grad = gradient(raw((24, 8, 56, 40)), objects([(24, 8, 56, 40)], [1], labelled=(True, False, True)))
    assert float(grad[4 + 1].min()) < 0
    assert float(grad[4 + 1].max()) == 0


def test_inside_an_ignored_place_nothing_is_wrong() -> None:
    grad = gradient(raw(logits=2.0), objects(ignored=[(0, 0, 64, 64)]))
    inside = GRID.centres[0] < 64
    assert float(grad[4:, inside].abs().max()) == 0
    assert float(grad[4:, ~inside].min()) > 0


def test_a_known_object_inside_an_ignored_place_is_learnt() -> None:
    grad = gradient(raw((24, 8, 56, 40)), objects([(24, 8, 56, 40)], [1], ignored=[(0, 0, 64, 64)]))
    assert float(grad[4 + 1].min()) < 0


def test_an_uncertain_object_asks_for_its_confidence_and_pulls_its_box_less() -> None:
    """At the score that it asks for, the gradient is zero: above it falls, below it rises."""
    truth = (24.0, 8.0, 56.0, 40.0)
    known = objects([truth], [1], [0.4])
    best = int(assigned([truth], [1], boxes=torch.tensor(truth).expand(N, 4)).share.argmax())
    for score, sign in ((0.3, -1), (0.5, 1)):
        grad = gradient(raw(truth, math.log(score / (1 - score))), known)
        assert math.copysign(1, float(grad[4 + 1, best])) == sign
    loose = (24.0, 8.0, 50.0, 40.0)
    sure = loss_of(raw(loose), [objects([truth], [1])], "boxes")
    unsure = float(detection_loss(raw(loose), GRID, [known]).boxes)
    assert unsure == pytest.approx(0.4 * sure, rel=1e-4)


def test_boxes_are_pulled_towards_their_objects() -> None:
    predictions = raw((24, 8, 50, 40))
    grad = gradient(predictions, objects([(24, 8, 56, 40)], [1]))
    own = grad[:4].abs().sum(dim=0) > 0
    assert bool(own.any())
    assert float(grad[0, own].max()) < 0  # the middle has to go right
    assert float(grad[2, own].max()) < 0  # and the box to become wider


def test_the_loss_of_a_batch_is_the_mean_of_its_pictures() -> None:
    """So that it does not matter how a batch is divided among processes or accumulated parts."""
    first, second = raw((24, 8, 50, 40)), raw((0, 0, 30, 30), logits=-1.0)
    known = [objects([(24, 8, 56, 40)], [1]), objects([(0, 0, 32, 32), (64, 0, 90, 40)], [0, 2])]
    with torch.no_grad():
        together = detection_loss(torch.cat([first, second]), GRID, known, 3.0).total
        apart = [detection_loss(p, GRID, [k], 3.0).total for p, k in zip((first, second), known, strict=True)]
    assert float(together) == pytest.approx(float(sum(apart)) / 2, rel=1e-6)
