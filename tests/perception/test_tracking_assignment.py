"""The matching is the best there is: scipy's solver is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from perception.tracking.assignment import assign

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)
SPARSE = hnp.arrays(np.float64, SHAPES, elements=st.just(0.0) | st.floats(-1, 1), fill=st.just(0.0))
TIED = hnp.arrays(np.float64, SHAPES, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75]))
DENSE = hnp.arrays(np.float64, SHAPES, elements=st.floats(0.01, 1), fill=st.nothing())


def best_total(gains: np.ndarray) -> float:
    worth = np.maximum(gains, 0)  # what is worth nothing may as well stay unmatched
    return float(worth[linear_sum_assignment(worth, maximize=True)].sum())


def assert_is_best_matching(gains: np.ndarray) -> None:
    rows, columns = assign(gains)
    assert len(rows) == len(columns)
    assert np.all(np.diff(rows) > 0)
    assert len(np.unique(columns)) == len(columns)
    assert np.all(gains[rows, columns] > 0)
    assert gains[rows, columns].sum() == pytest.approx(best_total(gains), abs=1e-9)


@settings(max_examples=400, deadline=None)
@given(gains=SPARSE | TIED | DENSE)
def test_the_matching_gains_as_much_as_scipys_and_takes_no_worthless_pair(gains: np.ndarray) -> None:
    before = gains.copy()
    assert_is_best_matching(gains)
    assert np.array_equal(gains, before)


@pytest.mark.parametrize("density", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(60, 60), (40, 90), (90, 40)])
def test_large_crowds_are_matched_exactly_too(density: float, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(5)
    assert_is_best_matching(random.random(shape) * (random.random(shape) < density))


def test_a_row_goes_without_when_that_gains_more() -> None:
    # Row 0 would have to push row 1 from 0.9 to 0.1 for its own 0.5.
    rows, columns = assign(np.array([[0.5, 0.0], [0.9, 0.1]]))
    assert (rows.tolist(), columns.tolist()) == ([1], [0])


def test_a_favourite_is_given_up_when_both_gain_by_it() -> None:
    rows, columns = assign(np.array([[0.9, 0.8], [0.8, 0.0]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (3, 3)])
def test_nothing_to_match_gives_no_pairs(shape: tuple[int, int]) -> None:
    rows, columns = assign(np.zeros(shape))
    assert len(rows) == len(columns) == 0
