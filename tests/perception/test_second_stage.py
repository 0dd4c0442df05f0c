"""A classifier on the crops of what another network found: which crops, what is said of them, and how it fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.bundle import Bundle, BundleSettings
from engines.decoders import build_decoder
from engines.errors import EngineError
from engines.letterbox import Fit, Geometry, Preprocessor
from engines.results import CropClasses, Detections, Thresholds
from engines.runtime import Completed
from perception.commands.app import main
from perception.errors import UsageError
from perception.ledger import Entry
from perception.message import Status
from perception.network import Crops, Network
from perception.second_stage import SecondStage, crop, looked_at
from perception.tracking import TrackerSettings
from sensors.frame import Frame, PixelFormat

SIDE = 8
BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class ColourEngine:
    """Says how much blue, green and red a picture has. Demands a slot's life, and takes several rows."""

    name, device, reads_nv12 = "fake", "test", False

    def __init__(self, bundle: Bundle, max_rows: int, judge: Callable[[NDArray[np.float32]], None]) -> None:
        self.slots, self.max_rows = 2, max_rows
        self.sizes: list[int] = []  # rows of each submit
        self._judge = judge
        self._preprocessor = Preprocessor(bundle.settings.pixels, SIDE, SIDE)
        self._inputs = np.zeros((self.slots, max_rows, 3, SIDE, SIDE), np.float32)
        self._rows: list[int] = [0] * self.slots

    def place(self, width: int, height: int) -> Geometry:
        return self._preprocessor.geometry(width, height)

    def stage(
        self, slot: int, row: int, image: NDArray[np.uint8], geometry: Geometry, kind: PixelFormat = PixelFormat.BGR
    ) -> None:
        assert self._rows[slot] == 0, "staged while in flight"
        self._preprocessor.write(image, geometry, self._inputs[slot, row], kind)

    def submit(self, slot: int, rows: int) -> None:
        assert 1 <= rows <= self.max_rows
        assert self._rows[slot] == 0, "submitted twice"
        self._rows[slot] = rows
        self.sizes.append(rows)

    def wait(self, slot: int) -> Completed:
        rows, self._rows[slot] = self._rows[slot], 0
        assert rows, "waited for what was not submitted"
        inputs = self._inputs[slot, :rows]
        for tensor in inputs:
            self._judge(tensor)
        return Completed(tuple({"logits": tensor.mean(axis=(1, 2)) * 10} for tensor in inputs), 5, 9)

    @property
    def is_idle(self) -> bool:
        return not any(self._rows)


def bundle(name: str, decoder: str, fit: str = "letterbox-centred") -> Bundle:
    table = {"decoder": decoder, "input": {"width": SIDE, "height": SIDE, "colour": "BGR"}, "fit": fit}
    chosen = BundleSettings.model_validate({**table, "scale": 1 / 255, "outputs": {"logits": "classes"}})
    return Bundle(Path("/bundles") / name, chosen, tiny_networks.LABELS)


def detector(name: str = "road") -> Network:
    engine: Any = SimpleNamespace()
    return Network(bundle(name, "yolov8"), engine, engine, Thresholds(), TrackerSettings())


def classifier(
    max_rows: int = 1, judge: Callable[[Any], None] = lambda tensor: None, fit: str = "letterbox-centred", **crops: Any
) -> Network:
    made = bundle("colours", "classification", fit)
    engine: Any = ColourEngine(made, max_rows, judge)
    decoder = build_decoder("classification", {"logits": (3,)}, SIDE, SIDE)
    return Network(made, engine, decoder, Thresholds(), TrackerSettings(), Crops("road", **crops))


def found(*boxes: tuple[int, int, int, int], classes: tuple[int, ...] = ()) -> Detections:
    kinds = np.array(classes or [0] * len(boxes), np.int32)
    scores = np.linspace(0.9, 0.4, len(boxes), dtype=np.float32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, kinds)


def frame(*patches: tuple[tuple[int, int, int, int], tuple[int, int, int]]) -> Frame:
    image = np.full((120, 160, 3), 60, np.uint8)
    for (left, top, right, bottom), colour in patches:
        image[top:bottom, left:right] = colour
    return Frame("front", 0, 0, 0, 0, image)


