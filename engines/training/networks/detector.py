"""A compact anchor-free detector: residual backbone, a neck of sums, one head a stride.

    image ─ stem /2 ─ /4 ─ /8 ──────── + ─────────── 8 ── head
                           │           ↑ upsampled   ↓ /2
                          /16 ──────── + ─────────── + ── head
                           │           ↑ upsampled   ↓ /2
                          /32 context ─ ──────────── + ── head

Down and up as in path aggregation (Liu et al. 2018, PANet), with sums in place of concatenations. Every cell puts
out one box and one logit a class, as YOLOX does (Ge et al. 2021), without its objectness: classes are few here, and
their scores learn what an objectness would say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.decoders.grids import STRIDES, cell_corners
from engines.training.networks.backbone import Backbone
from engines.training.networks.blocks import ConvBnRelu, PooledContext

BOX = 4  # channels of a box before the classes
PRIOR = 0.01  # of a class in a cell before anything is learnt (Lin et al. 2017, "Focal Loss", section 4.1)
FIRST_SIZE = 3.0  # strides, of every box before anything is learnt: most objects of a level are about that large
_MAX_LOG_SIZE = 6.0  # exp(6) strides are 403 cells: wider than any image; keeps an early step from overflowing


@dataclass(frozen=True, slots=True)
class DetectorShape:
    """How wide and how deep: a variant is a few numbers. Widths are multiples of 16, as vector units like them."""

    stem: int | None  # channels at stride 2; None: none there, patches of 4x4 pixels go to stride 4 at once
    widths: tuple[int, int, int, int]  # channels at strides 4, 8, 16, 32
    blocks: tuple[int, int, int, int]  # residual blocks there
    neck: int  # channels of the neck and the heads, at every stride
    head: int = 1  # 3x3 convolutions of a head before its two 1x1


NETWORKS = {
    "nano": DetectorShape(stem=16, widths=(32, 64, 128, 192), blocks=(1, 2, 2, 2), neck=64),
    # For INT8 on CPUs: three input channels fill no vector unit, and nano's stem, 1 % of its sums, takes 15 % of its
    # time in INT8 on ONNX Runtime. Spent on wide layers instead: 17 % more sums than nano in 2 % less time there, and
    # 2.6 times as fast as its own float where nano is 2.2 times.
    "nano-patch": DetectorShape(stem=None, widths=(32, 64, 160, 224), blocks=(1, 2, 2, 2), neck=64),
    "small": DetectorShape(stem=32, widths=(48, 96, 192, 256), blocks=(1, 2, 3, 2), neck=96),
    "medium": DetectorShape(stem=32, widths=(64, 128, 256, 384), blocks=(2, 3, 4, 2), neck=128, head=2),
}


class Head(nn.Module):
    """One stride's predictions: (B, neck, h, w) -> raw boxes and class logits (B, 4 + classes, h * w)."""

    def __init__(self, width: int, convs: int, classes: int) -> None:
        super().__init__()
        self.class_count = classes
        self.trunk = nn.Sequential(*(ConvBnRelu(width, width) for _ in range(convs)))
        self.box = nn.Conv2d(width, BOX, 1)
        self.classes = nn.Conv2d(width, classes, 1)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.normal_(self.classes.weight, std=0.01)
        first_size = math.log(FIRST_SIZE)
        self.box.bias = nn.Parameter(torch.tensor([0.0, 0.0, first_size, first_size]))
        self.classes.bias = nn.Parameter(torch.full((classes,), -math.log((1 - PRIOR) / PRIOR)))

    def forward(self, x: Tensor) -> Tensor:
        seen = self.trunk(x)
        cells = int(x.shape[2]) * int(x.shape[3])  # plain numbers: exported, a flatten is six operators on shapes
        return torch.cat([self.box(seen), self.classes(seen)], dim=1).reshape(-1, BOX + self.class_count, cells)


class Detector(Backbone):
    """Images (B, 3, H, W) BGR, 0 to 255, H and W multiples of 32 -> (B, 4 + classes, N), raw.

    N cells of strides 8, 16, 32 in that order, row-major. `decode` makes boxes of the first four channels; the
    classes' channels are logits.
    """

    def __init__(self, shape: DetectorShape, classes: int) -> None:
        super().__init__(shape.stem, shape.widths, shape.blocks)
        self.shape = shape
        self.class_count = classes
        widths, neck = shape.widths, shape.neck
        self.context = PooledContext(widths[-1])
        self.laterals = nn.ModuleList(ConvBnRelu(width, neck, kernel=1) for width in widths[1:])
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.smooth = nn.ModuleList(ConvBnRelu(neck, neck) for _ in STRIDES[:-1])
        self.down = nn.ModuleList(ConvBnRelu(neck, neck, stride=2) for _ in STRIDES[:-1])
        self.heads = nn.ModuleList(Head(neck, shape.head, classes) for _ in STRIDES)

    def forward(self, images: Tensor) -> Tensor:
        levels = self.maps(images)
        eight, sixteen, thirty_two = (
            lateral(level)
            for lateral, level in zip(self.laterals, [*levels[1:-1], self.context(levels[-1])], strict=True)
        )
        sixteen = self.smooth[1](sixteen + self.up(thirty_two))
        eight = self.smooth[0](eight + self.up(sixteen))
        sixteen = sixteen + self.down[0](eight)
        thirty_two = thirty_two + self.down[1](sixteen)
        maps = [head(level) for head, level in zip(self.heads, (eight, sixteen, thirty_two), strict=True)]
        return torch.cat(maps, dim=2)


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of one input size: their centres (2, N) x, y in pixels and their strides (N,)."""

    centres: Tensor
    strides: Tensor

    @staticmethod
    def of(width: int, height: int, device: torch.device | str = "cpu") -> Grid:
        """Make the cells of an input of this size."""
        corners = [cell_corners(width, height, stride) for stride in STRIDES]
        centres = torch.cat([(torch.from_numpy(c) + 0.5) * s for c, s in zip(corners, STRIDES, strict=True)])
        strides = torch.cat([torch.full((len(c),), float(s)) for c, s in zip(corners, STRIDES, strict=True)])
        return Grid(centres.T.contiguous().to(device), strides.to(device))

    def decode(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Centres and sizes (B, 2, N) in pixels from raw boxes (B, 4, N).

        centre = cell's centre + xy * stride, size = exp(wh) * stride (Ge et al. 2021, section 2.1).
        """
        centres = raw[:, :2] * self.strides + self.centres
        sizes = torch.exp(raw[:, 2:].clamp(max=_MAX_LOG_SIZE)) * self.strides
        return centres, sizes


def build_detector(name: str, classes: int) -> Detector:
    """Make a network of a known size, weights drawn from torch's generator."""
    return Detector(NETWORKS[name], classes)
