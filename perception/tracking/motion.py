"""Where tracked boxes should be by now: constant-velocity Kalman filters, all tracks at once.

A box is its centre x, centre y, width and height, each with a rate a second. Noise of these four is taken as
independent, so the textbook filter with eight states (Wojke et al., DeepSORT, ICIP 2017; Zhang et al.,
ByteTrack, ECCV 2022) falls apart exactly into four filters of two states, and those need no matrix algebra:
every step is a few array operations on (T, 4), whatever T is.

Time is in seconds. What disturbs the motion is white noise in acceleration (Bar-Shalom, Li, Kirubarajan,
Estimation with Applications to Tracking and Navigation, 2001, eq. 6.2.2-12), for which two steps of 50 ms are
the same as one of 100 ms: a drive tracks alike at any frame rate and with irregular steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating]

# Deviations are relative to the box's own width (x, width) and height (y, height): what is near is large,
# moves fast in pixels and is measured with errors of more pixels.
MEASURED = 0.05  # of a measured value, as in ByteTrack (1 / 20)
FIRST_RATE = 2.0  # a second; of the rate of a box seen once. ByteTrack: 10 / 160 a frame at 30 frames a second
ACCELERATION = 1.0  # a second to the 3/2; of the rate's random walk. ByteTrack's 1 / 160 a frame is 1.03
SMALLEST = 1.0  # pixels; a side that shrinks stays this long, so that no box turns inside out


class Motion:
    """The filters of T tracks, row by row. Not thread-safe: one tracker owns it."""

    def __init__(self) -> None:
        # Planes: value, rate, variance of the value, covariance of both, variance of the rate.
        # Columns: centre x, centre y, width, height; pixels and seconds.
        self._filters: NDArray[np.float64] = np.empty((5, 0, 4))
        # Width, height, width, height as last measured: the unit of all noise.
        self._sides: NDArray[np.float64] = np.empty((0, 4))

    def __len__(self) -> int:
        return len(self._sides)

    @property
    def boxes_xyxy(self) -> NDArray[np.float64]:
        """The boxes as believed now, (T, 4), corners left, top, right, bottom in pixels."""
        values = self._filters[0]
        half = values[:, 2:] / 2
        return np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1)

    def predict(self, seconds: float) -> None:
        """Let time pass for all tracks."""
        value, rate, value_var, cov, rate_var = self._filters
        disturbance = (ACCELERATION * self._sides) ** 2
        value += rate * seconds
        np.maximum(value[:, 2:], SMALLEST, out=value[:, 2:])
        value_var += (2 * cov + rate_var * seconds) * seconds + disturbance * (seconds**3 / 3)
        cov += rate_var * seconds + disturbance * (seconds**2 / 2)
        rate_var += disturbance * seconds

    def correct(self, rows: NDArray[np.intp], boxes_xyxy: Boxes) -> None:
        """Take in what was measured now: `boxes_xyxy` (M, 4) of the tracks `rows` (M,), each at most once."""
        measured, sides = _values_and_sides(boxes_xyxy)
        value, rate, value_var, cov, rate_var = self._filters[:, rows]
        innovation_var = value_var + (MEASURED * sides) ** 2
        value_gain, rate_gain = value_var / innovation_var, cov / innovation_var
        surprise = measured - value
        self._filters[:, rows] = (
            value + value_gain * surprise,
            rate + rate_gain * surprise,
            value_var - value_gain * value_var,
            cov - value_gain * cov,
            rate_var - rate_gain * cov,
        )
        self._sides[rows] = sides

    def start(self, boxes_xyxy: Boxes) -> None:
        """Append tracks for `boxes_xyxy` (M, 4), seen once and of unknown speed."""
        measured, sides = _values_and_sides(boxes_xyxy)
        nothing = np.zeros_like(measured)
        fresh = np.stack([measured, nothing, (MEASURED * sides) ** 2, nothing, (FIRST_RATE * sides) ** 2])
        self._filters = np.concatenate([self._filters, fresh], axis=1)
        self._sides = np.concatenate([self._sides, sides])

    def keep(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> None:
        """Forget all tracks but `rows` (indexes or a mask); the kept ones move up."""
        self._filters = self._filters[:, rows]
        self._sides = self._sides[rows]


def _values_and_sides(boxes_xyxy: Boxes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = np.asarray(boxes_xyxy, np.float64)
    size = corners[:, 2:] - corners[:, :2]
    values = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, size], axis=1)
    return values, np.maximum(np.concatenate([size, size], axis=1), SMALLEST)
