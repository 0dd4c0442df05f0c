"""The fewest layers that have to stay in float."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from engines.quantize.search import fewest_in_float, most_harmful_first


def test_the_worst_layer_comes_first() -> None:
    harm = {"a": 0.1, "b": 0.7, "c": 0.0, "d": 0.7}
    assert most_harmful_first(list(harm), harm.__getitem__) == ["b", "d", "a", "c"]


@settings(deadline=None)
@given(st.integers(1, 60).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count))))
def test_the_fewest_are_found_in_few_tries(case: tuple[int, int]) -> None:
    count, needed = case
    ranked = [f"layer{number}" for number in range(count)]
    asked: list[int] = []

    def passes(left: Sequence[str]) -> bool:
        assert list(left) == ranked[: len(left)]
        asked.append(len(left))
        return len(left) >= needed

    found = fewest_in_float(ranked, passes)
    assert found == (needed if needed < count else None)
    assert count not in asked  # the float network is no answer
    assert 0 not in asked
    assert len(asked) <= count.bit_length()
