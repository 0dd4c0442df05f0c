"""What we call to build a plan, and to run one, exists in each TensorRT that we know, by their real bindings."""

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
BUILDER, RUNTIME = (Path(__file__).with_name(f"recorded_{what}.py") for what in ("builder", "runtime"))


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


def recorded(program: Path, site: Path, *words: str) -> dict[str, Any]:
    path = os.pathsep.join([str(site), str(Path(__file__).parents[3])])
    run = subprocess.run(
        [sys.executable, str(program), *words],
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
    found = recorded(BUILDER, site, "int8")
    assert version.startswith(found["version"])
    old = version.startswith("8.")
    assert found["flags"] == (["INT8", "FP16"] if old else ["STRONGLY_TYPED"])
    assert ("STRONGLY_TYPED" in found["network"]) is not old
    assert set(found["network"]) <= {"EXPLICIT_BATCH", "STRONGLY_TYPED"}
    assert found["monitor"] is not old
    assert {"set_memory_pool_limit", "add_optimization_profile", "set_timing_cache"} <= set(found["calls"])


def test_halves_are_a_flag_until_11(bindings: tuple[str, Path]) -> None:
    version, site = bindings
    flags = recorded(BUILDER, site, "fp16", "dla")["flags"]
    assert flags == (["STRONGLY_TYPED", "GPU_FALLBACK"] if version.startswith("11.") else ["FP16", "GPU_FALLBACK"])


def test_a_dla_gets_ranges_until_11_and_the_networks_own_types_from_then_on(bindings: tuple[str, Path]) -> None:
    version, site = bindings
    found = recorded(BUILDER, site, "int8", "dla")
    if version.startswith("11."):
        assert found["flags"] == ["STRONGLY_TYPED", "GPU_FALLBACK"]
        assert found["ranges"] == found["precisions"] == {}
        assert found["parser"] == ["set_flag"], "which may change what does not suit a DLA"
        return
    assert found["flags"] == ["INT8", "FP16", "GPU_FALLBACK", "PREFER_PRECISION_CONSTRAINTS"]
    assert "STRONGLY_TYPED" not in found["network"]
    assert found["ranges"] == {
        "image": [pytest.approx(-12.7), pytest.approx(12.7)],
        "between": [pytest.approx(-25.4), pytest.approx(25.4)],
    }
    assert found["precisions"] == {"first": "int8", "grown": "int8", "head": "half"}, "nothing says how far head goes"
    assert found["in_int8"] == ["first", "grown"]


def test_a_free_batch_is_built_for_all_that_the_bundle_takes(bindings: tuple[str, Path]) -> None:
    found = recorded(BUILDER, bindings[1], "int8")
    assert found["profile"] == [["image", [1, 3, 32, 32], [4, 3, 32, 32], [8, 3, 32, 32]]]


def test_running_a_plan_calls_what_this_version_has(bindings: tuple[str, Path]) -> None:
    version, site = bindings
    found = recorded(RUNTIME, site)
    assert version.startswith(found["version"])
    assert {"deserialize_cuda_engine", "set_input_shape", "set_tensor_address", "execute_async_v3"} <= set(
        found["calls"]
    )
    assert found["contexts"] == 4, "two a slot, one of them for fewer rows, and none to spare"
    assert found["dla"] == 0


def test_running_a_plan_calls_what_tensorrt_for_rtx_has() -> None:
    pytest.importorskip("tensorrt_rtx")
    found = recorded(RUNTIME, Path(), "tensorrt_rtx")
    assert {"deserialize_cuda_engine", "set_tensor_address", "execute_async_v3"} <= set(found["calls"])
