"""A compact segmenter: the detector's backbone, then back up in sums to a quarter of the picture's size.

    image ─ stem /2 ─ /4 ───────────── + ── 3x3 ── logits of each class at /4
                      │                ↑ upsampled
                      /8 ───────────── +
                      │                ↑ upsampled
                     /16 ───────────── +
                      │                ↑ upsampled
                     /32 context ──────

The way up is that of feature pyramids (Lin et al. 2017, figure 3): sums, and no concatenation that would need a common
scale in INT8. The class map stays at a quarter: a road's edge needs no more, and a vehicle's CPU has better to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from engines.training.networks.backbone import Backbone
from engines.training.networks.blocks import ConvBnRelu, PooledContext

STRIDE = 4  # pixels of the input a pixel of the class map


@dataclass(frozen=True, slots=True)
class SegmenterShape:
    """How wide and how deep. Widths are multiples of 16, as vector units like them."""

    stem: int  # channels at stride 2
    widths: tuple[int, int, int, int]  # channels at strides 4, 8, 16, 32
    blocks: tuple[int, int, int, int]  # residual blocks there
    neck: int  # channels on the way up


NETWORKS = {
    "segmenter-nano": SegmenterShape(stem=16, widths=(32, 48, 96, 160), blocks=(1, 1, 2, 2), neck=48),
    "segmenter-small": SegmenterShape(stem=32, widths=(48, 96, 192, 256), blocks=(1, 2, 3, 2), neck=80),
}


class Segmenter(Backbone):
    """Images (B, 3, H, W) BGR, 0 to 255, H and W multiples of 32 -> logits (B, classes, H / 4, W / 4)."""

    def __init__(self, shape: SegmenterShape, classes: int) -> None:
        super().__init__(shape.stem, shape.widths, shape.blocks)
        self.shape = shape
        self.class_count = classes
        self.context = PooledContext(shape.widths[-1])
        self.laterals = nn.ModuleList(ConvBnRelu(width, shape.neck, kernel=1) for width in shape.widths)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.smooth = nn.ModuleList(ConvBnRelu(shape.neck, shape.neck) for _ in shape.widths[:-1])
        self.classes = nn.Conv2d(shape.neck, classes, 1)
        nn.init.normal_(self.classes.weight, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        *finer, last = self.maps(images)
        x = self.laterals[-1](self.context(last))
        for level in range(len(finer) - 1, -1, -1):
            x = self.smooth[level](self.laterals[level](finer[level]) + self.up(x))
        logits: Tensor = self.classes(x)
        return logits


def build_segmenter(name: str, classes: int) -> Segmenter:
    """Make a network of a known size, weights drawn from torch's generator."""
    return Segmenter(NETWORKS[name], classes)
