"""The kernels on a real device, against the CPU path: the same cases as on the host. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import letterbox_cases
import numpy as np
import pytest
from candidate_cases import DETECTORS, check, random_case, run
from cuda_device import CudaDevice

CASES = 1000


@pytest.fixture(scope="module")
def device() -> Iterator[CudaDevice]:
    opened = CudaDevice()
    try:
        yield opened
    finally:
        opened.close()


def test_tensors_of_a_thousand_random_cases_are_the_cpu_paths(device: CudaDevice) -> None:
    for seed in range(CASES):
        letterbox_cases.check(device, letterbox_cases.random_case(seed))


def test_padding_that_is_there_is_left_alone(device: CudaDevice) -> None:
    for seed in range(40):
        letterbox_cases.check_padding_is_left_alone(device, letterbox_cases.random_case(seed))


def test_candidates_of_a_thousand_random_outputs_are_the_decoders(device: CudaDevice) -> None:
    same = sum(check(device, random_case(seed)) for seed in range(CASES))
    assert same >= CASES - 10  # its exponential is another one: an overlap at its limit may fall either way


@pytest.mark.parametrize("family", DETECTORS)
def test_the_same_outputs_give_the_same_bytes_every_time(device: CudaDevice, family: str) -> None:
    """Threads find boxes in any order; it must not be seen."""
    for seed in range(20):
        case = random_case(seed, family)
        first = run(device, case, case.thresholds)["candidates"]
        for _ in range(5):
            np.testing.assert_array_equal(run(device, case, case.thresholds)["candidates"], first)
