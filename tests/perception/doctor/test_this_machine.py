"""The doctor on the machine that runs the tests: its facts are true, and broken libraries do not take it with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from engines.bundle import Bundle, BundleSettings
from engines.runtime import best_engine
from perception.doctor import examine, this_machine
from perception.doctor.engine_choice import engine_for
from perception.doctor.this_machine import ThisMachine, probed

COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()", "doctor"]
SETTINGS = BundleSettings.model_validate(
    {"decoder": "yolox", "input": {"width": 32, "height": 32, "colour": "BGR"}, "fit": "stretch", "outputs": {}}
)


@pytest.fixture(scope="module")
def machine() -> ThisMachine:
    return ThisMachine()


def test_the_command_tells_this_machine_and_ends_by_what_it_found(tmp_path: Path) -> None:
    ran = subprocess.run(
        [*COMMAND, "--json", "--recordings", str(tmp_path)], capture_output=True, text=True, check=False
    )
    told = json.loads(ran.stdout)
    assert ran.returncode == (0 if told["healthy"] else 1), ran.stderr
    problems = [one for one in told["findings"] if one["verdict"] == "problem"]
    assert bool(problems) is not told["healthy"]
    found = {one["name"]: one["found"] for one in told["findings"]}
    assert found["ONNX Runtime"] == version("onnxruntime")
    assert found["FFmpeg"].startswith(f"PyAV {version('av')} reads H.264, HEVC, JPEG")
    assert found["CPU"].startswith(f"{len(os.sched_getaffinity(0))} core")


@pytest.mark.parametrize("name", ["no", "file"])
def test_a_folder_that_is_not_there_is_a_problem_and_ends_with_1(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    ran = subprocess.run([*COMMAND, "--recordings", str(tmp_path / name)], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "disk" in ran.stdout.splitlines()[-1]
    assert not ran.stderr


@pytest.mark.parametrize("has_openvino", [True, False])
@pytest.mark.parametrize(("model", "is_int8"), [(b"... DequantizeLinear ...", True), (b"... Conv ...", False)])
def test_the_engine_that_is_named_is_the_one_that_auto_takes(
    machine: ThisMachine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    model: bytes,
    is_int8: bool,
    has_openvino: bool,
) -> None:
    """`engine_for` judges recorded machines too; on this one it has to agree with what loads bundles."""
    (tmp_path / "model.onnx").write_bytes(model)
    if not has_openvino:
        monkeypatch.setattr("engines.runtime.find_spec", lambda name: None)
        monkeypatch.setitem(machine._modules, "openvino", None)
    assert engine_for(machine, is_int8=is_int8) == best_engine(Bundle(tmp_path, SETTINGS, ("car",)))


def test_facts_of_this_machine_are_true(machine: ThisMachine) -> None:
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.python == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert machine.read("/proc/no/such/file") is None
    assert machine.run("no-such-program-anywhere") is None
    ran = machine.run(sys.executable, "-c", "import sys; print('said'); sys.exit(7)")
    assert ran is not None
    assert (ran.code, ran.output) == (7, "said\n")
    room = machine.room("/")
    assert room is not None
    assert 0 < room.free <= room.total
    assert machine.room("/no/such/folder") is None
    assert {one.name for one in examine(machine).findings} >= {"CPU", "memory", "disk", "GPU", "ONNX Runtime"}


def made_package(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(text)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashes when it is imported (SIGSEGV)"),
        ("raise ImportError('libnvinfer.so.10: cannot open')", "ImportError: libnvinfer.so.10: cannot open"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os; os._exit(0)", "ended without a word"),
        ("import time; time.sleep(30)", "did not answer in 2 s"),
    ],
)
def test_a_library_that_breaks_on_import_is_a_fact_and_no_crash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, failure: str
) -> None:
    monkeypatch.setattr(this_machine, "IMPORT_S", 2.0 if "sleep" in text else 60.0)
    made_package(tmp_path, "tensorrt", text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    assert probed("tensorrt") == {"failure": failure}


def test_a_library_that_prints_on_import_is_still_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made_package(tmp_path, "tensorrt", "__version__ = '10.3.0'; print('loading plugins ...')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    assert probed("tensorrt")["version"] == "10.3.0"


def test_what_lies_in_the_current_folder_is_not_taken_for_a_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made_package(tmp_path, "pycuda", "raise ImportError")
    (tmp_path / "json.py").write_text("raise ImportError")
    monkeypatch.chdir(tmp_path)
    assert probed("pycuda") is None or "version" in probed("pycuda")
