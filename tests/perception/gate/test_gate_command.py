"""`perception gate` as a person or a script meets it: what passes, what is refused, and what the report shows."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import gated_networks as made
import numpy as np
import pytest
import tiny_networks
from command import Cli, Ended
from numpy.typing import NDArray

from engines.bundle import Bundle, load_bundle
from engines.importing import ImportOptions, import_network
from engines.inference import decoder_for
from engines.results import Thresholds
from engines.runtime import open_engine
from perception.gate.side import Side
from perception.gate.thresholds import GateThresholds
from perception.network import Network
from perception.tracking import TrackerSettings
from sensors.frame import Frame


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made.make_baseline(tmp_path_factory.mktemp("gate") / "tiny")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_drive(tmp_path_factory.mktemp("drives") / "road")


@pytest.fixture
def gate(cli: Cli, baseline: Bundle, drive: Path, tmp_path: Path) -> Cli:
    """Judge a candidate over the drive, whatever the machine's speed; more words go behind."""

    def judge(candidate: Path, *words: object, limits: str = "") -> Ended:
        thresholds = tmp_path / "limits.toml"
        thresholds.write_text(made.LATE_ENOUGH + limits)
        return cli(
            "gate", "--baseline", baseline.folder, "--candidate", candidate, drive, "--engine", "onnxruntime",
            "--thresholds", thresholds, "--json", *words,
        )  # fmt: skip

    return judge


def test_classifiers_are_refused_and_who_compares_them_is_said(gate: Cli, baseline: Bundle, tmp_path: Path) -> None:
    """On either side: a class of the whole frame has no place on it."""
    classifier = tiny_networks.make_classifier_bundle(tmp_path / "signs")
    for words in ((), ("--baseline", classifier.folder)):
        ended = gate(classifier.folder, *words)
        assert ended.code == 2
        assert f"{classifier.folder}: classifies, and has no place on a frame to compare" in ended.err
        assert "`perception engine evaluate` compares classifiers" in ended.err


def test_a_bundle_passes_against_itself_with_everything_the_same(gate: Cli, baseline: Bundle) -> None:
    ended = gate(baseline.folder)
    assert ended.code == 0
    facts = ended.facts
    assert facts["passed"] is True
    everything = facts["all_classes"]
    assert (everything["baseline"], everything["candidate"]) == (made.BOXES, made.BOXES)
    assert (everything["match_rate"], everything["mean_iou"], everything["score_shift"]) == (1, 1, 0)
    assert facts["share_of_doubles"] == [1 / 3, 1 / 3]
    tracks = facts["tracks"]
    assert tracks["baseline"] == tracks["candidate"] > 0
    assert (tracks["vanished"], tracks["appeared"], tracks["id_switches"]) == (0, 0, 0)
    assert facts["candidate"]["sha256"] == baseline.sha256
    assert facts["frames"] == made.FRAMES


