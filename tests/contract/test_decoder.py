"""The Decoder contract, held against every entry of `DECODERS`.

A family joins by its line in `decoder_families`. Each promise is a `check_...`; what its subject is annotated with says
whom it binds: a `Subject` every decoder, a `BoxSubject` detectors, a `MapSubject` those that give pixels their classes,
a `ClassSubject` those that say what a picture is. All are run over all whom they bind, and over decoders that break
them, which they have to catch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from decoder_families import (
    BOX_FAMILIES,
    CLASSES,
    FAMILIES,
    GROUPS,
    HEIGHT,
    WIDTH,
    BoxFamily,
    ClassFamily,
    ClassMaps,
    MapFamily,
    OutputTables,
    Wanted,
    random_maps,
)
from numpy.typing import NDArray

from engines.decoders import DECODERS, Decoder, MisfitError, NonFiniteOutputError
from engines.letterbox import Fit, Geometry, geometry
from engines.results import Classification, CropClasses, Detections, Found, SegmentationMap, Thresholds

# Apart from each other, of three sizes (and so strides), best first.
APART = [
    Wanted((20, 30, 34, 40), 0.9, 0),
    Wanted((50, 20, 90, 60), 0.8, 6),
    Wanted((96, 12, 158, 84), 0.7, 3),
    Wanted((4, 62, 22, 74), 0.6, 0),
]
WHOLE_INPUT = geometry(Fit.STRETCH, WIDTH, HEIGHT, WIDTH, HEIGHT)  # source pixels are input pixels
ALL = Thresholds(score=0.3, nms_iou=None)


@dataclass(frozen=True)
class Subject:
    """A decoder class under test, and how its family's networks speak."""

    decoder: type[Decoder]
    family: Any

    def make(self) -> Decoder:
        return self.decoder(self.family.shapes, WIDTH, HEIGHT)

    def outputs(self, *, other: bool = False) -> OutputTables:
        """What a network of the family says of a frame, or of another."""
        raise NotImplementedError

    def quiet(self) -> OutputTables:
        """The same with nothing on the frame."""
        raise NotImplementedError


@dataclass(frozen=True)
class BoxSubject(Subject):
    family: BoxFamily

    def outputs(self, *, other: bool = False) -> OutputTables:
        return self.family.encode(OVERLAPPING if other else APART)

    def quiet(self) -> OutputTables:
        return self.family.encode([])

    def decode(self, boxes: list[Wanted], thresholds: Thresholds = ALL, place: Geometry = WHOLE_INPUT) -> Detections:
        found = self.make().decode(self.family.encode(boxes), place, thresholds)
        assert isinstance(found, Detections)
        return found


@dataclass(frozen=True)
class MapSubject(Subject):
    family: MapFamily

    def outputs(self, *, other: bool = False) -> OutputTables:
        return self.family.encode(random_maps(2 if other else 1))

    def quiet(self) -> OutputTables:
        return self.family.encode({group: np.zeros((HEIGHT, WIDTH), np.uint8) for group in GROUPS})

    def decode(self, maps: ClassMaps, place: Geometry = WHOLE_INPUT) -> ClassMaps:
        found = self.make().decode(self.family.encode(maps), place, ALL)
        assert isinstance(found, SegmentationMap)
        return {one.group: one.classes for one in found.maps}


@dataclass(frozen=True)
class ClassSubject(Subject):
    family: ClassFamily

    def outputs(self, *, other: bool = False) -> OutputTables:
        return self.family.encode(5, 0.75) if other else self.family.encode(2, 0.5)

    def quiet(self) -> OutputTables:
        return self.family.encode(0, 1 / CLASSES)

    def decode(self, outputs: OutputTables, thresholds: Thresholds = ALL) -> Classification:
        found = self.make().decode(outputs, WHOLE_INPUT, thresholds)
        assert isinstance(found, Classification)
        return found


def arrays_of(found: Found) -> list[NDArray[Any]]:
    assert not isinstance(found, CropClasses)  # no decoder's
    if isinstance(found, Classification):
        return [found.classes, found.scores]
    if isinstance(found, SegmentationMap):
        return [one.classes for one in found.maps]
    return [found.boxes_xyxy, found.scores, found.classes, found.track_ids]


