"""The few blocks that every network here is made of: dense convolutions, BatchNorm, ReLU, sums.

Nothing else, for the sake of INT8: a dense convolution with ReLU gains 2.8 to 3.5 times from INT8 on a CPU, a
depthwise one 2.4, and SiLU next to nothing; a sum needs no common scale of its inputs as a concatenation does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvBnRelu(nn.Module):
    """Convolution without bias, BatchNorm, ReLU: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride)).

    A kernel as large as the stride looks at patches side by side, without padding.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=0 if kernel == stride else kernel // 2, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity (He et al. 2016, figure 5 left); the ReLU comes after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvBnRelu(width, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(width, eps=1e-3, momentum=0.03)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(self.first(x))) + x)
        return y


class PooledContext(nn.Module):
    """Sees far beyond its cells: three 5x5 maxima one after the other, concatenated and mixed.

    The serial form of spatial pyramid pooling (He et al. 2015) that YOLOv5 made usual. A maximum changes no scale,
    so that its concatenation costs INT8 nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = ConvBnRelu(width, width // 2, kernel=1)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.mix = ConvBnRelu(width // 2 * 4, width, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        near = self.narrow(x)
        far = self.pool(near)
        further = self.pool(far)
        y: Tensor = self.mix(torch.cat([near, far, further, self.pool(further)], dim=1))
        return y
