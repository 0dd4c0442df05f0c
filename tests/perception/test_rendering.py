"""What is drawn, pixel by pixel where it matters, and the video that holds it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.results import Classification, ClassMap, CropClasses, Detections, SegmentationMap
from perception.errors import UsageError
from perception.rendering import VideoWriter, colour_of, draw
from perception.whole_file import whole_file

GREY = 90
LABELS = [("car", "person")]


def blank(width: int = 800, height: int = 600) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def found(*boxes: tuple[float, float, float, float], ids: tuple[int, ...] = ()) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.zeros(count, np.int32),
        np.array(ids or [0] * count, np.int64),
    )


def changed(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((image != GREY).any(axis=2))


def test_a_box_lies_on_its_pixels_in_its_tracks_colour() -> None:
    image = draw(blank(), [found((200, 150, 500, 400), ids=(3,))], LABELS)
    for x, y in ((200, 300), (500, 300), (350, 400), (350, 150)):
        assert image[y, x].tolist() == list(colour_of(3)), (x, y)
    inside = changed(image)[160:390, 210:490]
    assert not inside.any(), "a box is a frame, not a plate"
    outside = changed(image).copy()
    outside[110:405, 195:505] = False
    assert not outside.any()


def test_the_label_stands_on_top_of_its_box() -> None:
    drawn = changed(draw(blank(), [found((200, 150, 500, 400))], LABELS))
    assert drawn[135:149, 202:260].mean() > 0.95  # the edge of a letter may be as grey as the image


@pytest.mark.parametrize(
    "box", [(0, 0, 60, 40), (760, 0, 800, 40), (770, 580, 800, 600), (0, 590, 30, 600), (795, 300, 800, 310)]
)
def test_a_label_is_moved_to_lie_inside_the_image(box: tuple[float, float, float, float]) -> None:
    image = draw(blank(), [found(box, ids=(1,))], LABELS)
    assert image.shape == (600, 800, 3)
    plate = (image == np.array(colour_of(1), np.uint8)).all(axis=2)
    columns = np.flatnonzero(plate.sum(axis=0) > 6)
    assert columns[-1] - columns[0] >= 60, "its whole width is seen"


def test_the_image_that_was_given_is_not_changed() -> None:
    for size in ((800, 600), (64, 48)):
        image = blank(*size)
        drawn = draw(image, [found((5, 5, 40, 40))], LABELS, "caption")
        assert (image == GREY).all()
        assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize(
    ("size", "factor"), [((64, 48), 12), ((960, 540), 1), ((960, 539), 2), ((1920, 1080), 1), ((1, 1), 540)]
)
def test_small_frames_are_enlarged_by_whole_factors(size: tuple[int, int], factor: int) -> None:
    drawn = draw(blank(*size), [], [])
    assert drawn.shape == (size[1] * factor, size[0] * factor, 3)
    assert not changed(drawn).any()


def test_boxes_of_an_enlarged_frame_are_enlarged_with_it() -> None:
    image = draw(blank(400, 300), [found((100, 75, 250, 200), ids=(3,))], LABELS)
    assert image.shape == (600, 800, 3)
    for x, y in ((200, 250), (500, 250), (350, 400)):
        assert image[y, x].tolist() == list(colour_of(3)), (x, y)


def test_a_caption_stands_in_the_lower_left_corner() -> None:
    drawn = changed(draw(blank(), [], [], "front  0.00 s  frame 0"))
    assert drawn[-8:, :100].mean() > 0.95
    assert not drawn[:500].any()


def test_the_best_box_is_drawn_on_top() -> None:
    image = draw(blank(), [found((200, 150, 500, 400), (200, 150, 500, 400), ids=(1, 2))], LABELS)
    assert image[400, 350].tolist() == list(colour_of(1))


def test_a_box_with_an_id_lies_over_a_better_one_without() -> None:
    image = draw(blank(), [found((200, 150, 500, 400), (200, 150, 500, 400), ids=(0, 2))], LABELS)
    assert image[400, 350].tolist() == list(colour_of(2))


def test_every_network_has_labels_of_its_own() -> None:
    one, other = found((100, 100, 200, 200)), found((400, 300, 600, 500))
    both = changed(draw(blank(), [one, other], [("car",), ("a much longer name",)]))
    assert both[286:299, 402:520].mean() > 0.95
    assert not both[86:99, 300:].any()
    with pytest.raises(ValueError, match="zip"):
        draw(blank(), [one, other], LABELS)


MASK_LABELS = ("background", "road", "background", "line")
ROAD_COLOUR, LINE_COLOUR = (60, 200, 60), (230, 50, 255)


def road_and_line(line_columns: int = 1) -> SegmentationMap:
    """On a map of 80 x 60: the lower half is road; in its middle a vertical line."""
    road, line = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    road[30:] = 1
    line[30:, 40 : 40 + line_columns] = 1
    return SegmentationMap((ClassMap("road", road, 0, 2), ClassMap("line", line, 2, 2)))


def likeness(pixel: NDArray[np.uint8], colour: tuple[int, int, int]) -> float:
    """0: the grey of the image, 1: the colour itself."""
    way = np.array(colour) - GREY
    return float((pixel.astype(float) - GREY) @ way / (way @ way))


def test_an_area_is_translucent_with_a_strong_edge_and_a_thin_line_is_strong() -> None:
    image = draw(blank(), [road_and_line()], [MASK_LABELS])
    assert likeness(image[500, 100], ROAD_COLOUR) == pytest.approx(0.3, abs=0.02)
    assert likeness(image[301, 100], ROAD_COLOUR) > 0.8, "its edge"
    assert likeness(image[450, 405], LINE_COLOUR) > 0.75
    assert not changed(image)[60:298, 150:].any(), "what is of no class is not touched"


def test_a_mask_lies_where_the_image_has_it_whatever_their_sizes() -> None:
    for size in ((800, 600), (1201, 599), (400, 300)):
        image = draw(blank(*size), [road_and_line()], [MASK_LABELS])
        height, width = image.shape[:2]
        drawn = changed(image)[:, width // 4 : width // 3]
        rows = np.flatnonzero(drawn.any(axis=1))
        assert rows[0] == pytest.approx(height / 2, abs=height / 120)
        assert rows[-1] == height - 1


def test_the_legend_names_what_is_seen_and_only_that() -> None:
    both = draw(blank(), [road_and_line()], [MASK_LABELS])
    one = draw(blank(), [road_and_line(line_columns=0)], [MASK_LABELS])
    for image, seen in ((both, {ROAD_COLOUR, LINE_COLOUR}), (one, {ROAD_COLOUR})):
        corner = image[:60, :80].reshape(-1, 3)
        assert {c for c in (ROAD_COLOUR, LINE_COLOUR) if (corner == c).all(axis=1).sum() > 100} == seen


def test_a_class_keeps_its_colour_where_another_is_not_seen() -> None:
    found = road_and_line()
    no_road = SegmentationMap((ClassMap("road", np.zeros((60, 80), np.uint8), 0, 2), found.maps[1]))
    image = draw(blank(), [no_road], [MASK_LABELS])
    assert likeness(image[450, 405], LINE_COLOUR) > 0.75


def test_every_class_but_those_of_no_interest_is_drawn() -> None:
    classes = np.repeat(np.arange(3, dtype=np.uint8), 20)[:, None].repeat(80, axis=1)  # three bands of rows
    found = SegmentationMap((ClassMap("ground", classes, 0, 3),))
    image = draw(blank(), [found], [("grass", "Void", "road")])
    bands = [changed(image)[rows, 400:].all() for rows in (slice(0, 190), slice(210, 390), slice(410, 600))]
    assert bands == [True, False, True]
    assert image[100, 600].tolist() != image[500, 600].tolist()


def test_two_networks_masks_have_colours_apart_and_boxes_lie_on_top() -> None:
    whole = np.ones((60, 80), np.uint8)
    left, right = whole.copy(), whole.copy()
    left[:, 40:] = right[:, :40] = 0
    masks = [SegmentationMap((ClassMap("a", half, 0, 2),)) for half in (left, right)]
    box = found((200, 150, 500, 400), ids=(3,))
    names = [("background", "a"), LABELS[0], ("background", "b")]
    image = draw(blank(), [masks[0], box, masks[1]], names)
    assert image[500, 100].tolist() != image[500, 700].tolist()
    for x, y in ((200, 300), (500, 300)):
        assert image[y, x].tolist() == list(colour_of(3))


def test_colours_stay_with_an_id_and_differ_between_neighbours() -> None:
    colours = [colour_of(track) for track in range(1, 12)]
    assert colours == [colour_of(track) for track in range(1, 12)]
    assert len(set(colours)) == 11
    assert len({*colour_of(0)}) == 1, "no track: grey"
    for one, other in pairwise(colours):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 60


def frames_of(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format="bgr24"))
            for frame in container.decode(video=0)
        ]


def test_a_video_has_its_frames_stamps_and_pictures(tmp_path: Path) -> None:
    stamps_ms = [5_000, 5_033, 5_067, 5_200, 5_201, 9_000]  # from 0 on in the video; with a gap
    with VideoWriter(tmp_path / "v.mp4", 30.0) as video:
        for number, stamp_ms in enumerate(stamps_ms):
            video.write(np.full((48, 64, 3), 40 * number, np.uint8), stamp_ms * 1_000_000)
    frames = frames_of(tmp_path / "v.mp4")
    assert [stamp_s for stamp_s, _ in frames] == pytest.approx([(s - 5_000) / 1000 for s in stamps_ms], abs=1e-4)
    assert [float(image.mean()) for _, image in frames] == pytest.approx([40 * n for n in range(6)], abs=4)


def test_a_stamp_that_stands_still_does_not_end_the_video(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "v.mp4", None) as video:
        for stamp_ns in (7, 7, 7, 1_000_000_000):
            video.write(blank(64, 48), stamp_ns)
    stamps = [stamp_s for stamp_s, _ in frames_of(tmp_path / "v.mp4")]
    assert len(stamps) == 4
    assert stamps == sorted(set(stamps))
    assert stamps[-1] == pytest.approx(1, abs=1e-3)


def test_odd_sizes_lose_a_pixel_and_other_sizes_are_scaled(tmp_path: Path) -> None:
    sizes = [(65, 49), (65, 49), (130, 98), (30, 49), (65, 20), (64, 48)]
    with VideoWriter(tmp_path / "v.mp4", 10.0) as video:
        for number, size in enumerate(sizes):
            image = blank(*size)
            image[:, : size[0] // 2] = 200  # the left half is bright
            video.write(image, number * 100_000_000)
    frames = frames_of(tmp_path / "v.mp4")
    assert len(frames) == len(sizes)
    for _, image in frames:
        assert image.shape == (48, 64, 3)
        assert image[:, 4:28].mean() > 180
        assert image[:, 36:60].mean() < 110


@pytest.mark.parametrize("size", [(1, 1000), (1, 1), (3000, 1), (20_000, 16), (16, 20_000)], ids=str)
def test_pictures_of_any_shape_become_a_video(tmp_path: Path, size: tuple[int, int]) -> None:
    with VideoWriter(tmp_path / "v.mp4", 10.0) as video:
        for number in range(2):
            drawn = draw(blank(*size), [], [])
            assert drawn.shape[1] <= max(size[0], 8192), "it would take gigabytes"
            video.write(drawn, number * 100_000_000)
    pictures = [image for _, image in frames_of(tmp_path / "v.mp4")]
    assert len(pictures) == 2
    assert max(pictures[0].shape) <= 8192
    assert float(pictures[1].mean()) == pytest.approx(GREY, abs=4)


def test_a_whole_file_takes_its_name_at_the_end_only(tmp_path: Path) -> None:
    (tmp_path / "f.mp4").write_text("before")
    with whole_file(tmp_path / "f.mp4") as draft:
        draft.write_text("after")
        assert draft.suffix == ".mp4"
        assert draft.parent == tmp_path
        assert (tmp_path / "f.mp4").read_text() == "before"
    assert (tmp_path / "f.mp4").read_text() == "after"
    assert [path.name for path in tmp_path.iterdir()] == ["f.mp4"]


def test_a_file_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    def write() -> None:
        with whole_file(tmp_path / "f.jsonl") as draft:
            draft.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path, message in ((tmp_path / "none" / "f", "cannot be written"), (tmp_path / "folder", "is a folder")):
        with pytest.raises(UsageError, match=message), whole_file(path):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_that_nothing_was_written_into_takes_no_name(tmp_path: Path) -> None:
    (tmp_path / "old.jsonl").write_text("before")
    with whole_file(tmp_path / "old.jsonl"), whole_file(tmp_path / "new.mp4") as draft, VideoWriter(draft, 25.0):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["old.jsonl"]
    assert (tmp_path / "old.jsonl").read_text() == "before"


def test_what_a_second_network_says_lengthens_the_label_of_its_box_alone() -> None:
    one, other = (100, 150, 130, 300), (100, 400, 130, 500)
    labels = [*LABELS, ("stop", "yield")]
    plain = changed(draw(blank(), [found(one, other)], LABELS))
    crops = CropClasses(0, np.array([1]), np.array([1], np.int32), np.float32([0.75]))
    drawn = changed(draw(blank(), [found(one, other), crops], labels))
    np.testing.assert_array_equal(drawn[:350], plain[:350])
    assert drawn[385:399].any(axis=0).sum() > 1.5 * plain[385:399].any(axis=0).sum()


def test_what_the_whole_image_is_stands_in_the_corner() -> None:
    drawn = changed(draw(blank(), [Classification(np.array([1, 0], np.int32), np.float32([0.9, 0.1]))], LABELS))
    assert drawn[:40, :150].any()
    assert not drawn[60:].any()
    assert not drawn[:, 300:].any()
