"""Pictures of drives: spread over all of it, in halves that share nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_networks

from engines.bundle import Bundle
from engines.errors import DatasetError
from engines.quantize.frames import take_pictures
from sensors.opening import open_source


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_networks.make_bundle(tmp_path_factory.mktemp("frames") / "tiny")


def drive(folder: Path, count: int, *, first: int = 0) -> Path:
    """A folder of solid images, each with its own number as its blue."""
    folder.mkdir()
    for number in range(count):
        image = tiny_networks.solid(first + number, size=(64, 32))
        cv2.imwrite(str(folder / f"{number:04}.png"), image)
    return folder


def numbers(pictures: tuple) -> list[int]:
    return [int(picture.pixels[0, 0, 0]) for picture in pictures]


@pytest.mark.parametrize(("length", "count"), [(16, 64), (40, 20), (200, 20), (201, 8), (255, 64)])
def test_halves_share_no_frame_and_cover_the_drive(length: int, count: int, bundle: Bundle, tmp_path: Path) -> None:
    with open_source(str(drive(tmp_path / "drive", length))) as source:
        pictures = take_pictures(bundle, [source], count)
    one, other = numbers(pictures.calibrating), numbers(pictures.judging)
    assert not set(one) & set(other)
    assert len(one) + len(other) == min(length, 2 * count)
    assert abs(len(one) - len(other)) <= -(-2 * count // 8)
    taken = sorted(one + other)
    widest = 2 * max(1, length / (2 * count)) + 1
    assert max(np.diff([*taken, length - 1])) <= widest
    assert taken[0] == 0


def test_neighbours_are_mostly_in_the_same_half(bundle: Bundle, tmp_path: Path) -> None:
    with open_source(str(drive(tmp_path / "drive", 80))) as source:
        pictures = take_pictures(bundle, [source], 40)
    edges = np.count_nonzero(np.diff(sorted(numbers(pictures.judging))) > 1)
    assert edges == 3  # four stretches


def test_each_drive_gives_its_share(bundle: Bundle, tmp_path: Path) -> None:
    paths = [drive(tmp_path / "a", 30), drive(tmp_path / "b", 200, first=50)]
    sources = [open_source(str(path)) for path in paths]
    pictures = take_pictures(bundle, sources, 20)
    assert pictures.sources == tuple(map(str, paths))
    every = numbers(pictures.calibrating) + numbers(pictures.judging)
    assert [sum(n < 50 for n in every), sum(n >= 50 for n in every)] == [20, 20]


def test_drives_of_one_frame_each_fill_both_halves(bundle: Bundle, tmp_path: Path) -> None:
    sources = [open_source(str(drive(tmp_path / f"{number}", 1, first=number))) for number in range(21)]
    pictures = take_pictures(bundle, sources, 9)
    assert (len(pictures.calibrating), len(pictures.judging)) == (9, 9)


def test_damaged_frames_are_passed_over_aloud(bundle: Bundle, tmp_path: Path) -> None:
    images = drive(tmp_path / "drive", 30)
    (images / "0007.png").write_bytes(b"")
    told: list[str] = []
    with open_source(str(images)) as source:
        take_pictures(bundle, [source], 8, told.append)
    assert told == [f"{images}: 1 damaged frames were passed over"]


def test_a_picture_lies_where_the_engine_will_put_it(bundle: Bundle, tmp_path: Path) -> None:
    with open_source(str(drive(tmp_path / "drive", 16))) as source:
        picture = take_pictures(bundle, [source], 8).judging[0]
    assert picture.pixels.shape == (16, 32, 3)
    assert (picture.place.source_width, picture.place.width, picture.place.height) == (64, 32, 16)


def test_the_hash_is_of_the_frames(bundle: Bundle, tmp_path: Path) -> None:
    def sha256(folder: Path) -> str:
        with open_source(str(folder)) as source:
            return take_pictures(bundle, [source], 8).sha256

    one, other = drive(tmp_path / "one", 16), drive(tmp_path / "other", 16, first=1)
    assert sha256(one) == sha256(one) != sha256(other)


def test_too_short_a_drive_is_refused_in_words(bundle: Bundle, tmp_path: Path) -> None:
    with (
        open_source(str(drive(tmp_path / "drive", 9))) as source,
        pytest.raises(DatasetError, match="gives 5 frames to calibrate on and 4 to judge by, and 8 are needed"),
    ):
        take_pictures(bundle, [source], 64)
