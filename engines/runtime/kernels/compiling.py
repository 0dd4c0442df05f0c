"""CUDA C to PTX at first use, for the card at hand; kept in the user's cache.

Two compilers will do: NVRTC, a library (a wheel of its own, and part of every CUDA), and nvcc. PTX is what the driver
finishes for its very card, and a driver takes none from a CUDA newer than itself. So of what is found, the newest
compiler is taken that is no newer than the driver.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from engines.errors import EngineError, EngineMissingError

Version: TypeAlias = tuple[int, int]  # of CUDA: a compiler's own, or the newest that a driver runs

_OPTIONS = ("-std=c++17",)
_CUDA = Path("/usr/local/cuda")
_JETSON = Path("/etc/nv_tegra_release")
_TIMEOUT_S = 120  # it takes one or two
_SEAL = b"\n// sha256 "


class Compiler(Protocol):
    """Turns CUDA C into PTX."""

    @property
    def name(self) -> str:
        """With its version: it is part of the cache's key."""

    @property
    def version(self) -> Version: ...

    def architectures(self) -> tuple[int, ...]:
        """Compute capabilities that it compiles for, 87 for 8.7, ascending."""

    def compile(self, source: Path, architecture: int) -> bytes:
        """PTX. Raises `EngineError` with the compiler's first complaint."""


class Nvrtc:
    """The library. Raises `OSError` where it cannot be loaded."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._checked(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = (major.value, minor.value)
        self.name = f"NVRTC {major.value}.{minor.value}"

    def architectures(self) -> tuple[int, ...]:
        """By the library's own word."""
        count = ctypes.c_int()
        self._checked(self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        found = (ctypes.c_int * count.value)()
        self._checked(self._library.nvrtcGetSupportedArchs(found))
        return tuple(sorted(found))

    def compile(self, source: Path, architecture: int) -> bytes:
        """In this process."""
        program = ctypes.c_void_p()
        text, name = source.read_bytes(), source.name.encode()
        self._checked(self._library.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None))
        try:
            options = [option.encode() for option in (*_OPTIONS, f"--gpu-architecture=compute_{architecture}")]
            given = (ctypes.c_char_p * len(options))(*options)
            if self._library.nvrtcCompileProgram(program, len(options), given) != 0:
                log = self._text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
                raise _refusal(self.name, source, architecture, log.decode(errors="replace"))
            return self._text(program, "nvrtcGetPTXSize", "nvrtcGetPTX")
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, program: ctypes.c_void_p, size_call: str, text_call: str) -> bytes:
        size = ctypes.c_size_t()
        self._checked(getattr(self._library, size_call)(program, ctypes.byref(size)))
        text = ctypes.create_string_buffer(size.value)
        self._checked(getattr(self._library, text_call)(program, text))
        return text.value

    def _checked(self, status: int) -> None:
        if status != 0:
            words = self._library.nvrtcGetErrorString(status).decode()
            raise EngineError("NVRTC", f"failed ({words})", "install it again, or install nvcc")