def assert_equal(one: Found, other: Found) -> None:
    assert type(one) is type(other)
    for mine, theirs in zip(arrays_of(one), arrays_of(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def assert_found(detections: Detections, expected: list[Wanted], place: Geometry = WHOLE_INPUT) -> None:
    """The boxes, in this order; `expected` is in input pixels and inside the image."""
    assert detections.classes.tolist() == [box.kind for box in expected]
    np.testing.assert_allclose(detections.scores, [box.score for box in expected], atol=1e-5)
    in_input = np.array([box.box for box in expected]).reshape(-1, 2, 2)  # two corners of x, y
    to_source = place.source_width / place.width, place.source_height / place.height
    corners = ((in_input - (place.left, place.top)) * to_source).reshape(-1, 4)
    np.testing.assert_allclose(detections.boxes_xyxy, corners, atol=0.01)


def check_known_boxes_are_found(subject: BoxSubject) -> None:
    assert_found(subject.decode(APART), APART)


def check_boxes_are_in_source_pixels_under_every_fit(subject: BoxSubject) -> None:
    for fit in Fit:
        for source in ((1000, 800), (1000, 400)):  # centred, these are padded beside, and above and below
            place = geometry(fit, *source, WIDTH, HEIGHT)
            shift = (place.left, place.top) * 2
            shifted = [
                replace(box, box=tuple(np.add(box.box, shift).tolist()))
                for box in APART
                if box.box[2] <= place.width and box.box[3] <= place.height
            ]
            assert len(shifted) >= 2
            assert_found(subject.decode(shifted, place=place), shifted, place)


def check_arrays_have_their_types_and_shapes(subject: BoxSubject) -> None:
    for boxes in (APART, []):
        found = subject.decode(boxes)
        arrays = found.boxes_xyxy, found.scores, found.classes, found.track_ids
        assert [array.dtype for array in arrays] == [np.float32, np.float32, np.int32, np.int64]
        count = len(boxes)
        assert [array.shape for array in arrays] == [(count, 4), (count,), (count,), (count,)]
        assert not found.track_ids.any()


def check_nothing_is_found_in_nothing(subject: BoxSubject) -> None:
    assert len(subject.decode([])) == 0


def check_best_score_comes_first(subject: BoxSubject) -> None:
    assert_found(subject.decode(APART[::-1]), APART)


def check_equal_scores_keep_the_order_of_the_grids(subject: BoxSubject) -> None:
    boxes = [Wanted((x, y, x + 12, y + 12), 0.5, 1) for y in (2, 34, 66) for x in range(2, 146, 16)]
    assert_found(subject.decode(boxes), boxes)


def check_boxes_are_clipped_to_the_image(subject: BoxSubject) -> None:
    found = subject.decode([Wanted((-30, -9, 190, 99), 0.9, 0), Wanted((140, 80, 180, 110), 0.8, 0)])
    np.testing.assert_allclose(found.boxes_xyxy, [[0, 0, 160, 96], [140, 80, 160, 96]], atol=0.01)
    assert found.boxes_xyxy.min() >= 0
    assert (found.boxes_xyxy.max(axis=0) <= (160, 96, 160, 96)).all()


def check_boxes_outside_the_image_are_dropped(subject: BoxSubject) -> None:
    place = geometry(Fit.LETTERBOX_CENTRED, 160, 48, WIDTH, HEIGHT)  # 24 rows of padding above and below
    inside = Wanted((60, 30, 80, 50), 0.5, 0)
    found = subject.decode([Wanted((10, 2, 30, 20), 0.9, 0), inside], place=place)
    assert_found(found, [inside], place)


def check_a_dropped_box_takes_no_place(subject: BoxSubject) -> None:
    place = geometry(Fit.LETTERBOX_CENTRED, 160, 48, WIDTH, HEIGHT)
    inside = Wanted((60, 30, 80, 50), 0.5, 0)
    found = subject.decode([Wanted((10, 2, 30, 20), 0.9, 0), inside], replace(ALL, max_detections=1), place)
    assert_found(found, [inside], place)


def check_a_score_has_to_exceed_the_threshold(subject: BoxSubject) -> None:
    assert_found(subject.decode(APART, replace(ALL, score=0.65)), APART[:3])
    at_the_limit = [Wanted((20, 30, 34, 40), 0.25, 0)]  # 0.25 and its root are exact
    for own in ((), ((3, 0.1),)):  # without and with a class that lets lower scores through
        assert len(subject.decode(at_the_limit, replace(ALL, score=0.25, score_by_class=own))) == 0


def check_thresholds_may_differ_by_class(subject: BoxSubject) -> None:
    strict = replace(ALL, score=0.3, score_by_class=((0, 0.75), (3, 0.75)))
    assert_found(subject.decode(APART, strict), APART[:2])
    lenient = replace(ALL, score=0.85, score_by_class=((3, 0.1),))
    assert_found(subject.decode(APART, lenient), [APART[0], APART[2]])


def check_the_best_are_kept_when_there_are_too_many(subject: BoxSubject) -> None:
    assert_found(subject.decode(APART[::-1], replace(ALL, max_detections=2)), APART[:2])


OVERLAPPING = [
    Wanted((20, 18, 70, 58), 0.9, 0),
    Wanted((23, 18, 73, 58), 0.8, 0),  # IoU with the first: 47/53
    Wanted((20, 28, 70, 68), 0.7, 4),  # IoU with the first: 30/50, but of another class
]


def check_overlapping_boxes_of_a_class_are_suppressed(subject: BoxSubject) -> None:
    found = subject.decode(OVERLAPPING, replace(ALL, nms_iou=0.5))
    assert_found(found, [OVERLAPPING[0], OVERLAPPING[2]])


def check_overlap_up_to_the_limit_is_kept(subject: BoxSubject) -> None:
    for limit in (None, 0.9):
        assert_found(subject.decode(OVERLAPPING, replace(ALL, nms_iou=limit)), OVERLAPPING)


def check_decoding_is_pure(subject: Subject) -> None:
    decoder = subject.make()
    outputs = subject.outputs()
    before = {role: table.copy() for role, table in outputs.items()}
    first = decoder.decode(outputs, WHOLE_INPUT, ALL)
    decoder.decode(subject.outputs(other=True), WHOLE_INPUT, replace(ALL, score=0.1))
    again = decoder.decode(outputs, WHOLE_INPUT, ALL)
    for role, table in outputs.items():
        np.testing.assert_array_equal(table, before[role])
    assert_equal(first, again)


def check_results_outlive_the_engines_memory(subject: Subject) -> None:
    outputs = subject.outputs()
    found = subject.make().decode(outputs, WHOLE_INPUT, ALL)
    for table in outputs.values():
        table.fill(0.5)  # the slot's next frame
    assert_equal(found, subject.make().decode(subject.outputs(), WHOLE_INPUT, ALL))


def check_frames_that_differ_are_told_apart(subject: Subject) -> None:
    """The two frames of these checks differ, and so does what is found: else purity would prove nothing."""
    one, other = (subject.make().decode(subject.outputs(other=other), WHOLE_INPUT, ALL) for other in (False, True))
    with pytest.raises(AssertionError):
        assert_equal(one, other)


def check_a_value_that_is_not_finite_is_an_error(subject: BoxSubject) -> None:
    """Wherever it stands it changes nothing in silence; where it stands in a candidate's values it is an error."""
    decoder = subject.make()
    sound, empty = subject.family.encode(APART), subject.family.encode([])
    expected = decoder.decode(sound, WHOLE_INPUT, ALL)
    for role, table in sound.items():
        says_a_box = (table != empty[role]).reshape(-1)
        for bad in (np.nan, np.inf, -np.inf):
            for position in range(table.size):
                outputs = {**sound, role: table.copy()}
                outputs[role].reshape(-1)[position] = bad
                try:
                    found = decoder.decode(outputs, WHOLE_INPUT, ALL)
                except NonFiniteOutputError as error:
                    told = str(error)
                else:
                    told = ""
                assert told in ("", f"output {role!r} holds NaN or infinity")
                assert told or not says_a_box[position]
                if not told:
                    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
                    np.testing.assert_array_equal(found.scores, expected.scores)
                    np.testing.assert_array_equal(found.classes, expected.classes)


def check_outputs_of_nothing_else_are_an_error_under_any_threshold(subject: Subject) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        outputs = {role: np.full_like(table, bad) for role, table in subject.quiet().items()}
        with pytest.raises(NonFiniteOutputError):
            subject.make().decode(outputs, WHOLE_INPUT, replace(ALL, score=0.99))


def check_absurd_values_give_boxes_inside_the_image_and_no_warning(subject: BoxSubject) -> None:
    largest = np.finfo(np.float32).max
    random = np.random.default_rng(3)
    for size in (largest, 1e30, 100, 1):
        outputs = {
            role: (random.choice([-1, 1], table.shape) * random.random(table.shape) * size).astype(np.float32)
            for role, table in subject.family.encode([]).items()
        }
        found = subject.make().decode(outputs, WHOLE_INPUT, replace(ALL, nms_iou=0.5))
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert np.isfinite(found.boxes_xyxy).all()
        assert (found.boxes_xyxy >= 0).all()
        assert (found.boxes_xyxy <= (160, 96, 160, 96)).all()
        assert (found.boxes_xyxy[:, 2:] > found.boxes_xyxy[:, :2]).all()


def check_half_precision_outputs_are_decoded(subject: BoxSubject) -> None:
    outputs = {role: table.astype(np.float16) for role, table in subject.family.encode(APART).items()}
    found = subject.make().decode(outputs, WHOLE_INPUT, ALL)
    assert found.classes.tolist() == [box.kind for box in APART]
    assert [found.boxes_xyxy.dtype, found.scores.dtype] == [np.float32, np.float32]
    np.testing.assert_allclose(found.boxes_xyxy, [box.box for box in APART], atol=0.2)


def check_its_own_network_is_recognised(subject: Subject) -> None:
    family = subject.family
    roles = subject.decoder.match(family.outputs, WIDTH, HEIGHT)
    assert [family.outputs[output] for output in roles.values()] == list(family.shapes.values())


def check_a_detectors_roles_and_classes_are_told_by_shapes(subject: BoxSubject) -> None:
    assert list(subject.decoder.match(subject.family.outputs, WIDTH, HEIGHT)) == list(subject.family.shapes)
    assert subject.make().class_count == CLASSES
    assert not subject.make().groups


def check_a_batch_axis_of_one_makes_no_difference(subject: Subject) -> None:
    bare = {role: table.shape for role, table in subject.outputs().items()}
    batched = {role: (1, *shape) for role, shape in bare.items()}
    expected = subject.make().decode(subject.outputs(), WHOLE_INPUT, ALL)
    for shapes in (bare, batched):
        decoder = subject.decoder(shapes, WIDTH, HEIGHT)
        assert_equal(decoder.decode(subject.outputs(), WHOLE_INPUT, ALL), expected)


def check_networks_of_other_families_are_refused(subject: Subject) -> None:
    for family in FAMILIES.values():
        if family is not subject.family:
            with pytest.raises(MisfitError, match=r"expected .*; found "):
                subject.decoder.match(family.outputs, WIDTH, HEIGHT)


def check_other_input_sizes_are_refused(subject: BoxSubject) -> None:
    for size in ((WIDTH, HEIGHT + 32), (WIDTH - 32, HEIGHT), (2 * WIDTH, 2 * HEIGHT)):
        with pytest.raises(MisfitError, match=r"expected .*; found "):
            subject.decoder.match(subject.family.outputs, *size)


def check_open_sizes_are_refused(subject: Subject) -> None:
    for open_size in (-1, 0, None, "batch"):
        shapes: Any = {name: (open_size, *shape[1:]) for name, shape in subject.family.outputs.items()}
        with pytest.raises(MisfitError, match=r"expected .*fixed sizes; found "):
            subject.decoder.match(shapes, WIDTH, HEIGHT)


# --- class maps -----------------------------------------------------------------------------------------


def check_known_classes_are_found(subject: MapSubject) -> None:
    wanted = random_maps(1)
    found = subject.decode(wanted)
    assert list(found) == list(GROUPS)
    for group, classes in found.items():
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes, wanted[group])


def check_maps_cover_exactly_the_image_under_every_fit(subject: MapSubject) -> None:
    wanted = random_maps(1)
    for fit in Fit:
        for source in ((1000, 800), (1000, 400)):
            place = geometry(fit, *source, WIDTH, HEIGHT)
            for group, classes in subject.decode(wanted, place).items():
                inside = wanted[group][place.top :, place.left :][: place.height, : place.width]
                np.testing.assert_array_equal(classes, inside)


def check_groups_share_the_labels_out_in_their_order(subject: MapSubject) -> None:
    decoder = subject.make()
    found = decoder.decode(subject.outputs(), WHOLE_INPUT, ALL)
    assert isinstance(found, SegmentationMap)
    assert dict(decoder.groups) == {"area": 2, "kind": 5, "line": 2}
    assert decoder.class_count == 9
    assert [(one.first_label, one.class_count) for one in found.maps] == [(0, 2), (2, 5), (7, 2)]


def check_a_pixel_that_is_not_finite_is_an_error_inside_the_image_only(subject: MapSubject) -> None:
    place = geometry(Fit.LETTERBOX_CENTRED, 1000, 400, WIDTH, HEIGHT)
    decoder, sound = subject.make(), subject.outputs()
    expected = decoder.decode(sound, place, ALL)
    for role, table in sound.items():
        for bad in (np.nan, np.inf, -np.inf):
            for row in (place.top - 1, place.top, place.top + place.height - 1, place.top + place.height):
                for channel, column in ((0, 0), (len(table) - 1, WIDTH - 1), (len(table) // 2, 70)):
                    outputs = {**sound, role: table.copy()}
                    outputs[role][channel, row, column] = bad
                    if place.top <= row < place.top + place.height:
                        with pytest.raises(NonFiniteOutputError, match=f"^output '{role}' holds NaN or infinity$"):
                            decoder.decode(outputs, place, ALL)
                    else:
                        assert_equal(decoder.decode(outputs, place, ALL), expected)


def check_of_equal_values_the_first_class_wins(subject: MapSubject) -> None:
    found = subject.make().decode({group: np.zeros_like(t) for group, t in subject.quiet().items()}, WHOLE_INPUT, ALL)
    assert all(not classes.any() for classes in arrays_of(found))


def check_half_precision_maps_are_decoded(subject: MapSubject) -> None:
    outputs = {group: table.astype(np.float16) for group, table in subject.outputs().items()}
    assert_equal(
        subject.make().decode(outputs, WHOLE_INPUT, ALL), subject.make().decode(subject.outputs(), WHOLE_INPUT, ALL)
    )


def check_absurd_values_still_give_classes_and_no_warning(subject: MapSubject) -> None:
    largest = np.finfo(np.float32).max
    random = np.random.default_rng(3)
    outputs = {
        group: random.choice(np.float32([-largest, -1e-45, 0, 1e-45, largest]), table.shape)
        for group, table in subject.quiet().items()
    }
    found = subject.make().decode(outputs, WHOLE_INPUT, ALL)
    for (group, channels), classes in zip(GROUPS.items(), arrays_of(found), strict=True):
        table = outputs[group]
        np.testing.assert_array_equal(classes, table.argmax(axis=0) if channels > 1 else table[0] > 0)


# --- what a picture is ----------------------------------------------------------------------------------


def check_the_class_is_found_with_the_next_likely_behind_it(subject: ClassSubject) -> None:
    for best in range(CLASSES):
        found = subject.decode(subject.family.encode(best, 0.6))
        others = [index for index in range(CLASSES) if index != best]
        assert found.classes.tolist() == [best, *others][:5]
        assert [found.classes.dtype, found.scores.dtype] == [np.int32, np.float32]
        shares = np.array([CLASSES - index for index in others], np.float64)
        np.testing.assert_allclose(found.scores, [0.6, *(0.4 * shares / shares.sum())][:5], atol=1e-5)


def check_no_threshold_hides_what_a_picture_is(subject: ClassSubject) -> None:
    outputs = subject.outputs()
    strict = Thresholds(score=0.99, score_by_class=((2, 1.0),), max_detections=1)
    assert_equal(subject.decode(outputs, strict), subject.decode(outputs))


def check_of_equal_logits_the_first_class_wins(subject: ClassSubject) -> None:
    outputs = {role: np.full_like(table, 3) for role, table in subject.quiet().items()}
    found = subject.decode(outputs)
    assert found.classes.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(found.scores, 1 / CLASSES, atol=1e-6)


def check_a_logit_that_is_not_finite_is_an_error(subject: ClassSubject) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        for position in range(CLASSES):
            outputs = subject.outputs()
            for role, table in outputs.items():
                table[position] = bad
                with pytest.raises(NonFiniteOutputError, match=f"^output '{role}' holds NaN or infinity$"):
                    subject.decode(outputs)


def check_absurd_logits_give_scores_from_0_to_1_and_no_warning(subject: ClassSubject) -> None:
    largest = np.finfo(np.float32).max
    random = np.random.default_rng(3)
    for _ in range(50):
        values = random.choice(np.float32([-largest, -1e-45, 0, 1e-45, largest]), CLASSES)
        found = subject.decode({"logits": values})
        assert found.classes[0] == values.argmax()
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert (np.diff(found.scores) <= 0).all()


def check_half_precision_logits_are_decoded(subject: ClassSubject) -> None:
    outputs = {role: table.astype(np.float16) for role, table in subject.outputs().items()}
    found, expected = subject.decode(outputs), subject.decode(subject.outputs())
    assert found.classes.tolist() == expected.classes.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=2e-3)


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}


def subject_of(name: str, decoder: type[Decoder]) -> Subject:
    family = FAMILIES[name]
    if isinstance(family, BoxFamily):
        return BoxSubject(decoder, family)
    return MapSubject(decoder, family) if isinstance(family, MapFamily) else ClassSubject(decoder, family)


def bound_by(promise: str, subject: Subject) -> bool:
    return CHECKS[promise].__annotations__["subject"] in ("Subject", type(subject).__name__)


def test_every_decoder_has_a_family_here() -> None:
    assert set(FAMILIES) == set(DECODERS)
    assert all(name == decoder.name for name, decoder in DECODERS.items())


@pytest.mark.parametrize(
    ("name", "promise"),
    [(name, promise) for name in DECODERS for promise in CHECKS if bound_by(promise, subject_of(name, DECODERS[name]))],
)
def test_a_decoder_keeps_its_promises(name: str, promise: str) -> None:
    CHECKS[promise](subject_of(name, DECODERS[name]))


def test_every_promise_binds_somebody() -> None:
    kinds = {check.__annotations__["subject"] for check in CHECKS.values()}
    assert kinds == {"Subject", "BoxSubject", "MapSubject", "ClassSubject"}


# Decoders that are right but for one mistake. `Right` stands for any detector, `RightMap` for any of class maps.
Right: Any = DECODERS["yolov8"]
RightMap: Any = DECODERS["segmentation"]
Arguments = tuple[Any, Geometry, Thresholds]


def mistaken(
    before: Callable[[Any, Geometry, Thresholds], Arguments] = lambda *arguments: arguments,
    after: Callable[[Detections], Detections] = lambda found: found,
) -> type[Decoder]:
    """A decoder that gets its arguments wrong, or spoils its result."""

    class Mistaken(Right):  # type: ignore[misc]
        def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> Detections:
            return after(super().decode(*before(outputs, geometry, thresholds)))

    return Mistaken


def writes_its_input(outputs: Any, place: Geometry, thresholds: Thresholds) -> Arguments:
    outputs["predictions"][0] += 1
    return outputs, place, thresholds


def reversed_order(found: Detections) -> Detections:
    return Detections(found.boxes_xyxy[::-1], found.scores[::-1], found.classes[::-1])


class Remembers(Right):  # type: ignore[misc]
    """Gives what it saw on the frame before."""

    last: Detections | None = None

    def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> Detections:
        found: Detections = super().decode(outputs, geometry, thresholds)
        self.last, before = found, self.last
        return before or found


class KeepsTheEnginesMemory(Right):  # type: ignore[misc]
    """Gives scores that are a view into the outputs."""

    def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> Detections:
        found: Detections = super().decode(outputs, geometry, thresholds)
        view = outputs["predictions"].reshape(-1)[: len(found)]
        view[:] = found.scores
        return replace(found, scores=view)


class TakesAnyNetwork(Right):  # type: ignore[misc]
    """Never refuses."""

    @classmethod
    def match(cls, shapes: Any, *_: object) -> dict[str, str]:
        return {"predictions": next(iter(shapes))}


MISTAKES: list[tuple[str, type[Decoder]]] = [
    ("known_boxes_are_found", mistaken(after=lambda f: replace(f, classes=f.classes + np.int32(1)))),
    ("boxes_are_in_source_pixels_under_every_fit", mistaken(lambda o, g, t: (o, replace(g, top=0), t))),
    ("boxes_are_in_source_pixels_under_every_fit", mistaken(lambda o, g, t: (o, replace(g, left=0), t))),
    (
        "arrays_have_their_types_and_shapes",
        mistaken(after=lambda f: replace(f, classes=f.classes.astype(np.int64))),  # type: ignore[arg-type]
    ),
    ("best_score_comes_first", mistaken(after=reversed_order)),
    ("equal_scores_keep_the_order_of_the_grids", mistaken(after=reversed_order)),
    (
        "boxes_are_clipped_to_the_image",
        mistaken(after=lambda f: replace(f, boxes_xyxy=f.boxes_xyxy + np.float32(1e-3))),
    ),
    ("thresholds_may_differ_by_class", mistaken(lambda o, g, t: (o, g, replace(t, score_by_class=())))),
    (
        "the_best_are_kept_when_there_are_too_many",
        mistaken(lambda o, g, t: (o, g, replace(t, max_detections=300))),
    ),
    (
        "overlapping_boxes_of_a_class_are_suppressed",
        mistaken(lambda o, g, t: (o, g, replace(t, nms_iou=None))),
    ),
    ("overlap_up_to_the_limit_is_kept", mistaken(lambda o, g, t: (o, g, replace(t, nms_iou=0.5)))),
    ("decoding_is_pure", mistaken(writes_its_input)),
    ("decoding_is_pure", Remembers),
    ("results_outlive_the_engines_memory", KeepsTheEnginesMemory),
    (
        "a_value_that_is_not_finite_is_an_error",
        mistaken(lambda o, g, t: ({role: np.nan_to_num(table) for role, table in o.items()}, g, t)),
    ),
    ("networks_of_other_families_are_refused", TakesAnyNetwork),
    ("other_input_sizes_are_refused", TakesAnyNetwork),
    ("open_sizes_are_refused", TakesAnyNetwork),
]


@pytest.mark.parametrize(("promise", "bad"), MISTAKES)
def test_a_broken_promise_is_caught(promise: str, bad: type[Decoder]) -> None:
    CHECKS[promise](BoxSubject(Right, BOX_FAMILIES["yolov8"]))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        CHECKS[promise](BoxSubject(bad, BOX_FAMILIES["yolov8"]))


def mistaken_map(
    before: Callable[[Any, Geometry, Thresholds], Arguments] = lambda *arguments: arguments,
    after: Callable[[SegmentationMap], SegmentationMap] = lambda found: found,
) -> type[Decoder]:
    class Mistaken(RightMap):  # type: ignore[misc]
        def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> SegmentationMap:
            return after(super().decode(*before(outputs, geometry, thresholds)))

    return Mistaken


def each_map(change: Callable[[NDArray[np.uint8]], Any]) -> Callable[[SegmentationMap], SegmentationMap]:
    return lambda found: SegmentationMap(tuple(replace(one, classes=change(one.classes)) for one in found.maps))


def spoils_its_input(outputs: Any, place: Geometry, thresholds: Thresholds) -> Arguments:
    for table in outputs.values():
        table[0, 0, 0] += 1
    return outputs, place, thresholds


class KeepsALogit(RightMap):  # type: ignore[misc]
    """Gives a view into the outputs."""

    def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> SegmentationMap:
        found: SegmentationMap = super().decode(outputs, geometry, thresholds)
        last = outputs["line"].view(np.uint8)[0, :, : geometry.width]
        last[:] = found.maps[-1].classes
        return SegmentationMap((*found.maps[:-1], replace(found.maps[-1], classes=last)))


class TakesAnyMap(RightMap):  # type: ignore[misc]
    @classmethod
    def match(cls, shapes: Any, *_: object) -> dict[str, str]:
        return {name: name for name in shapes}


class RemembersAMap(RightMap):  # type: ignore[misc]
    last: Any = None

    def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> SegmentationMap:
        found: SegmentationMap = super().decode(outputs, geometry, thresholds)
        self.last, before = found, self.last
        return before or found


MAP_MISTAKES: list[tuple[str, type[Decoder]]] = [
    ("known_classes_are_found", mistaken_map(after=each_map(lambda c: c.astype(np.int64)))),
    ("known_classes_are_found", mistaken_map(after=lambda f: SegmentationMap(f.maps[::-1]))),
    ("maps_cover_exactly_the_image_under_every_fit", mistaken_map(lambda o, g, t: (o, WHOLE_INPUT, t))),
    ("maps_cover_exactly_the_image_under_every_fit", mistaken_map(lambda o, g, t: (o, replace(g, top=0), t))),
    ("maps_cover_exactly_the_image_under_every_fit", mistaken_map(lambda o, g, t: (o, replace(g, left=0), t))),
    (
        "groups_share_the_labels_out_in_their_order",
        mistaken_map(after=lambda f: SegmentationMap(tuple(replace(one, first_label=0) for one in f.maps))),
    ),
    (
        "a_pixel_that_is_not_finite_is_an_error_inside_the_image_only",
        mistaken_map(lambda o, g, t: ({role: np.nan_to_num(table) for role, table in o.items()}, g, t)),
    ),
    (
        "of_equal_values_the_first_class_wins",
        mistaken_map(
            lambda o, g, t: ({role: table + np.arange(len(table))[:, None, None] for role, table in o.items()}, g, t)
        ),
    ),
    ("decoding_is_pure", mistaken_map(spoils_its_input)),
    ("decoding_is_pure", RemembersAMap),
    ("results_outlive_the_engines_memory", KeepsALogit),
    ("networks_of_other_families_are_refused", TakesAnyMap),
    ("open_sizes_are_refused", TakesAnyMap),
]


@pytest.mark.parametrize(("promise", "bad"), MAP_MISTAKES)
def test_a_broken_promise_of_a_map_is_caught(promise: str, bad: type[Decoder]) -> None:
    CHECKS[promise](subject_of("segmentation", RightMap))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        CHECKS[promise](subject_of("segmentation", bad))


RightClass: Any = DECODERS["classification"]


def mistaken_class(
    before: Callable[[Any, Geometry, Thresholds], Arguments] = lambda *arguments: arguments,
    after: Callable[[Classification], Classification] = lambda found: found,
) -> type[Decoder]:
    class Mistaken(RightClass):  # type: ignore[misc]
        def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> Classification:
            return after(super().decode(*before(outputs, geometry, thresholds)))

    return Mistaken


def spoils_a_logit(outputs: Any, place: Geometry, thresholds: Thresholds) -> Arguments:
    outputs["logits"][0] += 1
    return outputs, place, thresholds


class HidesTheUnlikely(RightClass):  # type: ignore[misc]
    def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> Classification:
        found: Classification = super().decode(outputs, geometry, thresholds)
        likely = found.scores > thresholds.score
        return Classification(found.classes[likely], found.scores[likely])


class OverflowsAtOnce(RightClass):  # type: ignore[misc]
    def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> Classification:
        powers = np.exp(outputs["logits"])
        best = np.argsort(-powers, kind="stable")[:5]
        return Classification(best.astype(np.int32), (powers / powers.sum())[best].astype(np.float32))


class KeepsTheLogits(RightClass):  # type: ignore[misc]
    def decode(self, outputs: Any, geometry: Geometry, thresholds: Thresholds) -> Classification:
        found: Classification = super().decode(outputs, geometry, thresholds)
        view = outputs["logits"][: len(found)]
        view[:] = found.scores
        return replace(found, scores=view)


class TakesAnyTable(RightClass):  # type: ignore[misc]
    @classmethod
    def match(cls, shapes: Any, *_: object) -> dict[str, str]:
        return {"logits": next(iter(shapes))}


CLASS_MISTAKES: list[tuple[str, type[Decoder]]] = [
    (
        "the_class_is_found_with_the_next_likely_behind_it",
        mistaken_class(after=lambda f: replace(f, classes=f.classes[::-1])),
    ),
    (
        "the_class_is_found_with_the_next_likely_behind_it",
        mistaken_class(after=lambda f: replace(f, scores=np.sqrt(f.scores))),
    ),
    ("no_threshold_hides_what_a_picture_is", HidesTheUnlikely),
    (
        "of_equal_logits_the_first_class_wins",
        mistaken_class(lambda o, g, t: ({role: table + np.arange(len(table)) for role, table in o.items()}, g, t)),
    ),
    (
        "a_logit_that_is_not_finite_is_an_error",
        mistaken_class(lambda o, g, t: ({role: np.nan_to_num(table) for role, table in o.items()}, g, t)),
    ),
    ("decoding_is_pure", mistaken_class(spoils_a_logit)),
    ("results_outlive_the_engines_memory", KeepsTheLogits),
    ("networks_of_other_families_are_refused", TakesAnyTable),
    ("open_sizes_are_refused", TakesAnyTable),
]


@pytest.mark.parametrize(("promise", "bad"), CLASS_MISTAKES)
def test_a_broken_promise_of_a_class_is_caught(promise: str, bad: type[Decoder]) -> None:
    CHECKS[promise](subject_of("classification", RightClass))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        CHECKS[promise](subject_of("classification", bad))


def test_an_early_overflow_of_the_softmax_is_caught() -> None:
    with pytest.raises(RuntimeWarning, match="overflow"):
        CHECKS["absurd_logits_give_scores_from_0_to_1_and_no_warning"](subject_of("classification", OverflowsAtOnce))
