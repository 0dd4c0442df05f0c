"""How long a frame takes on either side, and how much slower the candidate is for certain."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_DRAWS, _SEED = 200, 0
_LOWER_TAIL = 5  # percentile of the bootstrap


@dataclass(frozen=True, slots=True)
class Slowdown:
    """One percentile of both sides in ms, and the lower end of what their ratio may be."""

    baseline_ms: float
    candidate_ms: float
    at_least: float

    @property
    def ratio(self) -> float:
        """The candidate's time in terms of the baseline's."""
        return self.candidate_ms / self.baseline_ms


@dataclass(slots=True)
class Latencies:
    """Times of frames that both sides answered, in ns."""

    baseline_ns: list[int] = field(default_factory=list)
    candidate_ns: list[int] = field(default_factory=list)

    def add(self, baseline_ns: int, candidate_ns: int) -> None:
        """Take in one frame."""
        self.baseline_ns.append(baseline_ns)
        self.candidate_ns.append(candidate_ns)

    def slowdown(self, percent: float) -> Slowdown:
        """Compare a percentile. Frames are drawn again, the same ones for both (Efron and Tibshirani 1993)."""
        times = np.array([self.baseline_ns, self.candidate_ns], np.float64) / 1e6
        one, other = _percentiles(times, percent)
        random = np.random.default_rng(_SEED)
        count = times.shape[1]
        ratios = []
        for _ in range(_DRAWS):
            drawn = _percentiles(times[:, random.integers(0, count, count)], percent)
            ratios.append(drawn[1] / drawn[0])
        return Slowdown(one, other, float(np.percentile(ratios, _LOWER_TAIL)))


def _percentiles(times: NDArray[np.float64], percent: float) -> tuple[float, float]:
    one, other = np.percentile(times, percent, axis=1)
    return float(one), float(other)