@pytest.mark.parametrize(
    ("make", "figures"),
    [
        (made.damaged, {"match rate", "recall", "recall of blue"}),
        (made.swapped_classes, {"match rate", "recall", "precision", "recall of blue", "precision of blue"}),
        (made.swapped_channels, {"match rate", "recall of blue"}),
        (made.failing, {"frames on which only the candidate fails"}),
        (made.renamed_class, {"classes that the candidate lacks", "recall of red"}),
        (made.moved, {"mean IoU of partners"}),
        (made.fainter, {"score shift", "score shift of red"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_faulty_bundle_is_refused_by_its_fault(
    gate: Cli, baseline: Bundle, tmp_path: Path, make: Callable[[Bundle, Path], Path], figures: set[str]
) -> None:
    ended = gate(make(baseline, tmp_path / "faulty"))
    assert ended.code == 1
    assert figures <= ended.refused
    assert ended.facts["passed"] is False


@pytest.mark.parametrize(("nms", "figures"), [(0.5, {"recall", "recall of red"}), (0.9, {"precision"})])
def test_another_nms_is_refused_by_its_setting_and_by_what_it_does(
    gate: Cli, baseline: Bundle, nms: float, figures: set[str]
) -> None:
    ended = gate(baseline.folder, "--candidate-nms", nms)
    assert ended.code == 1
    assert {"score thresholds and NMS", "share of doubles", *figures} <= ended.refused

    by_deed = gate(baseline.folder, "--candidate-nms", nms, limits="same_postprocessing = false")
    assert by_deed.code == 1
    assert by_deed.refused == ended.refused - {"score thresholds and NMS"}


def test_another_score_threshold_is_refused(gate: Cli, baseline: Bundle) -> None:
    ended = gate(baseline.folder, "--candidate-score", 0.65)
    assert ended.code == 1
    assert {"score thresholds and NMS", "recall of red"} <= ended.refused


def test_a_setting_without_effect_passes_where_only_effects_count(gate: Cli, baseline: Bundle) -> None:
    words = (baseline.folder, "--candidate-nms", 0.66)
    assert gate(*words).refused == {"score thresholds and NMS"}
    assert gate(*words, limits="same_postprocessing = false").code == 0


def test_its_int8_passes_within_the_declared_thresholds(gate: Cli, cli: Cli, tmp_path: Path, drive: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "float", convolutions="fragile")
    int8 = tmp_path / "int8"
    assert cli("engine", "calibrate", bundle.folder, "--frames", drive, "-o", int8).code == 0
    assert load_bundle(int8).sha256 != bundle.sha256
    ended = gate(int8, "--baseline", bundle.folder)
    assert ended.code == 0, ended.out
    assert ended.facts["all_classes"]["match_rate"] > 0.95
    assert "calibrated" in ended.facts["candidate"]["passport"]


def test_a_class_may_have_a_limit_of_its_own(gate: Cli, baseline: Bundle, tmp_path: Path) -> None:
    loose = "min_match_rate = 0\nmin_recall = 0\nmax_vanished_tracks = 1\nmax_doubles_change = 1\n"
    damaged = made.damaged(baseline, tmp_path / "damaged")
    assert gate(damaged, limits=loose + "min_class_recall = 0\n").code == 0
    ended = gate(damaged, limits=loose + "min_class_recall = 0\nrecall_by_class = { blue = 0.5 }\n")
    assert ended.refused == {"recall of blue"}
    assert gate(damaged, limits=loose + "recall_by_class = { bleu = 0.5 }\n").code == 2


def labelled(drive: Path, dataset: Path, truth: str) -> Path:
    """The drive's images as a dataset, with the same truth for each."""
    shutil.copytree(drive, dataset / "images" / "val")
    (dataset / "labels" / "val").mkdir(parents=True)
    for image in drive.iterdir():
        (dataset / "labels" / "val" / f"{image.stem}.txt").write_text(truth)
    (dataset / "data.yaml").write_text("val: images/val\nnames: [blue, green, red]\n")
    return dataset


def test_accuracy_is_judged_where_there_are_labels(gate: Cli, baseline: Bundle, drive: Path, tmp_path: Path) -> None:
    dataset = labelled(drive, tmp_path / "labelled", "2 0.6875 0.625 0.375 0.5\n")
    same = gate(baseline.folder, "--labels", dataset)
    assert same.code == 0
    assert same.facts["ap50"]["baseline"] == same.facts["ap50"]["candidate"] > 0.9
    assert same.facts["ap50"]["images"] == made.FRAMES
    swapped = gate(made.swapped_classes(baseline, tmp_path / "swapped"), "--labels", dataset)
    assert "AP50 on labelled images" in swapped.refused


def test_accuracy_is_judged_with_each_sides_own_nms(gate: Cli, baseline: Bundle, drive: Path, tmp_path: Path) -> None:
    both_red_things = "2 0.6875 0.625 0.375 0.5\n2 0.78125 0.625 0.375 0.5\n"
    dataset = labelled(drive, tmp_path / "labelled", both_red_things)
    ended = gate(baseline.folder, "--labels", dataset, "--candidate-nms", 0.5)
    assert "AP50 on labelled images" in ended.refused
    assert ended.facts["ap50"]["baseline"] > ended.facts["ap50"]["candidate"] + 0.3


def test_ids_last_over_frames_whatever_their_order(baseline: Bundle) -> None:
    with open_engine(baseline, "onnxruntime", slots=1) as engine:
        network = Network(baseline, engine, decoder_for(baseline, engine), Thresholds(), TrackerSettings())
        side = Side(network, baseline.labels, GateThresholds())
        ids = []
        for number, blue in enumerate((250, 165)):  # the best of all boxes, then worse than one of red
            frame = Frame("front", number, number * 100_000_000, 0, 0, tiny_networks.solid(blue))
            seen = side.look(frame, 0).seen
            assert seen is not None
            ids.append(dict(zip(seen.found.scores.round(2).tolist(), seen.found.track_ids.tolist(), strict=True)))
        again = side.look(Frame("front", 0, 0, 0, 0, tiny_networks.solid(165)), 1).seen
        assert again is not None
    assert list(ids[0]) == pytest.approx([0.98, 0.7, 0.6])
    assert list(ids[1]) == pytest.approx([0.7, 0.65, 0.6])
    assert next(iter(ids[0].values())) == list(ids[1].values())[1]
    assert again.found.track_ids[0] == 1, "another drive begins anew"


# --- what the report shows -----------------------------------------------------------------------------


def pictures(page: str) -> list[NDArray[np.uint8]]:
    """The page's pictures, baseline and candidate in turns."""
    coded = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    return [np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), 1), np.uint8) for one in coded]


def is_red(image: NDArray[np.uint8]) -> float:
    """Share of pixels in the colour of a box that only one side has."""
    blue, green, red = (image[..., channel].astype(int) for channel in range(3))
    return float(((red > 190) & (green < 110) & (blue < 110)).mean())


@pytest.mark.parametrize(
    ("make", "alone"),
    [
        (made.damaged, (True, False)),
        (made.swapped_classes, (True, True)),
        (made.swapped_channels, (True, True)),
        (None, (False, True)),
    ],
    ids=["damaged", "swapped classes", "RGB", "NMS"],
)
def test_the_pictures_show_on_which_side_a_box_stands_alone(
    gate: Cli,
    baseline: Bundle,
    tmp_path: Path,
    make: Callable[[Bundle, Path], Path] | None,
    alone: tuple[bool, bool],
) -> None:
    report = tmp_path / "reports" / "gate"
    if make is None:
        ended = gate(baseline.folder, "--candidate-nms", 0.9, "--report", report)
    else:
        ended = gate(make(baseline, tmp_path / "faulty"), "--report", report)
    assert ended.code == 1
    page = (report / "index.html").read_text()
    seen = pictures(page)
    assert 40 <= len(seen) <= 80
    assert tuple(is_red(picture) > 0.002 for picture in seen[:2]) == alone
    assert page.count("<svg") == 4
    assert "http" not in page.replace("http-equiv", ""), "the page needs something beside it"
    assert json.loads((report / "gate.json").read_text())["rows"] == ended.facts["rows"]
    assert [path.name for path in report.parent.iterdir()] == ["gate"]


def test_a_box_that_no_figure_counts_is_dashed_and_said_to_be_excused(
    gate: Cli, baseline: Bundle, tmp_path: Path
) -> None:
    """One red thing scores 0.6. With a threshold of 0.58 it hovers about it, and the candidate's NMS removes it."""
    words = (baseline.folder, "--score", 0.58, "--candidate-nms", 0.5, "--report")
    loose = "same_postprocessing = false\nmax_doubles_change = 1\nmax_vanished_tracks = 1\n"
    ended = gate(*words, tmp_path / "excused", limits=loose)
    assert (ended.code, ended.facts["all_classes"]["match_rate"]) == (0, 1)
    page = (tmp_path / "excused" / "index.html").read_text()
    assert "1 only on the baseline (1 of them excused), 0 only on the candidate" in page
    assert "less than 0.05 above the threshold" in page
    dashed = is_red(pictures(page)[0])

    strict = gate(*words, tmp_path / "counted", limits=loose + "margin = 0\n")
    assert strict.facts["all_classes"]["match_rate"] < 0.9
    page = (tmp_path / "counted" / "index.html").read_text()
    assert "1 only on the baseline, 0 only" in page
    assert 0 < dashed < 0.85 * is_red(pictures(page)[0])


def test_the_worst_frames_come_first_and_the_least_are_left_out(gate: Cli, baseline: Bundle, tmp_path: Path) -> None:
    gate(made.damaged(baseline, tmp_path / "damaged"), "--report", tmp_path / "gate")
    page = (tmp_path / "gate" / "index.html").read_text()
    shown = [int(number) for number in re.findall(r"frame (\d+)</h3>", page)]
    # The blue thing that is lost scores the more the more blue there is: most in every eighth frame.
    assert shown[:3] == [7, 15, 23]
    assert len(shown) == 20
    assert not {0, 8, 16} & set(shown)


def test_the_report_of_what_is_equal_says_so(gate: Cli, baseline: Bundle, tmp_path: Path) -> None:
    assert gate(baseline.folder, "--report", tmp_path / "gate").code == 0
    page = (tmp_path / "gate" / "index.html").read_text()
    assert "No frame differs" in page
    assert baseline.sha256 in page
    assert page.count('<tr class="no">') == 0
    assert "min_match_rate = 0.85" in page.replace("&quot;", '"')


def test_names_in_the_page_are_only_text(cli: Cli, gate: Cli, baseline: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    shutil.copytree(baseline.folder, folder)
    assert gate(folder, "--report", tmp_path / "gate").code == 0
    assert "<img src=x" not in (tmp_path / "gate" / "index.html").read_text()


def test_a_report_is_replaced_only_when_asked_and_never_anything_else(
    gate: Cli, baseline: Bundle, tmp_path: Path
) -> None:
    report = tmp_path / "gate"
    assert gate(baseline.folder, "--report", report).code == 0
    before = (report / "gate.json").read_bytes()
    refused = gate(baseline.folder, "--report", report)
    assert (refused.code, "exists already" in refused.err) == (2, True)
    assert (report / "gate.json").read_bytes() == before
    assert gate(baseline.folder, "--report", report, "--force", "--candidate-nms", 0.9).code == 1
    assert json.loads((report / "gate.json").read_text())["passed"] is False
    assert {path.name for path in tmp_path.iterdir()} == {"gate", "limits.toml"}
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("mine")
    assert gate(baseline.folder, "--report", precious, "--force").code == 2
    assert (precious / "data").read_text() == "mine"


# --- what cannot be judged, and what is asked wrongly ---------------------------------------------------


def test_what_cannot_be_judged_is_no_verdict(gate: Cli, baseline: Bundle, drive: Path, tmp_path: Path) -> None:
    report = tmp_path / "gate"
    nothing = gate(baseline.folder, "--start", 1000, "--report", report)
    assert (nothing.code, "there is no frame" in nothing.err) == (3, True)
    few = gate(baseline.folder, limits="min_boxes = 1000")
    assert (few.code, f"in {made.FRAMES} frames the baseline finds {made.BOXES} boxes" in few.err) == (3, True)
    broken = made.failing(baseline, tmp_path / "broken")
    against_broken = gate(baseline.folder, "--baseline", broken)
    assert (against_broken.code, "the baseline fails on all" in against_broken.err) == (3, True)
    both = gate(broken, "--baseline", broken)
    assert both.code == 3
    assert not report.exists()


def test_frames_on_which_both_fail_are_nobodys_fault_but_counted(cli: Cli, tmp_path: Path) -> None:
    picky = tiny_networks.make_bundle(tmp_path / "picky", on_white="nan").folder
    drive = made.write_drive(tmp_path / "road")
    cv2.imwrite(str(drive / "50.png"), tiny_networks.solid(255, 255, 255))
    limits = tmp_path / "limits.toml"
    limits.write_text(made.LATE_ENOUGH)
    ended = cli("gate", "--baseline", picky, "--candidate", picky, drive, "--thresholds", limits, "--json")
    assert ended.code == 0
    failures = ended.facts["failures"]
    assert (failures["both"], failures["only_baseline"], failures["only_candidate"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "val"), "--labels"),
        (("--class-score", "red"), "CLASS=SCORE"),
        (("--class-score", "red=2"), "2 is no score"),
        (("--class-score", "rde=0.2"), "did you mean 'red'"),
        (("--engine", "openvnio"), "openvnio"),
    ],
)
def test_a_wrong_request_is_told_in_words(gate: Cli, baseline: Bundle, words: tuple[str, ...], message: str) -> None:
    ended = gate(baseline.folder, *words)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_a_segmenter_against_a_detector_and_a_missing_candidate_are_refused_in_words(
    gate: Cli, cli: Cli, baseline: Bundle, drive: Path, tmp_path: Path
) -> None:
    segmenter = tiny_networks.make_segmenter_bundle(tmp_path / "masks").folder
    ended = gate(segmenter)
    assert (ended.code, "finds masks, and the baseline finds boxes" in ended.err) == (2, True)
    missing = cli("gate", "--baseline", baseline.folder, drive)
    assert (missing.code, "--candidate BUNDLE is missing" in missing.err) == (2, True)


