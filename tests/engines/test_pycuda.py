"""pycuda behind our contract, over a driver that is the host: what is called, where, and what is given back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import host_driver
import pytest
from host_device import needs_compiler

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("pycuda_on_the_host.py")


pytestmark = [needs_compiler, host_driver.needs_pycuda]


def output_of(folder: Path, *program: str, is_integrated: bool = False) -> str:
    environment = host_driver.build(folder) | {"HOST_DRIVER_INTEGRATED": str(int(is_integrated))}
    run = subprocess.run(
        [sys.executable, *program],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("is_integrated", [False, True])
def test_the_engine_runs_over_pycuda_and_gives_everything_back(is_integrated: bool, tmp_path: Path) -> None:
    seen = json.loads(output_of(tmp_path, str(PROGRAM), str(tmp_path), is_integrated=is_integrated))
    assert seen["contract"]["integrated"] is is_integrated
    assert seen["engine"]["notes"] == []
    assert seen["engine"]["boxes"] == 2
    assert seen["retained after the contract"] == seen["retained at the end"] == 0
    assert seen["contexts on the stack"] == 0


def test_the_tests_of_a_gpu_pass_on_it_but_for_what_only_a_gpu_can_show(tmp_path: Path) -> None:
    """So that they are known to be right before a machine with a GPU sees them."""
    said = output_of(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu", "-k", "on_a_gpu")
    assert " passed" in said or "[100%]" in said
    assert "needs a CUDA device and pycuda" not in said
