"""Without TensorRT, what is missing and how to get it on this kind of machine."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.plans.timing_cache import locked_cache
from engines.tensorrt_library import how_to_get, open_library


@pytest.mark.parametrize("flavor", ["tensorrt", "tensorrt_rtx"])
def test_a_missing_one_is_said(flavor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, flavor, None)
    with pytest.raises(EngineError) as caught:
        open_library(flavor)
    assert caught.value.thing == flavor
    assert "install" in caught.value.remedy


def test_the_remedy_is_the_machines(tmp_path: Path) -> None:
    release = tmp_path / "nv_tegra_release"
    assert "pip install tensorrt-cu12" in how_to_get("tensorrt", release, "x86_64")
    assert "on a Jetson JetPack brings it" in how_to_get("tensorrt", release, "aarch64")
    release.write_text("# R36 (release), REVISION: 4.3\n")
    assert "apt install python3-libnvinfer" in how_to_get("tensorrt", release, "aarch64")
    assert "--system-site-packages" in how_to_get("tensorrt", release, "aarch64")


def test_builds_for_one_device_wait_for_each_other(tmp_path: Path) -> None:
    entered = threading.Event()

    def other() -> None:
        with locked_cache(tmp_path, "orin"):
            entered.set()

    waiting = threading.Thread(target=other)
    with locked_cache(tmp_path, "orin"):
        waiting.start()
        assert not entered.wait(0.2)
        with locked_cache(tmp_path, "thor"):
            pass
    waiting.join(10)
    assert entered.is_set()
