"""Whose class is whose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import DatasetError
from engines.matched_classes import match_classes

BUNDLE = ("person", "car", "truck", "Bus")


def test_equal_names_are_the_same_whatever_their_case() -> None:
    classes = match_classes(BUNDLE, ("bus", "dog", "Person"))
    assert classes.names == ("bus", "Person")
    assert classes.of_bundle == (1, -1, -1, 0)
    assert classes.of_dataset == (0, -1, 1)


def test_several_of_the_bundle_are_judged_under_the_datasets_name() -> None:
    classes = match_classes(BUNDLE, ("vehicle", "person"), [("car", "vehicle"), ("truck", "vehicle")])
    assert classes.names == ("vehicle", "person")
    assert classes.of_bundle == (1, 0, 0, -1)


def test_several_of_the_dataset_are_judged_under_the_bundles_name() -> None:
    classes = match_classes(BUNDLE, ("van", "car", "person"), [("car", "van"), ("car", "car")])
    assert classes.names == ("car", "person")
    assert classes.of_dataset == (0, 0, 1)
    assert classes.of_bundle == (1, 0, -1, -1)


def test_a_class_that_is_mapped_is_not_its_equal_too() -> None:
    classes = match_classes(("car", "truck"), ("car", "truck"), [("car", "truck")])
    assert (classes.names, classes.of_bundle, classes.of_dataset) == (("truck",), (0, -1), (-1, 0))


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([("cart", "person")], "'cart' is no class of the bundle; did you mean 'car'?"),
        ([("car", "persons")], "'persons' is no class of the dataset; did you mean 'person'?"),
        ([("car", "xyz")], "'xyz' is no class of the dataset; it has person, van"),
        (
            [("car", "van"), ("car", "person"), ("truck", "van")],
            "car and truck of the bundle the same as person and",
        ),
    ],
)
def test_a_map_that_cannot_be_is_refused(pairs: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(DatasetError) as caught:
        match_classes(BUNDLE, ("person", "van"), pairs)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"none of the bundle's classes by name .*--map BUNDLE_CLASS=DATASET"):
        match_classes(BUNDLE, ("dog", "cat"))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6))
def test_a_pair_is_always_judged_as_one(links: list[tuple[int, int]]) -> None:
    bundle, dataset = "abcde", "ABCDE"
    pairs = [(bundle[b], dataset[d]) for b, d in links]
    try:
        classes = match_classes(bundle, dataset, pairs)
    except DatasetError:  # several of one side the same as several of the other
        assert len({b for b, _ in links}) > 1 < len({d for _, d in links})
        return
    assert len(set(classes.names)) == len(classes.names)
    assert set(classes.of_bundle) - {-1} == set(classes.of_dataset) - {-1} == set(range(len(classes.names)))
    for b, d in links:
        assert classes.of_bundle[b] == classes.of_dataset[d] >= 0