PATCHES = [((10, 10, 40, 40), GREEN), ((60, 10, 90, 60), BLUE), ((100, 70, 150, 110), RED), ((10, 70, 60, 110), GREEN)]
BOXES = [box for box, _ in PATCHES]


def entry() -> Entry:
    return Entry("front", 0, 0, 0)


def said(stage: SecondStage, of: Detections, picture: Frame) -> tuple[CropClasses, Entry]:
    account = entry()
    results, status, reason = stage.add([of], picture, account)
    assert (status, reason) == (Status.OK, "")
    assert results[0] is of
    assert isinstance(results[1], CropClasses)
    return results[1], account


@pytest.mark.parametrize("max_rows", [1, 3, 8])
def test_each_detection_is_called_what_its_own_crop_shows(max_rows: int) -> None:
    network = classifier(max_rows, margin=0.0)
    result, account = said(SecondStage([detector(), network]), found(*BOXES), frame(*PATCHES))
    assert [tiny_networks.LABELS[kind] for kind in result.classes] == ["green", "blue", "red", "green"]
    assert result.rows.tolist() == [0, 1, 2, 3]
    assert result.network == 0
    assert (result.scores > 0.8).all()
    assert network.engine.sizes == {1: [1, 1, 1, 1], 3: [3, 1], 8: [4]}[max_rows]  # type: ignore[attr-defined]
    assert (account.crops, account.crops_left_out) == (4, 0)
    assert account.inferences == ((5, 9),)
    assert account.inferred_ns == 9


def test_a_frame_in_nv12_gives_the_same_classes() -> None:
    yuv = cv2.cvtColor(frame(*PATCHES).image, cv2.COLOR_BGR2YUV_I420)
    chroma = yuv[120:].reshape(2, -1)
    nv12 = np.concatenate([yuv[:120].ravel(), chroma.T.ravel()]).reshape(180, 160)
    picture = Frame("front", 0, 0, 0, 0, nv12, PixelFormat.NV12)
    result, _ = said(SecondStage([detector(), classifier()]), found(*BOXES), picture)
    assert result.classes.tolist() == [1, 0, 2, 1]


def test_what_is_too_small_or_of_another_class_is_not_looked_at() -> None:
    small = (0, 0, 30, 15)
    of = found(small, *BOXES, classes=(0, 0, 1, 2, 0))
    stage = SecondStage([detector(), classifier(classes=("blue", "red"), min_px=16)])
    result, account = said(stage, of, frame(*PATCHES))
    assert result.rows.tolist() == [1, 3, 4]
    assert (account.crops, account.crops_left_out) == (3, 0)


def test_of_too_many_the_best_are_looked_at_and_the_rest_is_counted() -> None:
    result, account = said(SecondStage([detector(), classifier(most=3)]), found(*BOXES * 4), frame(*PATCHES))
    assert result.rows.tolist() == [0, 1, 2]
    assert (account.crops, account.crops_left_out) == (3, 13)


def test_where_nothing_was_found_nothing_is_inferred() -> None:
    network = classifier()
    result, account = said(SecondStage([detector(), network]), found(), frame())
    assert len(result) == 0
    assert account.inferences == ((0, 0),)
    assert network.engine.sizes == []  # type: ignore[attr-defined]


def test_without_a_second_stage_results_go_through_untouched() -> None:
    results, account = [found(*BOXES)], entry()
    assert SecondStage([detector()]).add(results, frame(), account) == (results, Status.OK, "")  # type: ignore[arg-type]
    assert account.inferences == ()


def fail_on_blue(tensor: NDArray[np.float32]) -> None:
    if tensor[0].mean() > 0.5:
        raise EngineError("fake", "inference failed (too blue)", "show it another one")


def nan_on_blue(tensor: NDArray[np.float32]) -> None:
    if tensor[0].mean() > 0.5:
        tensor.fill(np.nan)


@pytest.mark.parametrize("judge", [fail_on_blue, nan_on_blue])
@pytest.mark.parametrize("max_rows", [1, 3])
def test_a_crop_that_fails_fails_the_frame_and_no_other(judge: Any, max_rows: int) -> None:
    network = classifier(max_rows, judge, margin=0.0)
    stage, account = SecondStage([detector(), network]), entry()
    results, status, reason = stage.add([found(*BOXES)], frame(*PATCHES), account)
    assert (results, status) == ([], Status.INFERENCE_FAILED)
    assert reason.startswith("colours: ")
    assert len(account.inferences) == 1
    assert network.engine.is_idle  # type: ignore[attr-defined]
    sound = [patch for patch in PATCHES if patch[1] != BLUE]
    result, _ = said(stage, found(*(box for box, _ in sound)), frame(*sound))
    assert result.classes.tolist() == [1, 2, 1]


