"""The candidates' kernels, compiled for the host, against the decoders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from candidate_cases import DETECTORS, MOST, check, outcome, random_case, run
from host_device import HostDevice, needs_compiler
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.decoders.decoder import NonFiniteOutputError
from engines.results import Thresholds
from engines.runtime.kernels import Candidates

pytestmark = needs_compiler
device = HostDevice()


def test_candidates_of_a_thousand_random_outputs_are_the_decoders() -> None:
    cases = [random_case(seed) for seed in range(1000)]
    assert sum(check(device, case) for case in cases) >= 998  # an overlap at its limit may fall either way


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(DETECTORS))
def test_candidates_are_the_decoders(seed: int, family: str) -> None:
    check(device, random_case(seed, family))


@pytest.mark.parametrize("family", DETECTORS)
def test_the_order_in_which_threads_run_changes_nothing(family: str) -> None:
    backward = HostDevice(is_backward=True)
    for seed in range(30):
        case = random_case(seed, family)
        there, back = (run(either, case, case.thresholds) for either in (device, backward))
        np.testing.assert_array_equal(there["candidates"], back["candidates"])


@pytest.mark.parametrize("family", DETECTORS)
def test_of_thousands_the_best_stay(family: str) -> None:
    cases = (random_case(seed, family) for seed in range(1000))
    case = next(case for case in cases if case.input_width * case.input_height >= 256 * 256)
    everything = Thresholds(score=0.0, nms_iou=None, max_detections=MOST)
    outputs = {role: np.abs(values) + 0.001 for role, values in case.outputs.items()}  # no score is 0
    case = replace(case, thresholds=everything, outputs=outputs)
    assert check(device, case)
    assert len(run(device, case, everything)["candidates"]) == MOST


@pytest.mark.parametrize("family", DETECTORS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told_where_the_decoder_tells_it(family: str, bad: float) -> None:
    told = 0
    for seed in range(120):
        case = random_case(seed, family)
        rng = np.random.default_rng(seed)
        outputs = {role: values.copy() for role, values in case.outputs.items()}
        role = rng.choice(list(outputs))
        outputs[role][tuple(rng.integers(size) for size in outputs[role].shape)] = bad
        case = replace(case, outputs=outputs)
        raw = {role: values.astype(np.float32) for role, values in outputs.items()}
        expected = outcome(case, raw)
        assert outcome(case, run(device, case, replace(case.thresholds, nms_iou=None))) == expected
        told += isinstance(expected, str)
    assert 0 < told < 120  # a value that decides nothing is not told of


def test_a_decoder_may_ask_for_more_than_the_device_did() -> None:
    compared = 0
    for seed in range(60):
        case = random_case(seed)
        low = replace(case.thresholds, score=0.0, score_by_class=())
        if len(run(device, case, replace(low, nms_iou=None))["candidates"]) == MOST:
            continue  # of more than a decoder goes on with, the worst are lost
        compared += 1
        strict = case.decode(run(device, case, low), case.thresholds)
        np.testing.assert_array_equal(
            strict.boxes_xyxy, case.decode(run(device, case, case.thresholds), case.thresholds).boxes_xyxy
        )
    assert compared > 20


def test_what_the_device_does_not_do_is_refused() -> None:
    case = random_case(0, "yolox")
    reduction = case.decoder.reduction
    assert reduction is not None
    every = Thresholds(every_label=True)
    for wrong, thresholds, dtype in (
        (reduction, every, np.float32),
        (reduction, Thresholds(score=-0.1), np.float32),
        (reduction, Thresholds(), np.int8),
        (replace(reduction, family="other"), Thresholds(), np.float32),
        (replace(reduction, most=1025), Thresholds(), np.float32),
    ):
        with pytest.raises(ValueError, match=r"best class|negative|int8|other|1025"):
            Candidates(wrong, thresholds, dtype)
    with pytest.raises(ValueError, match="every label"):
        case.decode(run(device, case, case.thresholds), every)


def test_a_role_that_is_not_finite_is_named() -> None:
    case = random_case(3, "nanodet")
    outputs = dict(case.outputs)
    outputs["scores_16"] = np.full_like(outputs["scores_16"], np.nan)
    case = replace(case, outputs=outputs)
    with pytest.raises(NonFiniteOutputError, match="scores_16"):
        case.decode(run(device, case, case.thresholds), case.thresholds)
