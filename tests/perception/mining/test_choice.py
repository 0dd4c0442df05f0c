"""Which frames are taken of those that are worth it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from mined_drives import STEP_NS, found, looked

from engines.datasets.near_duplicates import are_near
from perception.mining.choice import Candidate, choose
from perception.mining.looked import Finding

BOX = np.array([0, 0, 9, 9], np.float32)


def candidate(sequence: int, /, *, bits: int | None = None, stamp_ns: int | None = None, **weights: float) -> Candidate:
    frame = looked(sequence, found(), bits=bits, stamp_ns=stamp_ns)
    return Candidate(frame, tuple(Finding(name, "", weight, BOX, 0, 0.5) for name, weight in weights.items()))


def taken(candidates: list[Candidate], count: int, apart_ns: int = 0) -> list[int]:
    return [one.frame.sequence for one in choose(candidates, count, apart_ns).taken]


def test_each_reason_gives_its_best_in_turn() -> None:
    candidates = [candidate(0, a=1), candidate(1, a=3), candidate(2, a=2), candidate(3, b=0.1), candidate(4, b=0.2)]
    assert taken(candidates, 3) == [1, 2, 4]
    assert taken(candidates, 4) == [1, 2, 3, 4]
    assert taken(candidates, 9) == [0, 1, 2, 3, 4]


def test_a_frame_with_two_reasons_is_taken_once_and_a_reason_weighs_the_sum_of_its_boxes() -> None:
    both = candidate(0, a=1, b=1)
    assert taken([both, candidate(1, a=0.5)], 5) == [0, 1]
    twice = Candidate(looked(2, found()), (*candidate(2, a=0.4).findings, *candidate(2, a=0.4).findings))
    assert taken([candidate(1, a=0.5), twice], 1) == [2]


def test_near_duplicates_and_frames_too_close_in_time_are_left_out_and_counted() -> None:
    alike = [candidate(number, bits=77, a=number) for number in range(4)]
    chosen = choose(alike, 9, 0)
    assert ([one.frame.sequence for one in chosen.taken], chosen.alike) == ([3], 3)
    stamps = [candidate(number, a=10 - number) for number in range(5)]
    assert taken(stamps, 9, apart_ns=2 * STEP_NS) == [0, 2, 4]


def test_frames_of_other_sensors_may_be_of_the_same_time() -> None:
    one = Candidate(looked(0, found(), sensor="front"), candidate(0, a=1).findings)
    other = Candidate(looked(0, found(), sensor="rear", bits=5), candidate(0, a=1).findings)
    assert len(choose([one, other], 9, STEP_NS).taken) == 2


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 1), st.integers(0, 3) | st.none()), min_size=1, max_size=30
    ),
    st.integers(1, 10),
    st.integers(0, 3),
)
def test_never_too_many_never_alike_never_too_close(
    made: list[tuple[str, float, int | None]], count: int, apart: int
) -> None:
    candidates = [candidate(number, bits=bits, **{name: weight}) for number, (name, weight, bits) in enumerate(made)]
    chosen = choose(candidates, count, apart * STEP_NS)
    frames = [one.frame for one in chosen.taken]
    assert 1 <= len(frames) <= count
    assert [frame.sequence for frame in frames] == sorted({frame.sequence for frame in frames})
    for number, frame in enumerate(frames):
        for other in frames[:number]:
            assert not are_near(frame.hash, other.hash)
            assert frame.stamp_ns - other.stamp_ns >= apart * STEP_NS
