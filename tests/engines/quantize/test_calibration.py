"""A float bundle goes in, an INT8 bundle that sees the same comes out; or nothing does."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import tiny_networks

from engines.accuracy_loss import AccuracyLoss
from engines.bundle import Bundle, load_bundle
from engines.datasets import Dataset, LabelledImage, open_dataset
from engines.errors import BundleError, CalibrationRefusedError, DatasetError
from engines.evaluate import evaluate
from engines.importing import ImportOptions, import_network
from engines.passport import read_passport
from engines.quantize import calibration
from engines.quantize.agreement import Agreement
from engines.quantize.calibration import Calibration, CalibrationRequest, calibrate, scales_sha256
from engines.quantize.judge import Judgement, Limits
from engines.quantize.lint import lint
from engines.runtime import ON_THE_CPU
from sensors.opening import open_source

COLOURS = [(0, 40, 200), (255, 0, 0), (30, 220, 90), (120, 130, 140), (250, 250, 5)]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("calibration")
    return {
        kind: tiny_networks.make_bundle(folder / kind, convolutions=kind)  # type: ignore[arg-type]
        for kind in ("plain", "fragile")
    }


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    for number in range(40):
        colour = np.array(COLOURS[number % len(COLOURS)]) * (1 - number / 80)
        cv2.imwrite(str(folder / f"{number:02}.png"), tiny_networks.solid(*colour.astype(int).tolist()))
    return folder


def made(bundle: Bundle, drive: Path, folder: Path, dataset: Dataset | None = None, **request: object) -> Calibration:
    with open_source(str(drive)) as source:
        wanted = CalibrationRequest(frames=16, **request)  # type: ignore[arg-type]
        return calibrate(bundle, [source], folder, wanted, dataset)


def labelled(drive: Path, *, every_second_wrong: bool = False) -> Dataset:
    """The steady box of each image of the drive."""
    centre = np.array(tiny_networks.STEADY_BOX)
    box = np.concatenate([centre[:2] - centre[2:] / 2, centre[:2] + centre[2:] / 2])
    shifts = [14 * (number % 2) if every_second_wrong else 0 for number in range(40)]
    images = tuple(
        LabelledImage(path, box[None] - shift, np.array([2], np.int32), np.zeros(1, np.bool_))
        for path, shift in zip(sorted(drive.iterdir()), shifts, strict=True)
    )
    return Dataset("drive", "val", tiny_networks.LABELS, images)


def test_a_network_that_bears_it_is_int8_in_every_layer(
    bundles: dict[str, Bundle], drive: Path, tmp_path: Path
) -> None:
    result = made(bundles["plain"], drive, tmp_path / "int8")
    assert (result.layers, result.left_in_float, result.int8_share) == (3, (), 1.0)
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "int8" / "model.onnx").graph.node)
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (3, 6)
    assert lint(onnx.load(tmp_path / "int8" / "model.onnx")) == []
    assert {one.engine for one in result.verdict.judgements} == set(ON_THE_CPU)
    assert all(one.agreement.share == 1 for one in result.verdict.judgements)


def test_the_layer_that_goes_blind_stays_in_float(bundles: dict[str, Bundle], drive: Path, tmp_path: Path) -> None:
    result = made(bundles["fragile"], drive, tmp_path / "int8")
    assert result.left_in_float == ("conv2",)
    assert 0 < result.int8_share < 1
    assert all(one.agreement.share > 0.95 for one in result.verdict.judgements)


def test_labels_judge_too(bundles: dict[str, Bundle], drive: Path, tmp_path: Path) -> None:
    dataset = labelled(drive)
    result = made(bundles["fragile"], drive, tmp_path / "int8", dataset, limits=Limits(0.02, 0.0))
    for judgement in result.verdict.judgements:
        assert judgement.accuracy is not None
        found = evaluate(load_bundle(tmp_path / "int8"), dataset, engine=judgement.engine)
        assert judgement.accuracy.after.ap50 == pytest.approx(found.ap50)
        assert judgement.accuracy.before.ap50 == pytest.approx(evaluate(bundles["fragile"], dataset).ap50)
        low, high = judgement.accuracy.loss_bounds
        assert low <= judgement.accuracy.loss <= high


def test_a_loss_is_bounded_by_the_same_images_of_both(bundles: dict[str, Bundle], drive: Path) -> None:
    found = evaluate(bundles["plain"], labelled(drive, every_second_wrong=True))
    assert 0.1 < found.ap50 < 0.9
    assert np.ptp([found.ap50_of(drawn) for drawn in np.random.default_rng(0).integers(0, 40, (50, 40))]) > 0.05
    assert AccuracyLoss(found, found).loss_bounds == (0, 0)  # however the images are drawn
    better = evaluate(bundles["plain"], labelled(drive))
    low, high = AccuracyLoss(better, found).loss_bounds
    assert 0 < low < AccuracyLoss(better, found).loss < high


def test_what_loses_more_than_it_may_is_never_written(bundles: dict[str, Bundle], drive: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CalibrationRefusedError, match=r"finds [01]\.\d+ of what float finds, and --min-agreement is 1\.01"
    ) as refused:
        made(bundles["fragile"], drive, tmp_path / "int8", limits=Limits(0.02, 1.01))
    assert refused.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_the_passport_says_what_was_done(bundles: dict[str, Bundle], drive: Path, tmp_path: Path) -> None:
    result = made(bundles["fragile"], drive, tmp_path / "int8", weight_bits=7)
    passport, int8 = read_passport(tmp_path / "int8"), load_bundle(tmp_path / "int8")
    facts = passport["calibrated"]
    assert passport["imported"] == read_passport(bundles["fragile"].folder)["imported"]
    assert facts["from_bundle_sha256"] == bundles["fragile"].sha256
    assert facts["onnx_sha256"] == hashlib.sha256(int8.model.read_bytes()).hexdigest()
    assert facts["scales_sha256"] == scales_sha256(onnx.load(int8.model))
    assert (facts["method"], facts["weight_bits"], facts["left_in_float"]) == (result.method, 7, ["conv2"])
    assert facts["frames"]["calibrated_on"] + facts["frames"]["judged_by"] == 32
    assert set(facts["judged"]) == set(ON_THE_CPU)
    assert (int8.settings, int8.labels) == (bundles["fragile"].settings, bundles["fragile"].labels)


def test_the_scales_are_those_of_the_frames_and_nothing_else(
    bundles: dict[str, Bundle], drive: Path, tmp_path: Path
) -> None:
    hashes = []
    for name in ("one", "other"):
        made(bundles["plain"], drive, tmp_path / name)
        hashes.append(load_bundle(tmp_path / name).sha256)
    assert hashes[0] == hashes[1]


def test_a_quantised_network_is_not_quantised_again(bundles: dict[str, Bundle], drive: Path, tmp_path: Path) -> None:
    made(bundles["plain"], drive, tmp_path / "int8")
    with pytest.raises(BundleError, match="is quantised already"):
        made(load_bundle(tmp_path / "int8"), drive, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_place_that_is_taken_is_refused_before_anything_is_read(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    (tmp_path / "int8").mkdir()
    with pytest.raises(BundleError, match="exists already"):
        calibrate(bundles["plain"], [], tmp_path / "int8")


def test_the_float_bundle_is_not_replaced_by_its_own_int8(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = bundles["plain"]
    with pytest.raises(BundleError, match="is the float bundle itself; give the INT8 one a folder of its own"):
        calibrate(bundle, [], bundle.folder, replace_existing=True)


def test_whom_it_is_owed_to_goes_along(drive: Path, tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "float")
    (bundle.folder / "ATTRIBUTION.csv").write_text("file,author\n")
    made(bundle, drive, tmp_path / "int8")
    assert (tmp_path / "int8" / "ATTRIBUTION.csv").read_text() == "file,author\n"


def test_frames_on_which_float_finds_nothing_judge_nothing(
    bundles: dict[str, Bundle], drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "FEWEST_FINDS", 1000)
    with pytest.raises(DatasetError, match=r"float finds \d+ boxes on the frames to judge by, and 1000 are needed"):
        made(bundles["plain"], drive, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


def test_an_accuracy_that_is_no_number_is_an_objection() -> None:
    all_of_it = Agreement(9, 9)

    class NoNumber(AccuracyLoss):
        loss = float("nan")

    before = SimpleNamespace(measure="mean IoU", value=float("nan"))
    judgement = Judgement("onnxruntime", all_of_it, all_of_it, NoNumber(before, before))  # type: ignore[arg-type]
    assert "it loses nan mean IoU" in judgement.objection(Limits())


def test_what_int8_invents_is_an_objection() -> None:
    judgement = Judgement("onnxruntime", Agreement(9, 9), Agreement(9, 50), None)
    assert "float finds 0.180 of what it finds, the rest is invented" in judgement.objection(Limits())


def test_masks_are_calibrated_by_their_overlap(drive: Path, tmp_path: Path) -> None:
    result = made(tiny_networks.make_segmenter_bundle(tmp_path / "masks"), drive, tmp_path / "int8")
    assert all(one.agreement.share > 0.85 for one in result.verdict.judgements)
    assert all(one.agreement.count > 2 for one in result.verdict.judgements)  # of three colours, light and dark


@pytest.mark.data
def test_a_real_network_keeps_its_accuracy_on_both_engines(data: Path, tmp_path: Path) -> None:
    """yolo11n bears INT8 in every layer: 0.651 in float; a fault of placement or of an engine costs it 0.1 and more."""
    bundle = import_network(data / "models" / "yolo11n_320_float.onnx", tmp_path / "float", ImportOptions())
    made(bundle, data / "drives" / "videos" / "solidWhiteRight.mp4", tmp_path / "int8", limits=Limits(min_same=0.8))
    highway = open_dataset(data / "labelled" / "highway", "val")
    for engine in ON_THE_CPU:
        found = evaluate(
            load_bundle(tmp_path / "int8"), highway, engine=engine, class_map=[("motorcycle", "motorbike")]
        )
        assert found.ap50 > 0.62, engine
