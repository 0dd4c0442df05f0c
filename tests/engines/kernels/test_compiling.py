"""Kernels compile for every architecture that a compiler here knows; the cache; what is said where none is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from engines.errors import EngineError, EngineMissingError
from engines.runtime.kernels import compiling
from engines.runtime.kernels.compiling import (
    Compiler,
    Nvcc,
    Nvrtc,
    Version,
    choose,
    compile_kernels,
    find_compilers,
    how_to_get,
    source_of,
)

SOURCES = sorted(Path(compiling.__file__).parent.glob("*.cu"))
SUPPORTED_BY_CUDA_13 = {75, 80, 86, 87, 89, 90, 100, 110, 120}
ORIN = 87

found = find_compilers()
nvrtc = next((one for one in found if isinstance(one, Nvrtc)), None)
nvcc = next((one for one in found if isinstance(one, Nvcc)), None)
is_long = "EDGE_PERCEPTION_ALL_ARCHITECTURES" in os.environ  # set by tests/long.sh

needs_any = pytest.mark.skipif(not found, reason="needs NVRTC (pip install nvidia-cuda-nvrtc) or nvcc")


def kernels_of(source: Path) -> set[str]:
    return set(re.findall(r'extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(', source.read_text()))


def check_ptx(ptx: bytes, source: Path, architecture: int) -> None:
    text = ptx.decode()
    assert re.findall(r"^\.target sm_(\d+)", text, re.MULTILINE) == [str(architecture)]
    assert set(re.findall(r"\.visible \.entry (\w+)\(", text)) == kernels_of(source) != set()


def test_every_kernel_says_in_its_name_where_it_stands() -> None:
    for source in SOURCES:
        assert {source_of(kernel) for kernel in kernels_of(source)} == {source}


@pytest.mark.skipif(nvrtc is None, reason="needs NVRTC: pip install nvidia-cuda-nvrtc")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_nvrtc_compiles_every_kernel_for_every_architecture(source: Path) -> None:
    assert nvrtc is not None
    if nvrtc.version >= (13, 0):
        assert set(nvrtc.architectures()) >= SUPPORTED_BY_CUDA_13
    for architecture in nvrtc.architectures():
        check_ptx(nvrtc.compile(source, architecture), source, architecture)


@pytest.mark.skipif(nvcc is None, reason="needs nvcc")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_nvcc_compiles_every_kernel(source: Path) -> None:
    """For every architecture in the long run, which takes a second and more each; for Orin's always."""
    assert nvcc is not None
    for architecture in nvcc.architectures() if is_long else (ORIN,):
        check_ptx(nvcc.compile(source, architecture), source, architecture)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, whose ptxas tells what a kernel takes")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_kernel_spills_registers(source: Path, tmp_path: Path) -> None:
    assert nvcc is not None
    for architecture in nvcc.architectures() if is_long else (ORIN,):
        options = ["-std=c++17", f"-arch=sm_{architecture}", "-cubin", "-Xptxas", "-v", "-o", str(tmp_path / "cubin")]
        ended = subprocess.run(["nvcc", *options, str(source)], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        spilled = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", ended.stderr)
        assert len(spilled) >= len(kernels_of(source))
        assert set(spilled) == {("0", "0")}, ended.stderr


@needs_any
def test_what_was_compiled_is_kept_for_the_next_start(tmp_path: Path) -> None:
    first = compile_kernels(SOURCES[0], ORIN, folder=tmp_path)
    second = compile_kernels(SOURCES[0], ORIN, folder=tmp_path)
    assert (first.is_from_cache, second.is_from_cache) == (False, True)
    assert first.ptx == second.ptx
    (kept,) = tmp_path.iterdir()
    assert kept.suffix == ".ptx"
    assert f"-sm{first.architecture}-" in kept.name


@needs_any
@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: b"", lambda text: b"\xff" + text])
def test_a_damaged_cache_is_compiled_again(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    first = compile_kernels(SOURCES[0], ORIN, folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    again = compile_kernels(SOURCES[0], ORIN, folder=tmp_path)
    assert not again.is_from_cache
    assert again.ptx == first.ptx
    assert kept.read_bytes() == whole


@needs_any
def test_source_and_architecture_have_files_of_their_own(tmp_path: Path) -> None:
    other = tmp_path / SOURCES[0].name
    other.write_text(SOURCES[0].read_text() + "\n")
    for source, architecture in ((SOURCES[0], 87), (SOURCES[0], 75), (other, 87)):
        assert not compile_kernels(source, architecture, folder=tmp_path / "cache").is_from_cache
    assert len(list((tmp_path / "cache").iterdir())) == 3


@needs_any
def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not compile_kernels(SOURCES[0], ORIN, folder=tmp_path / "file" / "cache").is_from_cache


@needs_any
def test_a_fault_in_a_source_is_told_in_the_compilers_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.cu"
    broken.write_text('extern "C" __global__ void broken(int *a) { *a = undeclared; }')
    for compiler in found:
        with pytest.raises(EngineError, match=r"does not compile broken\.cu .*undeclared"):
            compiler.compile(broken, ORIN)
    with pytest.raises(EngineError):
        compile_kernels(broken, ORIN, folder=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_without_a_compiler_it_is_said_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_CUDA", tmp_path)
    monkeypatch.setattr(compiling, "_nvrtc_paths", lambda: iter([str(tmp_path / "libnvrtc.so.13")]))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compilers() == []
    with pytest.raises(EngineMissingError, match="neither NVRTC nor nvcc"):
        compile_kernels(SOURCES[0], ORIN, folder=tmp_path)


def test_a_library_or_program_that_is_no_compiler_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvcc"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    monkeypatch.setattr(compiling, "_CUDA", tmp_path)
    monkeypatch.setattr(compiling, "_nvrtc_paths", lambda: iter(["libc.so.6"]))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert find_compilers() == []


@pytest.mark.parametrize(
    ("is_jetson", "driver", "words"),
    [
        (True, (12, 6), "sudo apt install nvidia-jetpack"),
        (False, (12, 4), "pip install 'nvidia-cuda-nvrtc-cu12<12.5'"),
        (False, (13, 0), "pip install 'nvidia-cuda-nvrtc<13.1'"),
        (False, None, "pip install 'nvidia-cuda-nvrtc'"),
    ],
)
def test_the_remedy_is_one_for_this_machine(
    tmp_path: Path, is_jetson: bool, driver: Version | None, words: str
) -> None:
    release = tmp_path / "nv_tegra_release"
    if is_jetson:
        release.write_text("# R36 (release), REVISION: 4.3")
    assert words in how_to_get(driver, release)


@dataclass
class Known:
    """A compiler of which only what it knows matters."""

    version: Version
    knows: tuple[int, ...] = (75, 80, 86, 87, 89, 90, 100, 110, 120)

    @property
    def name(self) -> str:
        return f"NVRTC {self.version[0]}.{self.version[1]}"

    def architectures(self) -> tuple[int, ...]:
        return self.knows

    def compile(self, source: Path, architecture: int) -> bytes:
        raise AssertionError("choosing compiles nothing")


OLD, NEW = Known((12, 6), (50, 70, 75, 80, 86, 87, 89, 90)), Known((13, 5))


@pytest.mark.parametrize(
    ("compilers", "architecture", "driver", "chosen", "target"),
    [
        ([OLD, NEW], 87, None, NEW, 87),  # the newest
        ([OLD, NEW], 87, (13, 5), NEW, 87),
        ([NEW, OLD], 87, (13, 4), OLD, 87),  # no newer than the driver
        ([OLD, NEW], 72, (13, 5), OLD, 70),  # what the newest has given up
        ([OLD], 120, (13, 5), OLD, 90),  # a card newer than the compiler runs older PTX
        ([NEW], 103, None, NEW, 100),
    ],
)
def test_the_compiler_fits_card_and_driver(
    compilers: list[Compiler], architecture: int, driver: Version | None, chosen: Compiler, target: int
) -> None:
    assert choose(compilers, architecture, driver) == (chosen, target)


@pytest.mark.parametrize(
    ("compilers", "architecture", "driver", "words"),
    [
        ([NEW], 87, (12, 6), r"driver runs CUDA 12\.6, .*NVRTC 13\.5.*renew the driver.*<12\.7"),
        ([NEW], 53, None, r"compute capability 5\.3 is older than all that NVRTC 13\.5 compiles for"),
    ],
)
def test_what_does_not_fit_is_said(
    compilers: list[Compiler], architecture: int, driver: Version | None, words: str
) -> None:
    with pytest.raises(EngineMissingError, match=words):
        choose(compilers, architecture, driver)