def test_a_person_reads_every_figure_and_the_verdict(cli: Cli, baseline: Bundle, drive: Path, tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text(made.LATE_ENOUGH)
    words = ("gate", "--baseline", baseline.folder, "--candidate", baseline.folder, drive, "--thresholds", limits)
    ended = cli(*words, "--candidate-nms", 0.9)
    lines = ended.out.splitlines()
    assert ended.code == 1
    assert any(line.startswith("x precision ") and line.endswith("at least 0.85") for line in lines)
    assert any(line.startswith("  recall ") for line in lines)
    assert "refused" in lines[-1]
    assert "figures beyond their limit" in lines[-1]
    assert cli(*words).out.splitlines()[-1].endswith(": passed")


@pytest.fixture(scope="module")
def road(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    options = ImportOptions(decoder="yolox", labels="coco")
    return import_network(data / "models" / "yolox_nano.onnx", tmp_path_factory.mktemp("bundles") / "road", options)


@pytest.fixture
def real_gate(cli: Cli, road: Bundle, data: Path, tmp_path: Path) -> Cli:
    """Judge a candidate against a real network on a second and a half of motorway."""

    def judge(candidate: Path, *words: object) -> Ended:
        limits = tmp_path / "limits.toml"
        limits.write_text(made.LATE_ENOUGH)
        drive = data / "drives" / "videos" / "solidWhiteRight.mp4"
        return cli(
            "gate", "--baseline", road.folder, "--candidate", candidate, drive, "--duration", 1.5,
            "--thresholds", limits, "--json", *words,
        )  # fmt: skip

    return judge


@pytest.mark.data
def test_a_real_network_passes_against_itself_on_a_real_drive(real_gate: Cli, road: Bundle) -> None:
    same = real_gate(road.folder)
    assert same.code == 0
    assert same.facts["all_classes"]["match_rate"] == 1
    assert same.facts["all_classes"]["baseline"] > 50


@pytest.mark.data
@pytest.mark.parametrize(
    ("make", "figures"),
    [
        (made.swapped_channels, {"pixels that go in", "recall of car"}),
        (made.with_cars_called_trucks, {"match rate", "recall of car", "precision of truck"}),
        (made.with_a_damaged_layer, {"match rate", "recall of car"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_real_network_is_refused_when_it_is_spoilt(
    real_gate: Cli, road: Bundle, tmp_path: Path, make: Callable[[Bundle, Path], Path], figures: set[str]
) -> None:
    ended = real_gate(make(road, tmp_path / "spoilt"), "--report", tmp_path / "gate")
    assert ended.code == 1, ended.err
    assert figures <= ended.refused
    assert any(is_red(picture) > 0.0005 for picture in pictures((tmp_path / "gate" / "index.html").read_text())[:4])


@pytest.mark.data
def test_a_real_network_is_refused_with_another_nms(real_gate: Cli, road: Bundle) -> None:
    assert {"score thresholds and NMS", "share of doubles"} <= real_gate(road.folder, "--candidate-nms", 0.9).refused
