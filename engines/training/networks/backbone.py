"""What all networks here look with: a stem, then stages of residual blocks, each of half the size of the one before."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from engines.training.networks.blocks import ConvBnRelu, Residual

FULL_SCALE = 255.0  # of a pixel as it comes in; folded into the first convolution when the network is exported


class Backbone(nn.Module):
    """Images (B, 3, H, W) BGR, 0 to 255 -> one map a stage.

    `stem`: channels of the first convolution, or None: patches of 4x4 pixels go to stride 4 at once. `stem_stride`: 2,
    or 1 for pictures that are small already. The first stage halves what comes from the stem, but not patches.
    """

    def __init__(
        self, stem: int | None, widths: tuple[int, ...], blocks: tuple[int, ...], *, stem_stride: int = 2
    ) -> None:
        super().__init__()
        self.scale = 1 / FULL_SCALE
        if stem is None:
            self.stem = ConvBnRelu(3, widths[0], kernel=4, stride=4)
            downs: list[nn.Module] = [nn.Identity()]
        else:
            self.stem = ConvBnRelu(3, stem, stride=stem_stride)
            downs = [ConvBnRelu(stem, widths[0], stride=2)]
        downs += [ConvBnRelu(before, width, stride=2) for before, width in itertools.pairwise(widths)]
        self.stages = nn.ModuleList(
            nn.Sequential(down, *(Residual(width) for _ in range(blocks)))
            for down, width, blocks in zip(downs, widths, blocks, strict=True)
        )

    def maps(self, images: Tensor) -> list[Tensor]:
        """The map of each stage, the finest first."""
        x = self.stem(images * self.scale if self.scale != 1 else images)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels
