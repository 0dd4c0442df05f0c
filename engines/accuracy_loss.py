"""What one network loses against another on the same labelled images, and how much of that may be chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engines.accuracy import Accuracy

_DRAWS, _SEED = 1000, 0
_TAILS = (5, 95)  # percentiles of the bootstrap


@dataclass(frozen=True)
class AccuracyLoss:
    """Two networks on the same labelled images, in the same order."""

    before: Accuracy
    after: Accuracy

    @property
    def loss(self) -> float:
        """What the second lost (AP50, top-1, mean IoU); below 0 it gained."""
        return self.before.value - self.after.value

    @cached_property
    def loss_bounds(self) -> tuple[float, float]:
        """Between what the loss lies, 5 to 95 % of a paired bootstrap (Efron and Tibshirani 1993).

        Images are drawn again, the same ones for both. A loss is real, and no chance of these images, where the
        lower bound is above 0.
        """
        draws = np.random.default_rng(_SEED).integers(0, self.before.images, (_DRAWS, self.before.images))
        losses = np.array([self.before.value_of(drawn) - self.after.value_of(drawn) for drawn in draws])
        low, high = np.percentile(losses[np.isfinite(losses)], _TAILS)
        return float(low), float(high)
