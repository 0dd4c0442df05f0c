"""Suppression against a plain loop over pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from plain_decoders import Box, suppress

from engines.decoders.nms import survivors

# Whole pixels and a dyadic limit: float32 holds all areas exactly, so that rounding decides nothing.
sides = st.integers(0, 12)
boxes = st.tuples(sides, sides, sides, sides, st.integers(0, 2)).map(
    lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3], 1.0, b[4])
)


def run(candidates: list[Box], limit: float | None) -> list[int]:
    table = np.array([box[:4] for box in candidates], np.float32).reshape(-1, 4)
    kinds = np.array([box.kind for box in candidates], np.int32)
    return survivors(table, kinds, limit).tolist()


@given(st.lists(boxes, max_size=40), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_survivors_are_those_of_a_plain_loop(candidates: list[Box], limit: float) -> None:
    numbered = [box._replace(score=float(index)) for index, box in enumerate(candidates)]
    expected = [int(box.score) for box in suppress(numbered, limit)]
    assert run(candidates, limit) == expected


def test_a_box_at_the_limit_stays() -> None:
    half = [Box(0, 0, 2, 1, 1.0, 0), Box(0, 0, 1, 1, 1.0, 0)]  # IoU is 0.5
    assert run(half, 0.5) == [0, 1]
    assert run(half, 0.49) == [0]


def test_what_was_suppressed_suppresses_nothing() -> None:
    chain = [Box(x, 0, x + 10, 10, 1.0, 0) for x in (0, 4, 8)]  # neighbours overlap by 6/14, ends by 2/18
    assert run(chain, 0.4) == [0, 2]


def test_no_limit_keeps_all() -> None:
    assert run([Box(0, 0, 5, 5, 1.0, 0)] * 3, None) == [0, 1, 2]


def test_empty_boxes_neither_suppress_nor_go() -> None:
    assert run([Box(3, 3, 3, 3, 1.0, 0)] * 2 + [Box(0, 0, 9, 9, 1.0, 0)], 0.0) == [0, 1, 2]
