"""What the doctor says of machines that were recorded, and that each remedy is that machine's."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from recorded_machine import MACHINES, RecordedMachine
from rich.console import Console

from perception.doctor import Examination, Finding, Verdict, examine
from perception.doctor.jetpack import jetpack_of, l4t_version
from perception.doctor.nvidia_libraries import SYSTEM_PACKAGES
from perception.doctor.report import as_json, show

BY_NAME = {file.stem: file for file in MACHINES}
OK, MISSING, NOT_NEEDED, PROBLEM = Verdict.OK, Verdict.MISSING, Verdict.NOT_NEEDED, Verdict.PROBLEM

# Of each machine: what is a problem, what is missing, which engine INT8 bundles run on. All else is ok or not needed.
VERDICTS = {
    "orin_jetpack_6_2": ((), (), "onnxruntime"),
    "orin_hidden_tensorrt": (("TensorRT",), ("pycuda", "plans"), "onnxruntime"),
    "orin_foreign_pycuda": (("pycuda",), (), "onnxruntime"),
    "thor_jetpack_7_1": ((), ("pycuda",), "onnxruntime"),
    "xavier_jetpack_5": (("JetPack",), (), "onnxruntime"),
    "rtx_desktop": ((), (), "openvino"),
    "desktop_with_old_driver": (("driver",), ("CUDA toolkit", "TensorRT", "pycuda", "OpenVINO"), "onnxruntime"),
    "desktop_after_driver_update": (("driver",), ("GPU", "CUDA toolkit", "TensorRT", "pycuda"), "openvino"),
    "h100_server": ((), ("CUDA toolkit", "TensorRT", "pycuda", "plans"), "openvino"),
    "laptop": ((), ("OpenVINO",), "onnxruntime"),
    "container_without_gpu": (
        (),
        ("GPU", "driver", "CUDA toolkit", "TensorRT", "pycuda", "OpenVINO"),
        "onnxruntime",
    ),
}

# What each of those says: the machine, the finding, words of what was found, words of the remedy.
SAID = [
    ("orin_jetpack_6_2", "GPU", "Orin (sm_87)", ""),
    ("orin_jetpack_6_2", "driver", "540.4.0, runs CUDA up to 12.6", ""),
    ("orin_jetpack_6_2", "JetPack", "6.2 (L4T 36.4.3), with TensorRT 10.3 and CUDA 12.6", ""),
    ("orin_jetpack_6_2", "power mode", "15W; MAXN_SUPER is the fastest", "sudo nvpmodel -m 0"),
    ("orin_jetpack_6_2", "CPU", "8 cores, aarch64; INT8 by dot product", ""),
    ("orin_jetpack_6_2", "TensorRT", "10.3.0", ""),
    ("orin_jetpack_6_2", "/dev/video0", "imx219", ""),
    ("orin_hidden_tensorrt", "TensorRT", "JetPack's 10.3.0.30 is installed, and not visible", "--system-site-packages"),
    ("orin_hidden_tensorrt", "pycuda", "not installed", "PATH=/usr/local/cuda/bin:$PATH pip install"),
    ("orin_foreign_pycuda", "pycuda", "built against another CUDA", "(CUDA 12.6.68)"),
    ("thor_jetpack_7_1", "JetPack", "7.1 (L4T 38.4.0), with TensorRT 10.13 and CUDA 13.0", ""),
    ("thor_jetpack_7_1", "power mode", "120W; MAXN is the fastest", "sudo nvpmodel -m 0"),
    ("orin_jetpack_6_2", "plans", "perception engine build BUNDLE` makes them", ""),
    ("xavier_jetpack_5", "JetPack", "5.1.1 (L4T 35.3.1)", "flash JetPack 6"),
    ("xavier_jetpack_5", "TensorRT", "JetPack is too old", ""),
    ("xavier_jetpack_5", "CPU", "no dot product", ""),
    ("rtx_desktop", "GPU", "NVIDIA GeForce RTX 4090 (sm_89, 24 GiB)", ""),
    ("rtx_desktop", "driver", "580.142, runs CUDA up to 13.0", ""),
    ("desktop_with_old_driver", "driver", "tensorrt_rtx (CUDA 13) cannot run on it", "driver 580 or newer"),
    ("desktop_with_old_driver", "TensorRT", "not installed", "pip install tensorrt-cu12"),
    ("desktop_with_old_driver", "CPU", "no VNNI", "--weight-bits 7"),
    ("desktop_after_driver_update", "driver", "570.195.03: the kernel's driver and its libraries", "restart"),
    ("h100_server", "GPU", "2 of NVIDIA H100 80GB HBM3 (sm_90, 80 GiB)", ""),
    ("h100_server", "TensorRT", "not installed", "pip install tensorrt-cu13"),
    ("h100_server", "CPU", "INT8 by AMX, AVX-512 VNNI", ""),
    ("laptop", "GPU", "no NVIDIA GPU", ""),
    ("laptop", "TensorRT for RTX", "builds plans; this machine cannot run them", ""),
    ("desktop_with_old_driver", "plans", "BUNDLE --flavor tensorrt_rtx", ""),
    ("laptop", "OpenVINO", "not installed", "edge-perception[openvino]"),
    ("container_without_gpu", "driver", "this container was not given the GPU", "--gpus all"),
]


def examined(name: str, **changed: Any) -> Examination:
    return examine(RecordedMachine(BY_NAME[name], **changed), "/data")


def finding(examination: Examination, name: str) -> Finding:
    (found,) = [one for one in examination.findings if one.name == name]
    return found


def test_every_recorded_machine_is_judged() -> None:
    assert set(VERDICTS) == set(BY_NAME)


@pytest.mark.parametrize("name", VERDICTS)
def test_a_machine_gets_the_verdicts_that_it_deserves(name: str) -> None:
    problems, missing, int8_engine = VERDICTS[name]
    examination = examined(name)
    by_verdict = {
        verdict: tuple(one.name for one in examination.findings if one.verdict is verdict) for verdict in Verdict
    }
    assert by_verdict[PROBLEM] == problems
    assert by_verdict[MISSING] == missing
    assert examination.engines == {"int8": int8_engine, "float": "onnxruntime"}
    assert as_json(examination)["healthy"] is (not problems)


@pytest.mark.parametrize("name", VERDICTS)
def test_what_is_missing_or_broken_has_a_remedy(name: str) -> None:
    for one in examined(name).findings:
        assert one.found
        if one.verdict in (MISSING, PROBLEM):
            assert one.remedy, one


@pytest.mark.parametrize(("machine", "name", "found", "remedy"), SAID)
def test_a_finding_says_what_is_and_what_to_do(machine: str, name: str, found: str, remedy: str) -> None:
    said = finding(examined(machine), name)
    assert found in said.found
    assert remedy in said.remedy


def test_nothing_of_a_jetson_is_missed_where_there_is_none_and_nothing_of_a_desktop_on_a_jetson() -> None:
    laptop, orin = examined("laptop"), examined("orin_jetpack_6_2")
    for name in ("driver", "CUDA toolkit", "JetPack", "power mode", "TensorRT", "pycuda", "NVDEC"):
        assert finding(laptop, name).verdict is NOT_NEEDED
    for name in ("TensorRT for RTX", "NVDEC", "OpenVINO"):
        assert finding(orin, name).verdict is NOT_NEEDED


def test_a_cards_decoder_counts_where_it_was_proven() -> None:
    assert finding(examined("rtx_desktop"), "NVDEC").verdict is NOT_NEEDED, "nobody has seen it there"
    av = {"version": "19.0.2", "details": {"decoders": ["h264"], "hardware": {"NVDEC": ["h264", "hevc"]}}}
    said = finding(examined("rtx_desktop", modules={"av": av}), "NVDEC")
    assert (said.verdict, said.found) == (OK, "decodes H.264, HEVC of network cameras, as the CPU does")


def test_tensorrt_that_is_not_installed_on_a_jetson_is_no_problem_and_comes_from_apt() -> None:
    query = " ".join(SYSTEM_PACKAGES)
    bare = examined("orin_hidden_tensorrt", commands={query: {"code": 1, "output": "dpkg-query: no packages found"}})
    said = finding(bare, "TensorRT")
    assert said.verdict is MISSING
    assert "sudo apt install nvidia-jetpack python3-libnvinfer" in said.remedy


def test_a_tensorrt_that_was_removed_is_not_taken_for_a_hidden_one() -> None:
    removed = {" ".join(SYSTEM_PACKAGES): {"output": "python3-libnvinfer 8.6.2.3-1+cuda12.2 config-files\n"}}
    assert finding(examined("orin_hidden_tensorrt", commands=removed), "TensorRT").verdict is MISSING


@pytest.mark.parametrize("changed", [{"commands": {}}, {"cuda": {"code": 999}}])
def test_a_driver_that_was_updated_is_known_by_cuda_or_by_nvidia_smi_alone(changed: dict[str, Any]) -> None:
    machine = RecordedMachine(BY_NAME["desktop_after_driver_update"], **changed)
    if not changed.get("commands", True):
        machine._facts["commands"] = {}
    assert finding(examine(machine, "/data"), "driver").remedy == "it was updated while it ran: restart the machine"


def test_a_gpu_that_is_hidden_from_cuda_is_told_from_a_broken_driver() -> None:
    said = finding(examined("rtx_desktop", cuda={"code": 100, "gpus": []}), "driver")
    assert said.verdict is PROBLEM
    assert "nvidia-smi finds the GPU, and CUDA is not shown it" in said.found
    assert "CUDA_VISIBLE_DEVICES" in said.remedy


def test_jetpacks_tensorrt_is_for_the_systems_python_alone() -> None:
    said = finding(examined("orin_hidden_tensorrt", python="3.12", sees_system_packages=True), "TensorRT")
    assert said.verdict is PROBLEM
    assert "for the system's Python 3.10, and this is 3.12" in said.found
    assert "/usr/bin/python3" in said.remedy


def test_two_tensorrts_on_one_jetson_are_told() -> None:
    said = finding(examined("orin_jetpack_6_2", modules={"tensorrt": {"version": "10.7.0"}}), "TensorRT")
    assert said.verdict is OK
    assert said.found == "10.7.0, beside JetPack's 10.3"


def test_pycuda_for_a_newer_cuda_than_the_driver_runs_is_a_problem_also_where_it_can_be_imported() -> None:
    newer = {"pycuda": {"version": "2026.1", "details": {"cuda": "13.0"}}}
    said = finding(examined("orin_jetpack_6_2", modules=newer), "pycuda")
    assert said.verdict is PROBLEM
    assert "built against CUDA 13.0; the driver runs up to 12.6" in said.found


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"cuda": 3}', '{"cuda": {}}', '{"nvcc": {"version": "12.6"}}']
)
def test_a_toolkit_whose_version_cannot_be_read_is_asked_by_its_compiler(text: str) -> None:
    nvcc = {"nvcc --version": {"output": "Cuda compilation tools, release 12.6, V12.6.68\n"}}
    unread = {"/usr/local/cuda/version.json": text}
    said = finding(examined("orin_jetpack_6_2", files=unread, commands=nvcc), "CUDA toolkit")
    assert (said.verdict, said.found) == (OK, "12.6")


def test_a_tensorrt_that_crashes_is_a_problem() -> None:
    crashing = {"tensorrt": {"failure": "crashes when it is imported (SIGSEGV)"}}
    said = finding(examined("rtx_desktop", modules=crashing), "TensorRT")
    assert said.verdict is PROBLEM
    assert "SIGSEGV" in said.found


def test_openvino_that_is_broken_takes_the_engine_of_int8_bundles_with_it() -> None:
    broken = {"openvino": {"failure": "ImportError: libtbb.so.12"}}
    examination = examined("rtx_desktop", modules=broken)
    assert [one.name for one in examination.problems] == ["OpenVINO", "INT8 bundles"]
    assert "--engine onnxruntime" in finding(examination, "INT8 bundles").remedy


def test_openvino_without_onnx_is_a_problem_because_it_computes_wrongly_in_silence() -> None:
    alone = {"openvino": {"version": "2026.4.1", "details": {"onnx": False}}}
    assert finding(examined("rtx_desktop", modules=alone), "OpenVINO").verdict is PROBLEM


def test_a_camera_that_this_user_may_not_open_is_a_problem() -> None:
    examination = examined("rtx_desktop", usable=["/dev/video1", "/data"])
    said = finding(examination, "/dev/video0")
    assert said.verdict is PROBLEM
    assert "usermod -aG video" in said.remedy
    assert finding(examination, "/dev/video1").verdict is OK


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"rooms": {"/data": {"free": 1_000_000_000, "total": 500_000_000_000}}}, "disk"),
        ({"usable": ["/dev/video0"]}, "disk"),
        ({"files": {"/proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 500000 kB\n"}}, "memory"),
    ],
)
def test_a_machine_without_room_has_a_problem(changed: dict[str, Any], name: str) -> None:
    assert [one.name for one in examined("laptop", **changed).problems] == [name]


@pytest.mark.parametrize(
    ("release", "l4t", "jetpack"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081", "36.4.3", "6.2"),
        ("# R38 (release), REVISION: 2.0, GCID: 41844464", "38.2.0", "7.0"),
        ("# R39 (release), REVISION: 2.0, GCID: 45755727", "39.2.0", "7.2"),
        ("# R38 (release), REVISION: 2, GCID: 1", "38.2.0", "7.0"),
        ("# R36 (release), REVISION: 6.1, GCID: 1", "36.6.1", "6"),  # newer than this program
        ("# R41 (release), REVISION: 1.0, GCID: 1", "41.1.0", "7"),
        ("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref", "32.7.1", "4.6.1"),
        ("", "", None),
        ("what a text", "", None),
    ],
)
def test_the_line_of_a_board_gives_its_jetpack(release: str, l4t: str, jetpack: str | None) -> None:
    assert l4t_version(release) == l4t
    known = jetpack_of(l4t)
    assert (known.version if known else None) == jetpack


# --- what a person sees


def shown(examination: Examination, *, width: int = 100, terminal: bool = False) -> str:
    out = io.StringIO()
    show(examination, Console(file=out, width=width, force_terminal=terminal, highlight=False))
    return out.getvalue()


@pytest.mark.parametrize("file", MACHINES, ids=lambda file: file.stem)
def test_in_a_pipe_there_are_no_colours_and_a_line_stays_a_line(file: Path) -> None:
    examination = examine(RecordedMachine(file), "/data")
    lines = shown(examination, width=40).splitlines()
    assert not [line for line in lines if "\x1b" in line or line != line.rstrip()]
    for one in examination.findings:
        assert [line for line in lines if line.startswith(one.verdict.value) and line.endswith(one.found)]
        if one.remedy:
            assert [line for line in lines if line.endswith(f"-> {one.remedy}")]


@pytest.mark.parametrize("width", [40, 71, 72, 120])
def test_on_a_terminal_nothing_is_cut_off_however_narrow_it_is(width: int) -> None:
    examination = examined("desktop_with_old_driver")
    text = shown(examination, width=width, terminal=True)
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= width
    letters = re.sub(r"\s", "", plain)
    for one in examination.findings:
        for word in (one.name, *one.found.split(), *one.remedy.split()):
            assert re.sub(r"\s", "", word) in letters


def test_json_has_every_finding_and_the_answer() -> None:
    examination = examined("orin_hidden_tensorrt")
    told = as_json(examination)
    assert told["healthy"] is False
    assert told["machine"]["jetpack"] == "6.2"
    assert told["machine"]["gpus"] == [{"name": "Orin", "architecture": "sm_87", "cuda": "12.6"}]
    assert told["engines"] == {"int8": "onnxruntime", "float": "onnxruntime"}
    assert len(told["findings"]) == len(examination.findings)
    assert {one["verdict"] for one in told["findings"]} <= {verdict.value for verdict in Verdict}