class Nvcc:
    """The program; it needs a C++ compiler beside it. Raises `OSError` where it does not run or is no nvcc."""

    def __init__(self, path: str) -> None:
        self._path = path
        found = re.search(r"release (\d+)\.(\d+), V([\d.]+)", self._run("--version").stdout)
        if found is None:
            raise OSError(f"{path} tells no version")
        self.version = (int(found[1]), int(found[2]))
        self.name = f"nvcc {found[3]}"

    def architectures(self) -> tuple[int, ...]:
        """By its own list."""
        return tuple(
            sorted(int(number) for number in re.findall(r"compute_(\d+)\b", self._run("--list-gpu-arch").stdout))
        )

    def compile(self, source: Path, architecture: int) -> bytes:
        """In a process of its own."""
        with tempfile.TemporaryDirectory() as folder:
            ptx = Path(folder) / "kernels.ptx"
            options = (*_OPTIONS, f"-arch=compute_{architecture}", "-ptx", "-o", str(ptx), str(source))
            ended = self._run(*options)
            if ended.returncode != 0:
                raise _refusal(self.name, source, architecture, ended.stderr)
            return ptx.read_bytes()

    def _run(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [self._path, *options]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, timeout=_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise EngineError(self._path, f"did not end within {_TIMEOUT_S} s", "run it by hand to see why") from None


@dataclass(frozen=True, slots=True)
class Compiled:
    """PTX of one source. `architecture` is the one that it was compiled for, perhaps older than the card's."""

    ptx: bytes
    architecture: int
    compiler: str
    is_from_cache: bool


def source_of(kernel: str) -> Path:
    """The file in which a kernel stands: its name begins with the file's."""
    return Path(__file__).with_name(f"{kernel.partition('_')[0]}.cu")


def compile_kernels(
    source: Path, architecture: int, driver: Version | None = None, *, folder: Path | None = None
) -> Compiled:
    """PTX of `source` (a .cu file of this room) for a card of this compute capability, 87 for 8.7.

    `driver`: the newest CUDA that the driver runs, (12, 6); None where there is no driver to run it. `folder` is the
    cache, the user's own by default; one that cannot be written to costs about a second at every start. Raises
    `EngineMissingError` where no compiler serves this card and driver, `EngineError` where compiling fails.
    """
    compiler, target = choose(find_compilers(), architecture, driver)
    content = source.read_bytes()
    key = hashlib.sha256(b"\0".join([content, repr(_OPTIONS).encode(), compiler.name.encode(), b"%d" % target]))
    kept = (folder or cache_folder()) / f"{source.stem}-sm{target}-{key.hexdigest()[:24]}.ptx"
    with suppress(OSError):
        ptx, seal, digest = kept.read_bytes().rpartition(_SEAL)
        if seal and digest.decode(errors="replace") == hashlib.sha256(ptx).hexdigest():
            return Compiled(ptx, target, compiler.name, is_from_cache=True)
    ptx = compiler.compile(source, target)
    with suppress(OSError):  # the cache saves time and nothing else: a full disk must not stop a vehicle
        _keep(kept, ptx + _SEAL + hashlib.sha256(ptx).hexdigest().encode())
    return Compiled(ptx, target, compiler.name, is_from_cache=False)


def choose(compilers: Sequence[Compiler], architecture: int, driver: Version | None) -> tuple[Compiler, int]:
    """The compiler for a card and driver, and what it compiles for: the card's architecture, or the next older one.

    Raises `EngineMissingError` that says what is missing and how to get it.
    """
    found = ", ".join(compiler.name for compiler in compilers)
    if not compilers:
        raise EngineMissingError(
            "the GPU's kernels", "there is neither NVRTC nor nvcc to compile them", how_to_get(driver)
        )
    fitting = [compiler for compiler in compilers if driver is None or compiler.version <= driver]
    if not fitting and driver is not None:
        runs = f"{driver[0]}.{driver[1]}"
        raise EngineMissingError(
            "the GPU's kernels",
            f"the driver runs CUDA {runs}, and takes nothing from what is newer ({found})",
            f"renew the driver, or {how_to_get(driver)}",
        )
    for compiler in sorted(fitting, key=lambda one: one.version, reverse=True):
        if older := [known for known in compiler.architectures() if known <= architecture]:
            return compiler, older[-1]
    raise EngineMissingError(
        "the GPU's kernels",
        f"compute capability {architecture // 10}.{architecture % 10} is older than all that {found} compiles for",
        "install an older CUDA beside it: 12.x has Maxwell to Volta, which 13 has not",
    )


def find_compilers() -> list[Compiler]:
    """All that are installed here, each version once, NVRTC before nvcc; what turns out not to work is left out."""
    found: dict[str, Compiler] = {}
    for path in _nvrtc_paths():
        with suppress(OSError, AttributeError):  # no such file, or a library that is no NVRTC
            nvrtc = Nvrtc(path)
            found.setdefault(nvrtc.name, nvrtc)
    for program in (shutil.which("nvcc"), shutil.which("nvcc", path=str(_CUDA / "bin"))):
        if program is not None:
            with suppress(OSError):
                nvcc = Nvcc(program)
                found.setdefault(nvcc.name, nvcc)
    return list(found.values())


def _nvrtc_paths() -> Iterator[str]:
    """Of NVIDIA's wheels (`nvidia/cu13/lib`, `nvidia/cuda_nvrtc/lib`), of /usr/local/cuda, of the system."""
    wheels = [Path(folder) / "nvidia" for folder in sys.path if folder]
    for folder in wheels:
        for library in sorted(folder.glob("*/lib/libnvrtc.so.*")):
            yield str(library)
    for library in sorted((_CUDA / "lib64").glob("libnvrtc.so.[0-9][0-9]")):
        yield str(library)
    for major in (13, 12):
        yield f"libnvrtc.so.{major}"


def cache_folder() -> Path:
    """Where compiled kernels of this user lie."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "edge-perception" / "kernels"


def how_to_get(driver: Version | None, release: Path = _JETSON, machine: str | None = None) -> str:
    """The remedy for a missing compiler, by the kind of machine."""
    if release.exists():
        return (
            "JetPack has nvcc: `sudo apt install nvidia-jetpack`, or only `cuda-nvcc-` and the version that "
            "`apt-cache search cuda-nvcc` shows"
        )
    wheel = "nvidia-cuda-nvrtc-cu12" if driver is not None and driver < (13, 0) else "nvidia-cuda-nvrtc"
    limit = f"<{driver[0]}.{driver[1] + 1}" if driver is not None else ""
    where = "" if (machine or platform.machine()) in ("x86_64", "aarch64") else " (on x86-64 and aarch64)"
    return f"`pip install '{wheel}{limit}'`{where}"


def _refusal(compiler: str, source: Path, architecture: int, log: str) -> EngineError:
    lines = [line.strip() for line in log.splitlines() if "error" in line.lower()] or log.strip().splitlines()
    first = lines[0][:300] if lines else "it does not say why"
    return EngineError(
        f"{compiler}, sm_{architecture}",
        f"does not compile {source.name} ({first})",
        "install another CUDA, or report it",
    )


def _keep(path: Path, content: bytes) -> None:
    """Write it whole, also if the power goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
