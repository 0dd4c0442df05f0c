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

PROGRAM = Path(__file__).with_name("pycuda_on_the_host.py")


@needs_compiler
@host_driver.needs_pycuda
@pytest.mark.parametrize("is_integrated", [False, True])
def test_the_engine_runs_over_pycuda_and_gives_everything_back(is_integrated: bool, tmp_path: Path) -> None:
    environment = host_driver.build(tmp_path) | {"HOST_DRIVER_INTEGRATED": str(int(is_integrated))}
    path = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path)],
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["contract"]["integrated"] is is_integrated
    assert seen["engine"]["notes"] == []
    assert seen["engine"]["boxes"] == 2
    assert seen["retained after the contract"] == seen["retained at the end"] == 0
    assert seen["contexts on the stack"] == 0
