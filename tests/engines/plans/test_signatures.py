"""Every call of our build exists in each TensorRT that we speak of, or is guarded: seen with their real bindings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stub_tensorrt import VERSIONS, fetch, unpack

IN_THE_SUITE = ("8.6.1", "11.4.0.106")  # the ends; the others in tests/long.sh
ALL = "EDGE_PERCEPTION_ALL_TENSORRT"
PROGRAM = Path(__file__).with_name("recorded_builder.py")


@pytest.fixture(scope="module", params=VERSIONS)
def bindings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    if request.param not in IN_THE_SUITE and not os.environ.get(ALL):
        pytest.skip(f"in tests/long.sh, or with {ALL}=1")
    folder = tmp_path_factory.mktemp("bindings")
    wheel = fetch(request.param, folder)
    if wheel is None:
        pytest.skip(f"no bindings of TensorRT {request.param} for this Python can be had here")
    unpack(wheel, folder / "site")
    return request.param, folder / "site"


def recorded(site: Path, *words: str) -> dict[str, Any]:
    path = os.pathsep.join([str(site), str(Path(__file__).parents[3])])
    run = subprocess.run(
        [sys.executable, str(PROGRAM), *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_an_int8_build_calls_what_this_version_has(bindings: tuple[str, Path]) -> None:
    version, site = bindings
    found = recorded(site, "int8")
    assert version.startswith(found["version"])
    old = version.startswith("8.")
    assert found["flags"] == (["INT8", "FP16"] if old else ["STRONGLY_TYPED"])
    assert ("STRONGLY_TYPED" in found["network"]) is not old
    assert set(found["network"]) <= {"EXPLICIT_BATCH", "STRONGLY_TYPED"}
    assert found["monitor"] is not old
    assert {"set_memory_pool_limit", "add_optimization_profile", "set_timing_cache"} <= set(found["calls"])


def test_halves_are_a_flag_until_11(bindings: tuple[str, Path]) -> None:
    version, site = bindings
    flags = recorded(site, "fp16", "dla")["flags"]
    assert flags == (["STRONGLY_TYPED", "GPU_FALLBACK"] if version.startswith("11.") else ["FP16", "GPU_FALLBACK"])
