"""A compact classifier of whole pictures and crops: residual stages, the mean over the last map, one logit a class.

    image ─ stem /1 ─ /2 ─ /4 ─ /8 (─ /16) ─ mean ─ logits

The mean over a map in place of layers that are fully connected is that of Lin et al. 2014 ("Network In Network",
section 3.2): any input size will do. The stem keeps the size of the picture, because crops are small already.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.training.networks.backbone import Backbone


@dataclass(frozen=True, slots=True)
class ClassifierShape:
    """How wide and how deep. Widths are multiples of 16, as vector units like them."""

    stem: int  # channels at the size of the picture
    widths: tuple[int, ...]  # channels at strides 2, 4, 8, ...
    blocks: tuple[int, ...]  # residual blocks there
    dropout: float = 0.1  # of what goes into the logits (Srivastava et al. 2014); few pictures are learnt by heart


NETWORKS = {
    "classifier-nano": ClassifierShape(stem=16, widths=(32, 64, 128), blocks=(1, 1, 1)),
    "classifier-small": ClassifierShape(stem=32, widths=(64, 128, 256), blocks=(1, 2, 2), dropout=0.2),
}


class Classifier(Backbone):
    """Images (B, 3, H, W) BGR, 0 to 255, of any size -> logits (B, classes)."""

    def __init__(self, shape: ClassifierShape, classes: int) -> None:
        super().__init__(shape.stem, shape.widths, shape.blocks, stem_stride=1)
        self.shape = shape
        self.class_count = classes
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(shape.dropout)
        self.classes = nn.Conv2d(shape.widths[-1], classes, 1)  # a convolution, so that it is one of INT8's layers
        nn.init.normal_(self.classes.weight, std=0.01)
        assert self.classes.bias is not None
        nn.init.zeros_(self.classes.bias)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.dropout(self.mean(self.maps(images)[-1]))
        return torch.reshape(self.classes(seen), (-1, self.class_count))


def build_classifier(name: str, classes: int) -> Classifier:
    """Make a network of a known size, weights drawn from torch's generator."""
    return Classifier(NETWORKS[name], classes)
