"""TensorRT, TensorRT for RTX and pycuda: what plans are built and run with."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engines.tensorrt_library import RTX_OLDEST
from perception.doctor.facts import Machine, Module
from perception.doctor.finding import Finding, Group
from perception.doctor.gpu import toolkit_version
from perception.doctor.kind import RTX, Kind, major

GROUP = Group("TensorRT")
OLDEST = (8, 6)
TOO_OLD = "JetPack is too old for it"
PACKAGE = "python3-libnvinfer"
SYSTEM_PACKAGES = ("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\\n", PACKAGE, "libnvinfer*")
VENV = "`python3 -m venv --system-site-packages .venv`"


def look(machine: Machine, kind: Kind) -> Iterator[Finding]:
    """Each library, by what this machine could do with it."""
    yield _tensorrt(machine, kind)
    yield _tensorrt_rtx(machine, kind)
    yield _pycuda(machine, kind)


def _tensorrt(machine: Machine, kind: Kind) -> Finding:
    name = "TensorRT"
    module = machine.module("tensorrt")
    if not kind.has_card:
        return GROUP.not_needed(name, "no NVIDIA GPU" + (", though it is installed" if module else ""))
    if kind.is_too_old:
        return GROUP.not_needed(name, TOO_OLD)
    if module is None:
        return _absent_on_jetson(machine) if kind.is_jetson else GROUP.missing(name, "not installed", _wheel(kind))
    if module.failure:
        return GROUP.problem(name, f"cannot be imported: {module.failure}", _broken(kind))
    if numbers(module.version)[:2] < OLDEST:
        what = f"{module.version}: 8.6 is the oldest that plans are built with"
        return GROUP.problem(name, what, _broken(kind))
    brought = kind.jetpack.tensorrt if kind.jetpack else ""
    if brought and numbers(module.version)[:2] != numbers(brought)[:2]:
        return GROUP.ok(
            name,
            f"{module.version}, beside JetPack's {brought}",
            "plans are good for one of the two alone: build and run them in this environment",
        )
    return GROUP.ok(name, module.version)


def _absent_on_jetson(machine: Machine) -> Finding:
    name = "TensorRT"
    installed = _installed(machine)
    if PACKAGE not in installed:
        if any(package.startswith("libnvinfer") for package in installed):
            remedy = f"`sudo apt install {PACKAGE} libnvonnxparsers-dev`"
        else:
            remedy = f"`sudo apt install nvidia-jetpack {PACKAGE}`"
        return GROUP.missing(name, "JetPack's is not installed for Python", remedy)
    found = f"JetPack's {installed[PACKAGE].split('-')[0]} is installed, and not visible here"
    system = re.search(
        r"Python (\d+\.\d+)", (ran.output if (ran := machine.run("/usr/bin/python3", "--version")) else "")
    )
    if system and system[1] != machine.python:
        found += f": it is for the system's Python {system[1]}, and this is {machine.python}"
        return GROUP.problem(name, found, f"make the virtual environment with /usr/bin/python3: {VENV}")
    if not machine.sees_system_packages:
        found += ": this virtual environment hides the system's packages"
        return GROUP.problem(name, found, f"make it anew: {VENV}, and install into it again")
    return GROUP.problem(name, found, f"`sudo apt install --reinstall {PACKAGE}`")


def _installed(machine: Machine) -> dict[str, str]:
    """Debian packages of TensorRT, and their versions."""
    ran = machine.run(*SYSTEM_PACKAGES)
    rows = [line.split() for line in ran.output.splitlines()] if ran else []
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == "installed"}


def _wheel(kind: Kind) -> str:
    if kind.gpu is None:
        return "first the driver; then `pip install tensorrt-cu12` or `pip install tensorrt-cu13`"
    cuda = 13 if kind.cuda_major >= 13 else 12
    return f"`pip install tensorrt-cu{cuda}` (CUDA {cuda}; several GB); networks run on the CPU without it"


def _broken(kind: Kind) -> str:
    return "`sudo apt install --reinstall python3-libnvinfer`" if kind.is_jetson else f"install it anew: {_wheel(kind)}"


def _tensorrt_rtx(machine: Machine, kind: Kind) -> Finding:
    name = "TensorRT for RTX"
    module = machine.module("tensorrt_rtx")
    has_rtx = kind.gpu is not None and kind.gpu.architecture in RTX and not kind.is_jetson
    if module is None:
        if not has_rtx:
            return GROUP.not_needed(name, "no GPU of that kind")
        if machine.module("tensorrt"):
            return GROUP.not_needed(name, "TensorRT is there")
        return GROUP.missing(name, "not installed", "`pip install 'edge-perception[tensorrt_rtx]'` (100 MB)")
    again = "`pip install --force-reinstall 'tensorrt-rtx-cu13>=1.7.1.116'`"
    if module.failure:
        return GROUP.problem(name, f"cannot be imported: {module.failure}", again)
    if numbers(module.version)[:3] < RTX_OLDEST:
        return GROUP.problem(name, f"{module.version} refuses INT8 convolutions", again)
    return GROUP.ok(
        name, module.version if has_rtx else f"{module.version}, builds plans; this machine cannot run them"
    )


def _pycuda(machine: Machine, kind: Kind) -> Finding:
    name = "pycuda"
    module = machine.module("pycuda")
    if not kind.has_card:
        return GROUP.not_needed(name, "no NVIDIA GPU" + (", though it is installed" if module else ""))
    if kind.is_too_old:
        return GROUP.not_needed(name, TOO_OLD)
    if module is None:
        needs = "" if toolkit_version(machine) else "first the CUDA toolkit; then "
        return GROUP.missing(name, "not installed", f"{needs}{_built(machine, kind)}")
    if module.failure:
        return _pycuda_broken(machine, kind, module)
    cuda = str(module.details.get("cuda", ""))
    if kind.gpu and major(cuda) > kind.cuda_major:
        return GROUP.problem(
            name,
            f"{module.version}, built against CUDA {cuda}; the driver runs up to {kind.gpu.cuda}",
            f"build it again: {_built(machine, kind, again=True)}",
        )
    return GROUP.ok(name, f"{module.version}, built against CUDA {cuda}")


def _pycuda_broken(machine: Machine, kind: Kind, module: Module) -> Finding:
    if "libcuda.so" in module.failure:
        return GROUP.problem("pycuda", f"finds no driver: {module.failure}", "see the driver, above")
    what = "was built against another CUDA" if _is_foreign(module.failure) else "cannot be imported"
    return GROUP.problem("pycuda", f"{what}: {module.failure}", f"build it again: {_built(machine, kind, again=True)}")


def _is_foreign(failure: str) -> bool:
    """Whether an import failed as it does with the libraries of another CUDA."""
    return bool(re.search(r"lib(curand|cudart|nv\w+)\.so|undefined symbol: cu[A-Z]", failure))


def _built(machine: Machine, kind: Kind, *, again: bool = False) -> str:
    """How pycuda is built against the right CUDA: it takes the first nvcc on the PATH, and pip keeps what it built."""
    toolkit = toolkit_version(machine)
    options = "--no-cache-dir --force-reinstall --no-deps" if again else "--no-cache-dir"
    command = f"`PATH=/usr/local/cuda/bin:$PATH pip install {options} pycuda`"
    if toolkit and kind.gpu and major(toolkit) > kind.cuda_major:
        return f"with a toolkit of CUDA {kind.cuda_major}, not {toolkit}: {command}"
    return f"{command} (CUDA {toolkit})" if toolkit else command


def numbers(version: str) -> tuple[int, ...]:
    """A version to compare by."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
