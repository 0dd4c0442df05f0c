"""Pictures that show nearly the same are found, and others are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.datasets.near_duplicates import PictureHash, are_near, near_duplicates, picture_hash


def scene(seed: int, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """Blots of several sizes, as a street has."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for cells in (4, 9, 30):
        small = rng.random((cells, cells, 3), np.float32)
        image += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) * 80
    return np.clip(image, 0, 255).astype(np.uint8)


def barred(image: NDArray[np.uint8], grey: int, top: int, left: int) -> NDArray[np.uint8]:
    bars = cv2.copyMakeBorder(image, top, top, left, left, cv2.BORDER_CONSTANT, value=(grey,) * 3)
    return np.asarray(bars, np.uint8)


def recompressed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    written = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    return np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)


CHANGES = {
    "scaled": lambda image: cv2.resize(image, (200, 170), interpolation=cv2.INTER_AREA),
    "recompressed": recompressed,
    "darker": lambda image: (image * 0.6).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1],
    "letterboxed in black": lambda image: barred(image, 0, 60, 0),
    "letterboxed in grey": lambda image: barred(image, 114, 0, 70),
    "letterboxed and recompressed": lambda image: recompressed(barred(image, 0, 50, 0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_among_others(change: str) -> None:
    pictures = [scene(seed) for seed in range(30)]
    pictures.append(np.ascontiguousarray(CHANGES[change](pictures[4])))
    assert near_duplicates([picture_hash(picture) for picture in pictures]) == [(4, 30)]


def test_pictures_that_agree_by_their_hash_alone_are_no_pair() -> None:
    """As a thing before a bare wall and another do."""
    one = picture_hash(scene(1))
    other = PictureHash(one.bits, one.mirrored, picture_hash(scene(2)).small)
    assert near_duplicates([one, other]) == []
    assert near_duplicates([one, one]) == [(0, 1)]


def test_plain_pictures_break_nothing() -> None:
    for shade in (0, 114, 255):
        assert picture_hash(np.full((40, 50, 3), shade, np.uint8)).bits == 0
    assert picture_hash(np.zeros((1, 1, 3), np.uint8)).bits == 0
    assert near_duplicates([]) == []


SAME = picture_hash(scene(0)).small
WORDS = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(WORDS, st.sets(st.integers(0, 63), max_size=7), st.booleans()), max_size=12), WORDS)
@settings(max_examples=150, deadline=None)
def test_pairs_are_those_that_comparing_all_with_all_finds(
    changes: list[tuple[int, set[int], bool]], first: int
) -> None:
    hashes = [PictureHash(first, first ^ 0xFFFF, SAME)]
    for word, flipped, is_near in changes:
        base = hashes[-1].bits if is_near else word
        bits = base ^ sum(1 << bit for bit in flipped)
        hashes.append(PictureHash(bits, word, SAME))
    expected = [
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if min(
            bin(hashes[i].bits ^ hashes[j].bits).count("1"),
            bin(hashes[i].bits ^ hashes[j].mirrored).count("1"),
            bin(hashes[i].mirrored ^ hashes[j].bits).count("1"),
        )
        <= 5
    ]
    assert near_duplicates(hashes) == expected


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2), st.sets(st.integers(0, 63), max_size=7), st.booleans()
)
def test_two_are_near_as_they_are_a_pair(bits: list[int], flipped: set[int], mirrored: bool) -> None:
    small = np.full((16, 16), 1 / 16, np.float32)
    near = bits[0]
    for bit in flipped:
        near ^= 1 << bit
    one = PictureHash(bits[0], bits[1], small)
    other = PictureHash(bits[1], near, small) if mirrored else PictureHash(near, bits[1], small)
    for first, second in ((one, other), (other, one)):
        assert are_near(first, second) == (near_duplicates([first, second]) == [(0, 1)])


def test_a_picture_is_near_its_copy_and_not_another() -> None:
    one, other = picture_hash(scene(1)), picture_hash(scene(2))
    assert are_near(one, picture_hash(recompressed(scene(1))))
    assert are_near(one, picture_hash(np.ascontiguousarray(scene(1)[:, ::-1])))
    assert not are_near(one, other)
