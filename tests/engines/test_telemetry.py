"""What a vehicle sees and runs is nobody's business: the engines' libraries report nothing and leave no trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_networks

# Opens an engine and infers, then tells what threads there are, and what sockets.
PROGRAM = """
import os, sys
from engines.bundle import load_bundle
from engines.runtime import open_engine
from pathlib import Path
with open_engine(load_bundle(Path(sys.argv[1])), sys.argv[2]) as engine:
    engine.submit(0, 1)
    engine.wait(0)
    print(sum(os.readlink(f"/proc/self/fd/{fd}").startswith("socket") for fd in os.listdir("/proc/self/fd")
              if os.path.lexists(f"/proc/self/fd/{fd}")))
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_reports_nothing_and_leaves_nothing_behind(tmp_path: Path, engine: str) -> None:
    tiny_networks.make_bundle(tmp_path / "tiny")
    home = tmp_path / "home"
    home.mkdir()
    # Without what tells a library that it is tested: there it would keep still by itself.
    kept = {"PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name in kept} | {"HOME": str(home)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "tiny"), engine],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "0"), ran.stderr
    assert list(home.rglob("*")) == []