# --- the crop itself --------------------------------------------------------------------------------------


def test_a_box_of_the_inputs_shape_is_nothing_but_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    canvas = np.empty((8, 16, 3), np.uint8)
    crop(image, np.float32([40, 20, 104, 52]), canvas)
    whole = image[20:52, 40:104].reshape(8, 4, 16, 4, 3).mean(axis=(1, 3))  # each pixel counts, of a fourth of the size
    np.testing.assert_allclose(canvas, whole, atol=0.51)


def test_what_lies_beside_a_narrow_box_is_taken_in_or_the_box_is_stretched() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:80, 40:60] = 255
    kept, stretched = (np.empty((30, 30, 3), np.uint8) for _ in range(2))
    crop(image, np.float32([40, 20, 60, 80]), kept)
    crop(image, np.float32([40, 20, 60, 80]), stretched, keeps_aspect=False)
    assert (stretched == 255).all()
    np.testing.assert_array_equal((kept[..., 0] > 127).any(axis=0).nonzero()[0], np.arange(10, 20))


@given(
    left=st.floats(-50, 190),
    top=st.floats(-50, 150),
    width=st.floats(0.1, 200),
    height=st.floats(0.1, 200),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    margin=st.floats(0, 1),
    keeps_aspect=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_any_box_fills_the_canvas_with_its_own_colours_or_the_padding(
    left: float,
    top: float,
    width: float,
    height: float,
    size: tuple[int, int],
    margin: float,
    keeps_aspect: bool,
) -> None:
    """Pixels say where they come from: the canvas's middle has to be the box's middle, within its pixels' size."""
    rows, columns = np.mgrid[0:120, 0:160]
    image = np.stack([columns, rows, np.full_like(rows, 200)], axis=2).astype(np.uint8)
    canvas = np.full((size[1], size[0], 3), 7, np.uint8)
    box = np.float32([left, top, left + width, top + height])
    crop(image, box, canvas, margin=margin, keeps_aspect=keeps_aspect, pad=114)
    is_pad, is_image = (canvas == 114).all(axis=2), canvas[..., 2] == 200
    assert (is_pad | is_image).all()
    x, y = left + width / 2, top + height / 2
    seen = canvas[size[1] // 2, size[0] // 2]
    sides = (width, size[0]), (height, size[1])
    reach_x, reach_y = (3 + side * (1 + 2 * margin) * 3 / cells for side, cells in sides)
    if keeps_aspect:
        reach_x = reach_y = 3 * max(reach_x, reach_y)
    if seen[2] == 200 and 5 < x < 155 and 5 < y < 115:
        assert abs(int(seen[0]) - x) <= reach_x
        assert abs(int(seen[1]) - y) <= reach_y


# --- what fits together -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looker", "crops", "first", "message"),
    [
        ("yolov8", Crops("road"), ["yolov8"], "finds no class of a picture (its decoder is yolov8); give a network"),
        (
            "classification",
            Crops("raod"),
            ["yolov8"],
            "crops of 'raod', and no network has that name; name one",
        ),
        ("classification", Crops("road"), ["yolov8", "yolov8"], "and 2 networks have that name"),
        ("classification", Crops("road"), ["segmentation"], "crops of road, which finds no boxes; name a detector"),
        (
            "classification",
            Crops("road", ("blu",)),
            ["yolov8"],
            "which is no class of road; did you mean 'blue'?",
        ),
    ],
)
def test_what_does_not_fit_together_is_said(looker: str, crops: Crops, first: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        looked_at(bundle("signs", looker), crops, [bundle("road", decoder) for decoder in first])
    assert message in str(error.value)


# --- as a person runs it ----------------------------------------------------------------------------------


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Frames on which the tiny detector's steady box, (16, 12) to (28, 28) of class red, has a colour of its own."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for number, colour in enumerate((BLUE, GREEN, RED, GREEN)):
        image = tiny_networks.solid(0)
        image[12:28, 16:28] = colour
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def replay(monkeypatch: pytest.MonkeyPatch, capsys: Any, *words: object) -> tuple[int, dict[str, Any], str]:
    monkeypatch.setattr(sys, "argv", ["perception", "replay", *map(str, words), "--json"])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if printed.out else {}, printed.err


def test_a_replay_says_of_each_box_what_the_second_network_sees_in_it(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    first = tiny_networks.make_bundle(tmp_path / "tiny").folder
    second = tiny_networks.make_classifier_bundle(tmp_path / "colours", fit=Fit.LETTERBOX_CENTRED).folder
    words = (drive, "--model", first, "--second", second, "--second-class", "red", "--second-min-px", 8)
    lines = tmp_path / "found.jsonl"
    code, figures, _ = replay(monkeypatch, capsys, *words, "--jsonl", lines, "--render", tmp_path / "seen.mp4")
    assert code == 0
    assert figures["crops"] == {"classified": 4, "left_out": 0}
    assert figures["bundle"] == ["tiny", "colours"]
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    steady = [[box for box in one["detections"] if box["class"] == "red" and box["score"] == 0.7] for one in told[:4]]
    assert [box["crop_classes"][0]["class"] for (box,) in steady] == ["blue", "green", "red", "green"]
    assert all(box["crop_classes"][0]["network"] == 1 for (box,) in steady)
    assert [len(one["ledger"]["networks"]) for one in told[:4]] == [2] * 4
    _, again, _ = replay(monkeypatch, capsys, *words)
    assert again["digest"] == figures["digest"]
    _, alone, _ = replay(monkeypatch, capsys, drive, "--model", first)
    assert "crops" not in alone
    assert alone["digest"] != figures["digest"]


def test_a_frame_whose_crop_fails_is_a_failed_frame_and_the_others_are_published(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    image = tiny_networks.solid(0)
    image[10:30, 14:30] = 255  # the margin too
    cv2.imwrite(str(drive / "1.png"), image)
    first = tiny_networks.make_bundle(tmp_path / "tiny").folder
    second = tiny_networks.make_classifier_bundle(tmp_path / "colours", on_white="nan", fit=Fit.STRETCH).folder
    lines = tmp_path / "found.jsonl"
    words = (drive, "--model", first, "--second", second, "--second-min-px", 8, "--jsonl", lines)
    code, figures, _ = replay(monkeypatch, capsys, *words)
    assert code == 0
    assert (figures["published"], figures["failed"]) == (3, {"inference_failed": 1})
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [one["status"] for one in told[:4]] == ["OK", "INFERENCE_FAILED", "OK", "OK"]
    assert told[1]["status_reason"] == "colours: output 'logits' holds NaN or infinity"
    assert told[1]["detections"] == []


def test_a_second_stage_without_a_detector_is_refused(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    second = tiny_networks.make_classifier_bundle(tmp_path / "colours").folder
    code, _, told = replay(monkeypatch, capsys, drive, "--model", second, "--second", second)
    assert code == 2
    assert "--second: looks at what a detector finds, and no --model is one; give a detector too" in told
    code, _, told = replay(monkeypatch, capsys, drive, "--model", second, "--second-class", "red")
    assert code == 2
    assert "--second-class: there is no network that looks at it; give --second BUNDLE" in told


def test_a_classifier_alone_says_what_each_frame_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = tmp_path / "drive"
    folder.mkdir()
    for number, colour in enumerate((BLUE, RED)):
        cv2.imwrite(str(folder / f"{number}.png"), tiny_networks.solid(*colour))
    model, lines = tiny_networks.make_classifier_bundle(tmp_path / "colours").folder, tmp_path / "found.jsonl"
    code, figures, _ = replay(monkeypatch, capsys, folder, "--model", model, "--jsonl", lines)
    assert (code, figures["published"], figures["detections"]) == (0, 2, 0)
    told = [json.loads(line)["image_classes"] for line in lines.read_text().splitlines()]
    assert [of_frame[0]["class"] for of_frame in told[:2]] == ["blue", "red"]
    assert len(told[0]) == 3
    assert sum(one["score"] for one in told[0]) == pytest.approx(1, abs=1e-5)
