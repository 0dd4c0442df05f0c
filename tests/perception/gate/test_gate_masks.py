"""A gate between two segmenters: what passes, what is refused, and what the page shows of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import gated_networks as made
import numpy as np
import pytest
import tiny_networks
from command import Cli, Ended
from hypothesis import given
from hypothesis import strategies as st
from test_gate_command import is_red, pictures

from engines.bundle import Bundle
from engines.importing import ImportOptions, import_network
from engines.results import ClassMap, SegmentationMap
from perception.gate.mask_figures import GroupFigures, in_one_size, shared_masks

Gate = Callable[..., Ended]
GROUPS = {"colour": ("blue", "green", "red"), "shade": ("light", "dark")}


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made.make_segmenter(tmp_path_factory.mktemp("gate") / "masks")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_coloured_drive(tmp_path_factory.mktemp("drives") / "stripes")


@pytest.fixture
def gate(cli: Cli, baseline: Bundle, drive: Path, tmp_path: Path) -> Gate:
    def judge(candidate: Path, *words: object, limits: str = "") -> Ended:
        thresholds = tmp_path / "limits.toml"
        thresholds.write_text(made.LATE_ENOUGH + limits)
        sides = words if "--baseline" in words else ("--baseline", baseline.folder, drive, *words)
        how = ("--engine", "onnxruntime", "--thresholds", thresholds, "--json")
        return cli("gate", "--candidate", candidate, *how, *sides)

    return judge


def test_a_segmenter_passes_against_itself_with_every_pixel_the_same(
    gate: Gate, baseline: Bundle, tmp_path: Path
) -> None:
    ended = gate(baseline.folder, "--report", tmp_path / "gate")
    assert ended.code == 0
    groups = ended.facts["groups"]
    assert set(groups) == set(GROUPS)
    for group, names in GROUPS.items():
        figures = groups[group]
        assert (figures["changed"], figures["changed_p99"]) == (0, 0)
        assert figures["pixels"] == made.STRIPED_FRAMES * tiny_networks.SIDE**2
        assert set(figures["per_class"]) == set(names)
        assert {one["iou"] for one in figures["per_class"].values()} == {1}
    assert "No frame differs" in (tmp_path / "gate" / "index.html").read_text()
    assert ended.facts["candidate"]["sha256"] == baseline.sha256


@pytest.mark.parametrize(
    ("make", "figures"),
    [
        (made.damaged_segmenter, {"mean IoU of colour", "IoU of green in colour", "IoU of red in colour"}),
        (made.segmenter_with_swapped_classes, {"IoU of blue in colour", "IoU of red in colour"}),
        (made.swapped_channels, {"IoU of blue in colour", "IoU of red in colour"}),
        (made.segmenter_with_a_renamed_class, {"classes that the candidate lacks", "IoU of red in colour"}),
        (made.shifted_segmenter, {"IoU of light in shade", "share of shade's pixels that changed"}),
        (made.failing_segmenter, {"frames on which only the candidate fails"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_faulty_segmenter_is_refused_by_its_fault(
    gate: Gate, baseline: Bundle, tmp_path: Path, make: Callable[[Bundle, Path], Path], figures: set[str]
) -> None:
    ended = gate(make(baseline, tmp_path / "faulty"))
    assert ended.code == 1
    assert figures <= ended.refused
    sound = {"damaged_segmenter": "shade", "shifted_segmenter": "colour"}.get(make.__name__)
    assert not any(figure.endswith(f"in {sound}") for figure in ended.refused)


def test_the_pictures_show_where_masks_differ(gate: Gate, baseline: Bundle, tmp_path: Path) -> None:
    report = tmp_path / "gate"
    assert gate(made.damaged_segmenter(baseline, tmp_path / "faulty"), "--report", report).code == 1
    page = (report / "index.html").read_text()
    seen = pictures(page)
    assert len(seen) == 4 * made.STRIPED_FRAMES
    assert is_red(seen[2]) > 0.2  # of the baseline, where they differ: green and red things that the other lacks
    assert is_red(seen[3]) > 0.2  # of the candidate, which takes them for blue ones
    assert page.count("<svg") == 3
    assert re.search(r"pixels changed: \d+\.\d\d% of colour, 0\.00% of shade", page)
    assert "only this side sees one here" in page
    assert json.loads((report / "gate.json").read_text())["passed"] is False


def test_other_pixels_are_refused_by_their_setting_unless_only_what_is_found_counts(
    gate: Gate, baseline: Bundle, tmp_path: Path
) -> None:
    other = made.swapped_channels(baseline, tmp_path / "rgb")
    loose = "min_group_iou = 0\nmin_class_iou = 0\nmax_changed_pixels = 1\nmax_changed_pixels_p99 = 1\n"
    ended = gate(other, limits=loose)
    assert ended.refused == {"pixels that go in"}
    (row,) = [row for row in ended.facts["rows"] if row["figure"] == "pixels that go in"]
    assert row["measured"].startswith("BGR, scale 0.003922, ")
    assert " against RGB, scale 0.003922, " in row["measured"]
    assert gate(other, limits=loose + "same_preprocessing = false\n").code == 0


def test_a_class_of_masks_may_have_a_limit_of_its_own(gate: Gate, baseline: Bundle, tmp_path: Path) -> None:
    loose = "min_group_iou = 0\nmin_class_iou = 0\nmax_changed_pixels = 1\nmax_changed_pixels_p99 = 1\n"
    damaged = made.damaged_segmenter(baseline, tmp_path / "damaged")
    assert gate(damaged, limits=loose).code == 0
    assert gate(damaged, limits=loose + "iou_by_class = { red = 0.5 }\n").refused == {"IoU of red in colour"}
    typo = gate(damaged, limits=loose + "iou_by_class = { rde = 0.5 }\n")
    assert (typo.code, "did you mean 'red'" in typo.err) == (2, True)


def test_one_frame_that_changes_wholly_is_not_lost_among_the_others(
    gate: Gate, baseline: Bundle, tmp_path: Path
) -> None:
    loose = "min_group_iou = 0\nmin_class_iou = 0\nmax_changed_pixels = 1\nmax_changed_pixels_p99 = 0.3\n"
    damaged = made.damaged_segmenter(baseline, tmp_path / "damaged")
    assert gate(damaged, limits=loose).refused == {"the same on a frame, p99, colour"}


def test_a_drive_on_which_the_baseline_sees_one_class_is_no_verdict(
    gate: Gate, baseline: Bundle, tmp_path: Path
) -> None:
    ended = gate(baseline.folder, limits="min_class_pixels = 0.9\n")
    assert (ended.code, "sees only one class" in ended.err) == (3, True)


def test_segmenters_without_a_common_group_are_refused_in_words(gate: Gate, baseline: Bundle, tmp_path: Path) -> None:
    labels = str(tiny_networks.write_labels(tmp_path / "labels.txt", tiny_networks.SEGMENTER_LABELS))
    options = ImportOptions(labels=labels, colour="BGR", outputs={"hue": "colour", "night": "shade"})
    other = import_network(baseline.model, tmp_path / "other", options)
    ended = gate(other.folder)
    assert (ended.code, "has the groups hue, night, and the baseline colour, shade" in ended.err) == (2, True)


def test_masks_of_another_resolution_are_compared_at_the_baselines() -> None:
    coarse = np.array([[0, 1], [1, 0]], np.uint8)
    fine = in_one_size(np.zeros((4, 6), np.uint8), coarse)
    assert fine.tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[1, 1, 1, 0, 0, 0]] * 2


masks = st.lists(st.integers(0, 2), min_size=12, max_size=12).map(lambda c: np.array(c, np.uint8).reshape(3, 4))


@given(st.lists(st.tuples(masks, masks), min_size=1, max_size=4))
def test_figures_are_those_of_the_definition(frames: list[tuple[np.ndarray, np.ndarray]]) -> None:
    figures = GroupFigures(("a", "b", "c"))
    for one, other in frames:
        assert figures.add(one, other) == pytest.approx((one != other).mean())
    ours = np.concatenate([one.ravel() for one, _ in frames])
    theirs = np.concatenate([other.ravel() for _, other in frames])
    assert figures.changed_share == pytest.approx((ours != theirs).mean())
    for index, name in enumerate(("a", "b", "c")):
        either = ((ours == index) | (theirs == index)).sum()
        if not either:
            assert name not in figures.per_class()
            continue
        assert figures.per_class()[name].iou == pytest.approx(((ours == index) & (theirs == index)).sum() / either)


def test_a_class_is_what_it_is_called_in_its_group() -> None:
    groups = {"lanes": ("other", "lane"), "area": ("other", "road", "kerb")}
    found = SegmentationMap(
        (
            ClassMap("area", np.array([[0, 1, 2]], np.uint8), 0, 3),
            ClassMap("lanes", np.array([[0, 1, 1]], np.uint8), 3, 2),
        )
    )
    seen = shared_masks(found, ("road", "kerb", "other", "lane", "other"), groups)
    area, lanes = seen.of("area"), seen.of("lanes")
    assert area is not None
    assert lanes is not None
    assert (area.tolist(), lanes.tolist()) == ([[1, 2, 0]], [[1, 0, 0]])
    assert seen.of("sky") is None


@pytest.fixture(scope="module")
def lanes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A real segmenter of drivable road and lane lines; the names of its file's outputs are swapped."""
    options = ImportOptions(outputs={"drivable": "lanes", "lanes": "segmentation"})
    folder = tmp_path_factory.mktemp("bundles") / "lanes"
    return import_network(data / "models" / "twinlitenet_swapped_names.onnx", folder, options)


