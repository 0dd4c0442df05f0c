"""Classifiers and segmenters trained from beginning to end: by the same loop, with the same promises as a detector."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from engines.accuracy import measure  # noqa: E402
from engines.datasets import open_dataset  # noqa: E402
from engines.errors import DatasetError, TrainingError  # noqa: E402
from engines.quantize.calibration import CalibrationRequest, calibrate  # noqa: E402
from engines.quantize.judge import Limits  # noqa: E402
from engines.quantize.labelled_source import open_labelled  # noqa: E402
from engines.training import trainer  # noqa: E402
from engines.training.checkpoint import CHECKPOINT  # noqa: E402
from engines.training.datasets import Augmentation, Labels, open_mixture  # noqa: E402
from engines.training.networks.classifier import NETWORKS as CLASSIFIERS  # noqa: E402
from engines.training.networks.classifier import ClassifierShape  # noqa: E402
from engines.training.networks.segmenter import NETWORKS as SEGMENTERS  # noqa: E402
from engines.training.networks.segmenter import SegmenterShape  # noqa: E402
from engines.training.settings import Machine, Settings  # noqa: E402
from engines.training.tasks import TASKS, task_of  # noqa: E402

ROOT = Path(__file__).parents[3]
CPU = Machine(device="cpu", precision="fp32")
TINY = {
    "tiny-classifier": (CLASSIFIERS, ClassifierShape(stem=16, widths=(16, 16), blocks=(1, 1), dropout=0.5)),
    "tiny-segmenter": (SEGMENTERS, SegmenterShape(stem=16, widths=(16, 16, 16, 16), blocks=(1, 1, 1, 1), neck=16)),
}
LABELS = {"tiny-classifier": Labels.CATEGORIES, "tiny-segmenter": Labels.MASKS}
NAMES = sorted(TINY)
SCRIPT = f"""
import sys
from pathlib import Path
from engines.training import trainer
from engines.training.datasets import Labels, open_mixture
from engines.training.networks import classifier, segmenter
from engines.training.networks.classifier import ClassifierShape
from engines.training.networks.segmenter import SegmenterShape
from engines.training.settings import Machine, Settings
from engines.training.tasks import task_of

classifier.NETWORKS["tiny-classifier"] = {TINY["tiny-classifier"][1]!r}
segmenter.NETWORKS["tiny-segmenter"] = {TINY["tiny-segmenter"][1]!r}
data, folder, settings, machine = sys.argv[1:]
settings = eval(settings)
mixture = open_mixture(Path(data), "train", labels=task_of(settings.network).labels)
trainer.train(mixture, Path(folder), settings, eval(machine), shows_bar=False)
"""


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (table, shape) in TINY.items():
        monkeypatch.setitem(table, name, shape)


def drawn(folder: Path, network: str) -> Path:
    """Eight images: of a bright disc or a square, each a class; or of a bright road under a dark sky, with its mask."""
    rng = np.random.default_rng(0)
    for number in range(8):
        image = rng.integers(0, 60, (64, 64, 3), np.uint8)
        if network == "tiny-classifier":
            kind, (x, y) = number % 2, rng.integers(20, 44, 2).tolist()
            if kind == 0:
                cv2.circle(image, (x, y), 16, (40, 200, 250), -1)
            else:
                cv2.rectangle(image, (x - 15, y - 15), (x + 15, y + 15), (250, 80, 60), -1)
            place = folder / "train" / ("disc", "square")[kind]
        else:
            mask, horizon = np.zeros((64, 64), np.uint8), int(rng.integers(20, 44))
            image[horizon:] += 150
            mask[horizon:] = 1
            mask[:, :2] = 255
            place = folder / "images" / "train"
            (folder / "masks" / "train").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "masks" / "train" / f"{number}.png"), mask)
            (folder / "masks.toml").write_text("classes = ['sky', 'road']\nunlabelled = [255]\nthings = ['road']\n")
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number}.png"), image)
    return folder


def short(network: str, steps: int, **settings: Any) -> Settings:
    usual = {"network": network, "width": 64, "height": 64, "batch": 4, "warm_up_steps": 2}
    merged = usual | settings
    return Settings(**merged, epochs=steps * merged["batch"] / 8)


def train(data: Path, folder: Path, settings: Settings, **more: Any) -> Any:
    mixture = open_mixture(data, "train", labels=LABELS[settings.network])
    return trainer.train(mixture, folder, settings, CPU, shows_bar=False, **more)


def assert_same(found: Path, expected: Path) -> None:
    one, other = (torch.load(folder / CHECKPOINT, weights_only=True) for folder in (found, expected))
    assert one["step"] == other["step"]
    for of in ("network", "average"):
        for name, value in other[of].items():
            torch.testing.assert_close(one[of][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", NAMES)
def test_it_learns_what_is_drawn_and_its_bundle_is_judged_as_it_was(network: str, tmp_path: Path) -> None:
    data = drawn(tmp_path / "data", network)
    mixture = open_mixture(data, "train", labels=LABELS[network])
    settings = short(network, 60, batch=8, rate=4e-3, average_decay=0.9)
    bundle = train(data, tmp_path / "run", settings, augmentation=Augmentation.off(), validation=mixture)
    found = measure(bundle, open_dataset(data, "train"), engine="onnxruntime")
    assert found.value > (0.9 if network == "tiny-classifier" else 0.8)  # a class map at a quarter has coarse edges
    last = (tmp_path / "run" / "validation.csv").read_text().splitlines()[-1].split(",")
    assert float(last[1]) == pytest.approx(found.value, abs=2e-3)


@pytest.mark.parametrize("network", NAMES)
def test_stopped_and_resumed_it_is_the_training_that_was_not(network: str, tmp_path: Path) -> None:
    """Dropout too: torch's generator goes on where it stood."""
    data = drawn(tmp_path / "data", network)
    train(data, tmp_path / "whole", short(network, 6))
    answers = iter([False, False, False, True])
    assert train(data, tmp_path / "cut", short(network, 6), should_stop=lambda: next(answers)) is None
    assert train(data, tmp_path / "cut", short(network, 6), resume=True) is not None
    assert_same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("network", NAMES)
