"""Each family against its plain decoder on random outputs; layouts told apart; what errors say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from plain_decoders import assert_same, detect

from engines.decoders import DECODERS, MisfitError, build_decoder, recognise
from engines.decoders.candidates import MAX_CANDIDATES
from engines.decoders.segmentation import decided_already
from engines.errors import BundleError
from engines.letterbox import Fit, Geometry, Pixels, geometry
from engines.results import SegmentationMap, Thresholds

Outputs = dict[str, NDArray[Any]]
CLASSES = 6


def cell_counts(width: int, height: int, strides: tuple[int, ...] = (8, 16, 32)) -> list[int]:
    return [-(-width // stride) * -(-height // stride) for stride in strides]


def random_scores(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    """Scores (rows, CLASSES) of which some 3 % of the rows exceed 0.3."""
    return (random.random((rows, CLASSES)) ** 0.5 * (random.random((rows, 1)) ** 40)).astype(np.float32)


def random_yolox(random: np.random.Generator, width: int, height: int) -> Outputs:
    rows = sum(cell_counts(width, height))
    raw = random.normal(0, 1, (rows, 4))
    objectness = random.random((rows, 1)) ** 20
    scores = random.random((rows, CLASSES))
    return {"predictions": np.hstack([raw, objectness, scores]).astype(np.float32)}


def random_yolov8(random: np.random.Generator, width: int, height: int) -> Outputs:
    rows = sum(cell_counts(width, height))
    centres = random.random((rows, 2)) * (width, height)
    sizes = random.random((rows, 2)) * (width, height) / 2
    return {"predictions": np.hstack([centres, sizes, random_scores(random, rows)]).T.astype(np.float32)}


def random_nanodet(random: np.random.Generator, width: int, height: int) -> Outputs:
    outputs: Outputs = {}
    for stride, rows in zip((8, 16, 32), cell_counts(width, height), strict=True):
        outputs[f"scores_{stride}"] = random_scores(random, rows)
        outputs[f"distances_{stride}"] = random.normal(0, 2, (rows, 32)).astype(np.float32)
    return outputs


RANDOM = {"nanodet": random_nanodet, "yolov8": random_yolov8, "yolox": random_yolox}


@pytest.mark.parametrize("name", RANDOM)
@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(96, 96), (160, 96), (96, 224)]),
    fit=st.sampled_from(Fit),
    nms_iou=st.sampled_from([None, 0.3, 0.65]),
    own=st.sampled_from([(), ((0, 0.1), (3, 0.8))]),
    every_label=st.booleans(),
)
def test_boxes_are_those_of_the_plain_decoder(
    *, name: str, seed: int, size: tuple[int, int], fit: Fit, nms_iou: float | None, own: Any, every_label: bool
) -> None:
    outputs = RANDOM[name](np.random.default_rng(seed), *size)
    decoder = build_decoder(name, {role: values.shape for role, values in outputs.items()}, *size)
    place = geometry(fit, 300, 200, *size)
    thresholds = Thresholds(0.3, nms_iou, own, every_label=every_label)
    assert_same(decoder.decode(outputs, place, thresholds), detect(name, outputs, place, thresholds))


def test_nanodet_with_a_fourth_stride_and_batch_axes_is_paired_by_shape() -> None:
    random = np.random.default_rng(5)
    outputs = random_nanodet(random, 192, 128)
    outputs["scores_64"] = np.full((6, CLASSES), 0.5, np.float32)
    outputs["distances_64"] = random.normal(0, 2, (6, 32)).astype(np.float32)
    shapes = {f"wrong_{9 - index}": (1, *values.shape) for index, values in enumerate(outputs.values())}
    ((name, roles),) = recognise(shapes, 192, 128)
    assert name == "nanodet"
    assert list(roles) == list(outputs)
    assert list(roles.values()) == list(shapes)
    decoder = build_decoder("nanodet", {role: shapes[output] for role, output in roles.items()}, 192, 128)
    place, thresholds = geometry(Fit.STRETCH, 300, 200, 192, 128), Thresholds(nms_iou=None)
    assert_same(decoder.decode(outputs, place, thresholds), detect("nanodet", outputs, place, thresholds))


def test_families_want_their_pixels_as_their_networks_were_trained() -> None:
    assert {name: decoder.pixels for name, decoder in DECODERS.items()} == {
        "yolox": Pixels("BGR", 1.0, fit=Fit.LETTERBOX_TOP_LEFT, pad=114),
        "yolov8": Pixels("RGB", 1 / 255, fit=Fit.LETTERBOX_CENTRED, pad=114),
        "nanodet": Pixels("BGR", 1.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), Fit.STRETCH),
        "segmentation": Pixels("RGB", 1 / 255, fit=Fit.STRETCH),
        "classification": Pixels("RGB", 1 / 255, fit=Fit.STRETCH),
    }


@pytest.mark.parametrize("name", RANDOM)
def test_a_network_gone_wild_gives_a_bounded_number_of_candidates(name: str) -> None:
    outputs = RANDOM[name](np.random.default_rng(1), 320, 320)
    for role, values in outputs.items():
        values[...] = np.where(values > 0, 1, 0) if "distances" in role else 1
    decoder = build_decoder(name, {role: values.shape for role, values in outputs.items()}, 320, 320)
    thresholds = Thresholds(nms_iou=None, max_detections=100_000)
    found = decoder.decode(outputs, geometry(Fit.STRETCH, 320, 320, 320, 320), thresholds)
    assert len(found) == MAX_CANDIDATES


@pytest.mark.parametrize(
    ("shapes", "width", "height", "name"),
    [
        ({"o": (1, 3549, 85)}, 416, 416, "yolox"),
        ({"o": (3549, 6)}, 416, 416, "yolox"),
        ({"o": (1, 5040, 85)}, 640, 384, "yolox"),
        ({"o": (1, 84, 2100)}, 320, 320, "yolov8"),
        ({"o": (5, 8400)}, 640, 640, "yolov8"),
        ({"o": (1, 84, 5040)}, 640, 384, "yolov8"),
    ],
)
def test_shapes_name_their_family(shapes: Any, width: int, height: int, name: str) -> None:
    assert recognise(shapes, width, height) == [(name, {"predictions": "o"})]


@pytest.mark.parametrize(
    ("shapes", "width", "height"),
    [
        ({}, 416, 416),
        ({"o": (1, 3549, 5)}, 416, 416),  # no class
        ({"o": (1, 4, 3549)}, 416, 416),
        ({"o": (1, 10647, 85)}, 416, 416),  # three anchors a cell: YOLOv5
        ({"o": (1, 3549, 85)}, 320, 320),  # another input size
        ({"o": (2, 3549, 85)}, 416, 416),
        ({"o": (-1, 3549, 85)}, 416, 416),
        ({"o": (None, None, 85)}, 416, 416),
        ({"o": ("batch", 84, 2100)}, 320, 320),
        ({"o": (1, 84, 0)}, 320, 320),
        ({"o": (1, 300, 6)}, 640, 640),  # suppression inside the network
        ({"o": (1, 116, 8400), "masks": (1, 32, 160, 160)}, 640, 640),
        ({"o": (1, 3, 80, 80, 85)}, 640, 640),  # YOLOv5's raw heads
        ({"a": (1, 85, 52, 52), "b": (1, 85, 26, 26), "c": (1, 85, 13, 13)}, 416, 416),  # YOLOX's
        ({"o": (1, 2, 640, 360)}, 640, 360),  # the other way round
        ({"o": (1, 2, 720, 1280)}, 640, 360),  # finer than the input
        ({"o": (1, 2, 180, 180)}, 640, 360),  # of another shape
        ({"o": (1, 257, 360, 640)}, 640, 360),  # a class is a byte
        ({"o": (1, 360, 640, 2)}, 640, 360),  # channels last
        ({"o": (1, 360, 640)}, 640, 360),  # classes already, not their scores
        ({"o": (1, 1, 1, 43)}, 30, 30),
        ({"Identity:0": (1, 1)}, 30, 30),  # one value is no choice
        ({"Identity:0": (43, 2)}, 30, 30),  # of several pictures
    ],
)
def test_other_networks_fit_no_family(shapes: Any, width: int, height: int) -> None:
    assert recognise(shapes, width, height) == []


def test_nanodet_of_80_classes_has_its_distances_where_a_release_has_them() -> None:
    shapes = {"a": (1600, 80), "b": (400, 80), "c": (100, 80), "d": (1600, 32), "e": (400, 32), "f": (100, 32)}
    roles = DECODERS["nanodet"].match(shapes, 320, 320)  # 80 could be four sides as well
    assert [roles[f"distances_{stride}"] for stride in (8, 16, 32)] == ["d", "e", "f"]
    assert [roles[f"scores_{stride}"] for stride in (8, 16, 32)] == ["a", "b", "c"]


def test_nanodet_refuses_shapes_that_do_not_say_which_are_scores() -> None:
    shapes = {f"o{rows}_{width}": (rows, width) for rows in (1600, 400, 100) for width in (32, 68)}
    with pytest.raises(MisfitError, match="found 32 and 68 columns, which does not say"):
        DECODERS["nanodet"].match(shapes, 320, 320)
    by_role = {
        f"{kind}_{stride}": ((320 // stride) ** 2, width)
        for stride in (8, 16, 32)
        for kind, width in (("scores", 32), ("distances", 68))
    }
    assert build_decoder("nanodet", by_role, 320, 320).class_count == 32  # roles in bundle.toml decide


@pytest.mark.parametrize(
    "columns", [{"scores_8": 7}, {"distances_16": 28}, dict.fromkeys(("distances_8", "distances_16"), 30)]
)
def test_nanodet_refuses_strides_that_disagree(columns: dict[str, int]) -> None:
    shapes = {
        f"{kind}_{stride}": ((320 // stride) ** 2, columns.get(f"{kind}_{stride}", width))
        for stride in (8, 16, 32)
        for kind, width in (("scores", 80), ("distances", 32))
    }
    with pytest.raises(MisfitError, match=r"found for stride \d+ 2 outputs of"):
        DECODERS["nanodet"](shapes, 320, 320)


def test_nanodet_refuses_distances_that_are_not_four_sides() -> None:
    shapes = {
        f"{kind}_{stride}": ((320 // stride) ** 2, width)
        for stride in (8, 16, 32)
        for kind, width in (("scores", 80), ("distances", 30))
    }
    with pytest.raises(MisfitError, match="found distances of 30 columns"):
        DECODERS["nanodet"](shapes, 320, 320)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yolox", "expected 1 output of [1,4760,5+classes] for a 640x360 input"),
        ("yolov8", "expected 1 output of [1,4+classes,4760] for a 640x360 input"),
        (
            "nanodet",
            "expected 6 outputs, scores [cells,classes] and distances [cells,4*(reg_max+1)] for",
        ),
        (
            "segmentation",
            "expected outputs of [1,classes,height,width], at most 256 classes, height and width as of the 640x360 ",
        ),
    ],
)
def test_a_misfit_says_what_was_expected_and_what_was_found(name: str, expected: str) -> None:
    shapes = {"a": (1, 2, 360, 640, 1), "b": (1, 2, 360, 640, 1)}
    with pytest.raises(MisfitError) as caught:
        DECODERS[name].match(shapes, 640, 360)
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("found 2 outputs of [1,2,360,640,1]")


def test_a_misfit_names_sizes_that_the_file_leaves_open() -> None:
    with pytest.raises(MisfitError, match=r"in fixed sizes; found 1 output of \[batch,84,\?\]"):
        DECODERS["yolov8"].match({"o": ("batch", 84, None)}, 320, 320)  # type: ignore[dict-item]


def test_an_unknown_decoder_is_refused_with_the_near_spelling() -> None:
    with pytest.raises(BundleError) as caught:
        build_decoder("yolo8", {}, 320, 320)
    assert str(caught.value) == (
        'bundle.toml: decoder "yolo8" is unknown (did you mean "yolov8"?); '
        "use one of classification, nanodet, segmentation, yolov8, yolox"
    )
    with pytest.raises(BundleError, match=r'"segments" is unknown \(did you mean "segmentation"\?\); use one of'):
        build_decoder("segments", {}, 320, 320)


@pytest.mark.parametrize("name", RANDOM)
def test_roles_that_are_not_the_decoders_are_refused(name: str) -> None:
    with pytest.raises(BundleError, match=r'" does not fit model\.onnx: expected the .*; found output;'):
        build_decoder(name, {"output": (1, 3549, 85)}, 416, 416)


# --- per-pixel classes ----------------------------------------------------------------------------------


def maps_of(outputs: Outputs, place: Geometry) -> SegmentationMap:
    shapes = {role: values.shape for role, values in outputs.items()}
    found = build_decoder("segmentation", shapes, place.input_width, place.input_height).decode(
        outputs, place, Thresholds()
    )
    assert isinstance(found, SegmentationMap)
    return found


def plain_class(values: list[float]) -> int:
    """Softmax and its greatest; of one value its sigmoid."""
    if len(values) == 1:
        return int(1 / (1 + math.exp(-values[0])) > 0.5)
    weights = [math.exp(value) for value in values]
    probabilities = [weight / sum(weights) for weight in weights]
    return probabilities.index(max(probabilities))


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.lists(st.sampled_from([1, 2, 3, 19]), min_size=1, max_size=3),
    size=st.sampled_from([(16, 9), (1, 1), (12, 20)]),
    fit=st.sampled_from(Fit),
    source=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_classes_are_those_of_the_plain_decoder(
    *, seed: int, channels: list[int], size: tuple[int, int], fit: Fit, source: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed)
    outputs = {
        f"group {index}": random.normal(0, 2, (count, size[1], size[0])).astype(np.float32)
        for index, count in enumerate(channels)
    }
    place = geometry(fit, *source, *size)
    found = maps_of(outputs, place)
    assert [one.group for one in found.maps] == list(outputs)
    for one, values in zip(found.maps, outputs.values(), strict=True):
        expected = [
            [plain_class(values[:, place.top + row, place.left + column].tolist()) for column in range(place.width)]
            for row in range(place.height)
        ]
        assert one.classes.tolist() == expected


@settings(deadline=None, max_examples=60)
@given(
    stride=st.sampled_from([1, 2, 4, 7, 8]),
    fit=st.sampled_from(Fit),
    source=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    odd=st.booleans(),
)
def test_a_coarse_maps_pixels_lie_where_the_image_has_them(
    *, stride: int, fit: Fit, source: tuple[int, int], odd: bool
) -> None:
    """Every pixel of the map says its own column or row; the result has the one nearest to each part of the image."""
    columns, rows = 24, 14
    width, height = (columns * stride - (odd and stride > 1), rows * stride - (odd and stride > 1))
    where = {
        "column": np.eye(columns, dtype=np.float32)[:, None, :].repeat(rows, axis=1),
        "row": np.eye(rows, dtype=np.float32)[:, :, None].repeat(columns, axis=2),
    }
    place = geometry(fit, *source, width, height)
    by_column, by_row = (one.classes for one in maps_of(where, place).maps)
    for classes, axis, of_input, of_map, start, length in (
        (by_column, 1, width, columns, place.left, place.width),
        (by_row, 0, height, rows, place.top, place.height),
    ):
        count = classes.shape[axis]
        assert abs(count - length * of_map / of_input) <= 0.5 or count == 1
        centres = (start + (np.arange(count) + 0.5) * length / count) * of_map / of_input  # in pixels of the map
        line = np.take(classes, 0, axis=1 - axis).astype(float)
        assert (classes == np.expand_dims(line, 1 - axis)).all()
        assert (np.abs(line + 0.5 - centres) <= 0.5 + 1e-9).all()


def test_groups_are_numbered_and_an_only_one_is_called_classes() -> None:
    shapes = {"lanes": (1, 2, 360, 640), "segmentation": (1, 2, 360, 640)}
    assert recognise(shapes, 640, 360) == [("segmentation", {"group_1": "lanes", "group_2": "segmentation"})]
    assert recognise({"x": (1, 19, 90, 160)}, 640, 360) == [("segmentation", {"classes": "x"})]


def test_a_channel_that_holds_no_logits_is_noticed() -> None:
    logits = np.float32([[[-1, 0.5]]])
    for sound in ({"a": logits}, {"a": np.float32([[[0.1]], [[0.9]]])}, {"a": np.float32([[[0.5, 1.5]]])}):
        assert decided_already(sound) == []
    for bad in (np.float32([[[0, 1]]]), np.int64([[[0, 4]]]), np.array([[[True]]])):
        assert decided_already({"a": logits, "b": bad}) == ["b"]
