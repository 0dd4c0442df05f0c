"""What is particular to each kind of network in a training; `trainer.py` has what all have in common.

A task is a value: what it learns from, how a picture and its target are made, what is lost, what it is judged by, and
what bundle comes of it. A further kind of network is a further value in `TASKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from engines.bundle import Bundle
from engines.decoders.classification import Classifier
from engines.decoders.segmentation import Segmentation
from engines.training.batches import MakePicture, MakeTarget, Target
from engines.training.class_losses import category_loss, mask_loss
from engines.training.datasets import Augmentation, Example, Labels, Mixture, augment, varied
from engines.training.export import CROP_FIT, FIT, export_bundle, export_class_bundle
from engines.training.losses import Loss, Objects, detection_loss
from engines.training.networks import classifier, detector, segmenter
from engines.training.networks.backbone import Backbone
from engines.training.networks.detector import Grid
from engines.training.networks.widths import narrow
from engines.training.validation import validate, validate_categories, validate_masks

JudgeBatch: TypeAlias = Callable[[Tensor, list[Any]], Loss]  # what a network put out for a batch, and its targets
Size: TypeAlias = tuple[int, int]  # width, height


class Export(Protocol):
    """Makes a bundle of a network, see `export_bundle`."""

    def __call__(
        self,
        network: Any,
        labels: Sequence[str],
        size: Size,
        folder: Path,
        /,
        *,
        trained: Mapping[str, Any] | None = None,
        replace_existing: bool = False,
    ) -> Bundle: ...


@dataclass(frozen=True)
class Task:
    """One kind of network."""

    name: str  # what such a network is called
    labels: Labels  # what of a dataset it learns from
    networks: Mapping[str, Any]  # by the name that --network has
    build: Callable[[str, int], Backbone]  # of a name, for so many classes
    size: Size  # of its input where none is asked for
    multiple: int  # its sides have to be multiples of this
    augmentation: Augmentation
    picture: MakePicture
    target: MakeTarget
    parts: tuple[str, ...]  # of the loss
    loss: Callable[[Mixture, Size, torch.device], JudgeBatch]
    measure: str  # what it is judged by
    validate: Callable[[Any, Mixture, Size], dict[str, float]]
    export: Export


def objects_of(example: Example) -> Target:
    """What is known of a picture with boxes."""
    return Objects(
        torch.from_numpy(np.ascontiguousarray(example.boxes_xyxy, np.float32)),
        torch.from_numpy(np.ascontiguousarray(example.classes, np.int64)),
        torch.from_numpy(np.ascontiguousarray(example.confidences, np.float32)),
        torch.from_numpy(np.ascontiguousarray(example.ignored_xyxy, np.float32)),
        torch.from_numpy(np.array(example.labelled, np.bool_)),
    )


def category_of(example: Example) -> Target:
    """What a picture is as a whole: ()."""
    assert example.category is not None
    return torch.tensor(example.category)


def coarse_mask_of(example: Example) -> Target:
    """The classes of a picture's pixels, at the resolution that a segmenter has them: (H / 4, W / 4)."""
    assert example.mask is not None
    middle = segmenter.STRIDE // 2
    return torch.from_numpy(example.mask[middle :: segmenter.STRIDE, middle :: segmenter.STRIDE].copy())


def varied_example(
    mixture: Mixture, index: int, width: int, height: int, settings: Augmentation, rng: np.random.Generator
) -> Example:
    """One picture (height, width) of one image, of which its category or mask is known."""
    example = mixture.read(index)
    image, mask = varied(example.image, example.mask, width, height, settings, rng)
    return Example.without_boxes(image, example.labelled, category=example.category, mask=mask)


def mean_objects(mixture: Mixture) -> float:
    """Objects a picture holds, in the mean over the images: what losses are divided by. At least 1."""
    return max(1.0, sum(float(mixture.read(index).confidences.sum()) for index in range(len(mixture))) / len(mixture))


def _box_loss(mixture: Mixture, size: Size, device: torch.device) -> JudgeBatch:
    grid, objects_per_image = Grid.of(*size, device), mean_objects(mixture)

    def judge(raw: Tensor, objects: list[Objects]) -> Loss:
        judged = detection_loss(raw, grid, objects, objects_per_image)
        return Loss(judged.total, {"scores": judged.scores, "boxes": judged.boxes})

    return judge


DETECTION = Task(
    name="detector",
    labels=Labels.BOXES,
    networks=detector.NETWORKS,
    build=detector.build_detector,
    size=(416, 256),
    multiple=32,
    augmentation=Augmentation(),
    picture=augment,
    target=objects_of,
    parts=("scores", "boxes"),
    loss=_box_loss,
    measure="AP50",
    validate=lambda network, mixture, size: validate(network, mixture, size, FIT),
    export=export_bundle,
)

CLASSIFICATION = Task(
    name="classifier",
    labels=Labels.CATEGORIES,
    networks=classifier.NETWORKS,
    build=classifier.build_classifier,
    size=(64, 64),
    multiple=16,
    augmentation=Augmentation.of_crops(),
    picture=varied_example,
    target=category_of,
    parts=("classes",),
    loss=lambda _mixture, _size, _device: category_loss,
    measure="top-1",
    validate=lambda network, mixture, size: validate_categories(network, mixture, size, CROP_FIT),
    export=partial(export_class_bundle, decoder=Classifier.name, fit=CROP_FIT),
)

SEGMENTATION = Task(
    name="segmenter",
    labels=Labels.MASKS,
    networks=segmenter.NETWORKS,
    build=segmenter.build_segmenter,
    size=(416, 256),
    multiple=32,
    augmentation=Augmentation.of_scenes(),
    picture=varied_example,
    target=coarse_mask_of,
    parts=("classes", "overlap"),
    loss=lambda _mixture, _size, _device: mask_loss,
    measure="IoU",
    validate=lambda network, mixture, size: validate_masks(network, mixture, size, FIT),
    export=partial(export_class_bundle, decoder=Segmentation.name, fit=FIT),
)

TASKS = (DETECTION, CLASSIFICATION, SEGMENTATION)


def task_of(network: str) -> Task:
    """The task of a network's name, which has to be one of some task's."""
    return next(task for task in TASKS if network in task.networks)


def build_network(name: str, classes: int, pruned: Mapping[str, Any] | None = None) -> Backbone:
    """Make a network of a name; `pruned`: what a checkpoint says of its pruning, if it was, and so of its widths."""
    network = task_of(name).build(name, classes)
    if pruned is not None:
        narrow(network, pruned["widths"])
    return network