@pytest.mark.data
def test_a_real_segmenter_passes_against_itself(gate: Gate, lanes: Bundle, data: Path) -> None:
    drive = data / "drives" / "videos" / "solidWhiteRight.mp4"
    ended = gate(lanes.folder, drive, "--baseline", lanes.folder, "--duration", 0.12)
    assert ended.code == 0, ended.err
    assert {figures["changed"] for figures in ended.facts["groups"].values()} == {0}
    assert ended.facts["groups"]["lanes"]["per_class"]["lanes"]["baseline"] > 5_000


@pytest.mark.data
@pytest.mark.parametrize(
    ("make", "figures"),
    [
        (made.swapped_channels, {"pixels that go in", "IoU of lanes in lanes"}),
        (made.segmenter_with_swapped_lanes, {"IoU of lanes in lanes", "IoU of background in lanes"}),
        (made.with_a_damaged_layer, {"IoU of drivable in drivable", "IoU of lanes in lanes"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_real_segmenter_is_refused_when_it_is_spoilt(
    gate: Gate, lanes: Bundle, data: Path, tmp_path: Path, make: Callable[[Bundle, Path], Path], figures: set[str]
) -> None:
    drive = data / "drives" / "videos" / "solidWhiteRight.mp4"
    spoilt = make(lanes, tmp_path / "spoilt")
    ended = gate(spoilt, drive, "--baseline", lanes.folder, "--duration", 0.12)
    assert ended.code == 1, ended.err
    assert figures <= ended.refused