def test_two_processes_take_the_steps_of_one(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dropout, of which each process draws its own, as with frozen BatchNorm."""
    shape = TINY["tiny-classifier"][1]
    script = SCRIPT.replace("dropout=0.5", "dropout=0.0")
    monkeypatch.setitem(CLASSIFIERS, "tiny-classifier", replace(shape, dropout=0.0))
    data, settings = drawn(tmp_path / "data", network), short(network, 3, freeze_norm=True, optimiser="sgd", rate=1e-3)
    train(data, tmp_path / "one", settings)
    (tmp_path / "script.py").write_text(script)
    arguments = [str(tmp_path / "script.py"), str(data), str(tmp_path / "two"), repr(settings), repr(CPU)]
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert_same(tmp_path / "two", tmp_path / "one")


def test_a_classifier_is_calibrated_on_images_by_class_and_judged_by_top_1(tmp_path: Path) -> None:
    data = drawn(tmp_path / "data", "tiny-classifier")
    for number in range(8, 24):  # enough to calibrate on, and to judge by
        for name in ("disc", "square"):
            place = data / "train" / name
            source = next(place.glob("?.png"))
            (place / f"{number:02}.png").write_bytes(source.read_bytes())
    bundle = train(data, tmp_path / "run", short("tiny-classifier", 40, rate=4e-3, average_decay=0.9))
    source = open_labelled(str(data))
    assert source is not None
    dataset = open_dataset(data, "train")
    request = CalibrationRequest(Limits(max_loss=0.02), frames=12)
    result = calibrate(bundle, [source], tmp_path / "int8", request, dataset)
    assert result.left_in_float == ()
    for judgement in result.verdict.judgements:
        assert judgement.accuracy is not None
        assert judgement.accuracy.before.measure == "top-1"
        assert judgement.accuracy.loss <= 0.02


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_network_is_of_one_task_and_of_plain_operators(task: Any) -> None:
    for name in task.networks:
        assert task_of(name) is task
        network = task.build(name, 5)
        kinds = {type(layer).__name__ for layer in network.modules() if not list(layer.children())}
        plain = {"Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Upsample", "Identity", "AdaptiveAvgPool2d", "Dropout"}
        assert kinds <= plain
        assert all(layer.groups == 1 for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))


def test_labels_of_another_kind_are_refused_with_what_to_do(tmp_path: Path) -> None:
    pictures, areas = (drawn(tmp_path / name, name) for name in NAMES)
    with pytest.raises(DatasetError, match="has a class for each image and no boxes; train a classifier of it"):
        open_mixture(pictures, "train")
    with pytest.raises(DatasetError, match="has no class for each image; give images by class"):
        open_mixture(areas, "train", labels=Labels.CATEGORIES)
    with pytest.raises(DatasetError, match="has no masks; give images/SPLIT"):
        open_mixture(pictures, "train", labels=Labels.MASKS)
    boxes = open_mixture(areas, "train")
    with pytest.raises(TrainingError, match="a classifier: learns from a class for each image, not from boxes"):
        trainer.train(boxes, tmp_path / "run", short("tiny-classifier", 1), CPU, shows_bar=False)


def test_classes_of_masks_that_are_mapped_to_nothing_are_background_or_not_learnt(tmp_path: Path) -> None:
    drawn(tmp_path / "data", "tiny-segmenter")
    for classes, elsewhere in (('"road"', 255), ('"background", "road"', 0)):
        file = tmp_path / "mixture.toml"
        file.write_text(f'classes = [{classes}]\n[[dataset]]\npath = "data"\n')
        mask = open_mixture(file, "train", labels=Labels.MASKS).read(0).mask
        assert mask is not None
        assert mask[0, 32] == elsewhere
        assert mask[63, 32] == len(classes.split(",")) - 1
        assert mask[63, 0] == 255  # unlabelled stays so
