"""Ranges of activations, and the scales that methods make of them."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_networks import SHAPE, residual
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from engines.errors import BundleError
from engines.quantize.ranges import BINS, METHODS, Ranges, measure_ranges


def histogram_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.histogram(np.abs(values), BINS, (0, np.abs(values).max()))[0].astype(float)


def squared_error(values: NDArray[np.float64], clip: float) -> float:
    step = clip / 127
    return float(((np.clip(np.rint(values / step), -128, 127) * step - values) ** 2).mean())


def test_the_largest_magnitude_over_all_inputs_is_127_steps() -> None:
    network = residual()
    images = [np.full(SHAPE, value, np.float32) for value in (0.5, -3.0, 2.0)]
    ranges = measure_ranges(network, ["image"], lambda: images, 1)
    assert ranges.scale("image", "minmax") == pytest.approx(3 / 127)


def test_inner_tensors_are_those_of_the_network() -> None:
    """Checked on the first ReLU, which numpy can do too."""
    network = residual()
    image = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    weight, bias = network.weights["stem.w"], network.weights["stem.b"]
    padded = np.pad(image[0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    right = np.maximum(np.einsum("chwij,ocij->ohw", windows, weight) + bias[:, None, None], 0)
    ranges = measure_ranges(network, ["stem_relu", "image"], lambda: [image], 1)
    assert ranges.scale("stem_relu", "minmax") == pytest.approx(right.max() / 127, rel=1e-5)
    assert ranges.scale("image", "minmax") == pytest.approx(np.abs(image).max() / 127)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, 500, elements=st.floats(-1, 1, allow_subnormal=False)), st.floats(1, 50))
def test_every_method_keeps_a_part_of_the_range_and_mse_is_no_worse_than_minmax(
    values: NDArray[np.float64], outlier: float
) -> None:
    values[0] = outlier
    histogram = histogram_of(values)
    kept = {name: method(histogram) for name, method in METHODS.items()}
    assert all(0 < part <= 1 for part in kept.values())
    assert kept["minmax"] == 1
    known = np.repeat((np.arange(BINS) + 0.5) / BINS, histogram.astype(int))  # a histogram knows a value to its bin
    assert squared_error(known, kept["mse"]) <= squared_error(known, 1.0) * (1 + 1e-9)


def test_one_outlier_in_many_is_cut_off_by_all_but_minmax() -> None:
    values = np.random.default_rng(0).normal(0, 1, 200_000)
    values[0] = 100
    histogram = histogram_of(values)
    assert METHODS["percentile"](histogram) < 0.1
    assert METHODS["entropy"](histogram) < 0.2
    assert METHODS["mse"](histogram) < 0.6  # the outlier's own error counts too


def test_a_tensor_that_is_always_zero_has_a_scale() -> None:
    for method in METHODS:
        scale = Ranges({"dead": 0.0}, {"dead": np.zeros(BINS)}).scale("dead", method)
        assert 0 < scale < 1e-6


def test_without_outliers_the_percentile_keeps_nearly_all() -> None:
    assert METHODS["percentile"](histogram_of(np.linspace(-1, 1, 100_001))) > 0.99


def test_a_tensor_that_is_nearly_zero_everywhere_is_measured() -> None:
    images = [np.full(SHAPE, 1e-40, np.float32)]
    assert measure_ranges(residual(), ["image"], lambda: images, 1).scale("image", "mse") > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told_with_its_tensor(value: float) -> None:
    image = np.zeros(SHAPE, np.float32)
    image[0, 1, 2, 3] = value
    with pytest.raises(BundleError, match="its tensor 'image' holds NaN or infinity"):
        measure_ranges(residual(), ["image"], lambda: [image], 1)
