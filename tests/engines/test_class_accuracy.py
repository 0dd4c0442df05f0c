"""Classifiers and segmenters judged on labelled images, through the real engines."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_networks
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.accuracy import measure
from engines.accuracy_loss import AccuracyLoss
from engines.class_accuracy import MaskAccuracy, TopAccuracy, count_pixels, intersection_over_union
from engines.datasets import Dataset, DatasetError, open_dataset
from engines.errors import BundleError, EngineError
from engines.runtime import ON_THE_CPU

COLOURS = {"blue": (255, 0, 0), "green": (0, 255, 0), "red": (0, 0, 255)}


def images_by_class(folder: Path, **shown: list[str]) -> Dataset:
    """Images by class; `shown`: the colour of each image of a class."""
    for name, colours in shown.items():
        (folder / name).mkdir(parents=True)
        for number, colour in enumerate(colours):
            size = (20 + 10 * number, 24)
            cv2.imwrite(str(folder / name / f"{number}.png"), tiny_networks.solid(*COLOURS[colour], size=size))
    return open_dataset(folder)


@pytest.mark.parametrize("engine", sorted(ON_THE_CPU))
def test_a_classifier_is_judged_by_the_share_it_names_rightly(engine: str, tmp_path: Path) -> None:
    bundle = tiny_networks.make_classifier_bundle(tmp_path / "colours")
    dataset = images_by_class(tmp_path / "set", red=["red", "red", "blue"], blue=["blue"], green=["blue"])
    found = measure(bundle, dataset, engine=engine)
    assert isinstance(found, TopAccuracy)
    assert (found.measure, found.engine, found.images) == ("top-1", engine, 5)
    assert found.value == pytest.approx(3 / 5)
    assert found.per_class == {"blue": 1, "green": 0, "red": pytest.approx(2 / 3)}
    assert found.counts == {"blue": 1, "green": 1, "red": 3}
    assert found.value_of([0, 1]) == 0.5  # blue 0 is right, green 0 is not
    assert found.value_of([1, 1, 2]) == pytest.approx(1 / 3)


def test_classes_are_mapped_and_what_has_no_counterpart_is_left_out(tmp_path: Path) -> None:
    bundle = tiny_networks.make_classifier_bundle(tmp_path / "colours")
    dataset = images_by_class(tmp_path / "set", Red=["red"], sky=["blue", "green"], mist=["green"])
    found = measure(bundle, dataset, class_map=[("blue", "sky")])
    assert isinstance(found, TopAccuracy)
    assert (found.images, found.unjudged) == (3, ("mist",))
    assert found.per_class == {"Red": 1, "sky": 0.5}


def test_what_cannot_be_judged_is_said(tmp_path: Path) -> None:
    classifier = tiny_networks.make_classifier_bundle(tmp_path / "colours")
    detector = tiny_networks.make_bundle(tmp_path / "tiny")
    dataset = images_by_class(tmp_path / "set", red=["red"], blue=["blue"])
    with pytest.raises(DatasetError, match="has no class for each image; give images by class"):
        measure(classifier, Dataset("boxes", "val", ("red",), ()))
    with pytest.raises(DatasetError, match="set: has no boxes"):
        measure(detector, dataset)
    with pytest.raises(DatasetError, match="has none of the bundle's classes by name"):
        measure(classifier, images_by_class(tmp_path / "other", cat=["red"], dog=["blue"]))


def test_outputs_that_are_no_numbers_name_their_image(tmp_path: Path) -> None:
    bundle = tiny_networks.make_classifier_bundle(tmp_path / "colours", on_white="nan")
    images_by_class(tmp_path / "set", green=["green"])
    cv2.imwrite(str(tmp_path / "set" / "green" / "0.png"), tiny_networks.solid(0, 200, 0))
    cv2.imwrite(str(tmp_path / "set" / "green" / "1.png"), tiny_networks.solid(255, 255, 255))
    with pytest.raises(EngineError, match=r"green/1.png: cannot be judged: output 'logits' holds NaN"):
        measure(bundle, open_dataset(tmp_path / "set"))


def masks(folder: Path, *pictures: tuple[NDArray[np.uint8], NDArray[np.uint8]], settings: str = "") -> Dataset:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "masks.toml").write_text(
        settings or "classes = ['blue', 'green', 'red']\nunlabelled = [9]\nthings = ['red']\nsmallest_px = 1\n"
    )
    for number, (image, mask) in enumerate(pictures):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
    return open_dataset(folder)


def halves(left: tuple[int, int, int], right: tuple[int, int, int], side: int) -> NDArray[np.uint8]:
    image = np.empty((side, side, 3), np.uint8)
    image[:, : side // 2], image[:, side // 2 :] = left, right
    return image


def mask_of(left: int, right: int, side: int) -> NDArray[np.uint8]:
    return halves((left, 0, 0), (right, 0, 0), side)[..., 0].copy()


@pytest.mark.parametrize("engine", sorted(ON_THE_CPU))
@pytest.mark.parametrize("stride", [1, 4])
def test_a_segmenter_is_judged_by_the_iou_of_each_class(engine: str, stride: int, tmp_path: Path) -> None:
    """Also where its map is coarser than the mask, and the image larger than its input. Unlabelled pixels count not."""
    bundle = tiny_networks.make_segmenter_bundle(tmp_path / "areas", stride=stride)
    blue, green, red = COLOURS.values()
    unlabelled = mask_of(0, 9, 64)
    dataset = masks(
        tmp_path / "set",
        (halves(blue, green, 32), mask_of(0, 1, 32)),  # right: 512 of each
        (halves(blue, red, 32), mask_of(1, 2, 32)),  # a half of green is called blue: 512
        (halves(blue, red, 64), unlabelled),  # right: 2,048 of blue; red where nothing is known
    )
    found = measure(bundle, dataset, engine=engine)
    assert isinstance(found, MaskAccuracy)
    assert (found.measure, found.images) == ("mean IoU", 3)
    assert found.per_class == {
        "blue": pytest.approx(2560 / 3072),
        "green": pytest.approx(512 / 1024),
        "red": pytest.approx(1),
    }
    assert found.value == pytest.approx((2560 / 3072 + 0.5 + 1) / 3)
    assert found.value_of([0]) == 1
    assert found.counts == {"blue": 2560, "green": 1024, "red": 512}
    low, high = AccuracyLoss(found, found).loss_bounds
    assert (low, high) == (0, 0)


def test_a_mask_of_another_size_than_its_image_is_named(tmp_path: Path) -> None:
    bundle = tiny_networks.make_segmenter_bundle(tmp_path / "areas")
    dataset = masks(tmp_path / "set", (halves(*list(COLOURS.values())[1:], 32), mask_of(1, 2, 64)))
    with pytest.raises(DatasetError, match=r"masks/0.png: is 64x64, and its image 32x32; make both one size"):
        measure(bundle, dataset)


def test_masks_need_no_things_to_judge_a_segmenter_by(tmp_path: Path) -> None:
    """Lanes, road and sky: no class has boxes, or no image has one of a class that does."""
    bundle = tiny_networks.make_segmenter_bundle(tmp_path / "areas")
    blue, green, _red = COLOURS.values()
    picture = (halves(blue, green, 32), mask_of(0, 1, 32))
    settings = "classes = ['blue', 'green', 'red']\nthings = []\n"
    for dataset in (masks(tmp_path / "none", picture, settings=settings), masks(tmp_path / "named", picture)):
        assert measure(bundle, dataset).value == 1
        with pytest.raises(DatasetError, match="has no boxes; give a dataset of boxes"):
            measure(tiny_networks.make_bundle(tmp_path / f"tiny-{dataset.name}"), dataset)


def test_a_detector_on_masks_is_judged_by_their_boxes(tmp_path: Path) -> None:
    detector = tiny_networks.make_bundle(tmp_path / "tiny")
    mask = np.zeros((32, 32), np.uint8)
    mask[12:28, 16:28] = 2  # the steady box, of class red
    found = measure(detector, masks(tmp_path / "set", (tiny_networks.solid(0), mask)))
    assert found.measure == "AP50"
    assert found.value == pytest.approx(1)


def test_a_segmenter_is_refused_where_there_are_no_masks(tmp_path: Path) -> None:
    segmenter = tiny_networks.make_segmenter_bundle(tmp_path / "areas")
    dataset = images_by_class(tmp_path / "set", red=["red"])
    with pytest.raises((BundleError, DatasetError), match=r"has no boxes|finds no boxes"):
        measure(segmenter, dataset)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_iou_is_what_sets_of_pixels_say(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    found, truth = rng.integers(-1, classes, (2, 9, 7))
    counted = intersection_over_union(count_pixels(found, truth, classes))
    for kind in range(classes):
        ours = set(zip(*np.nonzero((found == kind) & (truth >= 0)), strict=True))
        theirs = set(zip(*np.nonzero(truth == kind), strict=True))
        if theirs:
            assert counted[kind] == pytest.approx(len(ours & theirs) / len(ours | theirs))
        else:
            assert np.isnan(counted[kind])
