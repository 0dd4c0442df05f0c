"""A plan that does not fit is refused in words before anything deserialises it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import tiny_networks

from engines.bundle import Bundle
from engines.errors import EngineError
from engines.gpu import Gpu, driver_version, power_mode
from engines.plan_file import read_plan

ORIN = Gpu("Orin", "sm_87", "12.6")
CONTENT = b"ftrt" + bytes(range(256))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_networks.make_bundle(tmp_path / "net")


def written(bundle: Bundle, content: bytes = CONTENT, **changes: Any) -> Path:
    folder = bundle.folder / "plans" / "one"
    folder.mkdir(parents=True)
    passport = {
        "plan_passport_version": 1,
        "bundle": "net",
        "bundle_sha256": bundle.sha256,
        "flavor": "tensorrt",
        "version": "10.3.0",
        "precision": "int8",
        "device": "cuda:0",
        "gpu": ORIN.facts(),
        "plan_bytes": len(CONTENT),
        "plan_sha256": hashlib.sha256(CONTENT).hexdigest(),
        **changes,
    }
    (folder / "passport.json").write_text(json.dumps(passport))
    (folder / "plan.engine").write_bytes(content)
    return folder


def test_a_fitting_one_is_given(bundle: Bundle) -> None:
    assert read_plan(written(bundle), bundle, "10.3.0", ORIN) == CONTENT


@pytest.mark.parametrize(
    ("content", "changes", "gpu", "words"),
    [
        (CONTENT[:-1], {}, ORIN, "has 259 bytes of 260: truncated"),
        (CONTENT[:-1] + b"x", {}, ORIN, "damaged, or replaced"),
        (CONTENT, {"bundle_sha256": "0" * 64}, ORIN, "from another bundle than net is now"),
        (CONTENT, {"version": "8.6.2"}, ORIN, r"built by tensorrt 8\.6\.2, and 10\.3\.0 is here"),
        (CONTENT, {}, Gpu("Thor", "sm_110", "13.0"), "GPU Orin, and Thor is here; .*sm_87, and sm_110 is here"),
        (CONTENT, {}, None, "built on Orin, and no GPU is here"),
        (CONTENT, {"plan_passport_version": 2}, ORIN, "passport of another version"),
    ],
)
def test_a_foreign_one_is_refused(
    content: bytes, changes: dict[str, Any], gpu: Gpu | None, words: str, bundle: Bundle
) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        read_plan(written(bundle, content, **changes), bundle, "10.3.0", gpu)
    assert f"perception engine build {bundle.folder}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'\x1c\x00\x00\x00{"description": "x"}', "an .engine of ultralytics"), (CONTENT, "of another tool")],
)
def test_another_tools_engine_is_refused(content: bytes, words: str, tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "yolo.engine"
    path.write_bytes(content)
    with pytest.raises(EngineError, match=words):
        read_plan(path, bundle, "10.3.0", ORIN)


def test_the_command_builds_it_in_its_place(bundle: Bundle) -> None:
    folder = written(bundle, version="8.6.2")
    with pytest.raises(EngineError) as caught:
        read_plan(folder, bundle, "10.3.0", ORIN)
    words = f"{bundle.folder} --flavor tensorrt --precision int8 --device cuda:0 -o {folder} --force"
    assert words in caught.value.remedy


def test_driver_and_power_mode_are_read(tmp_path: Path) -> None:
    path = tmp_path / "facts"
    assert driver_version(path) is None
    assert power_mode(path) is None
    path.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025\n")
    assert driver_version(path) == "580.95.05"
    path.write_text("pmode:0002 fmode:quiet\n")
    assert power_mode(path) == "0002"


def test_a_folder_that_is_no_plan_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="no plan of ours"):
        read_plan(tmp_path, bundle, "10.3.0", ORIN)
