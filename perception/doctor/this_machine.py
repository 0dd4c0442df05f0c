"""The machine that runs this, asked."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

from perception.doctor.facts import MODULES, CudaDriver, Gpu, Machine, Module, Ran, Room

COMMAND_S = 20.0  # nvidia-smi takes seconds where the driver is not kept loaded
IMPORT_S = 60.0  # a first import from a slow card
PROBE = Path(__file__).with_name("probe.py")


class ThisMachine(Machine):
    """Asks once: libraries are looked at when this is made, beside each other."""

    def __init__(self) -> None:
        with ThreadPoolExecutor(max_workers=max(2, self.cores)) as pool:
            cuda = pool.submit(probed, "cuda")
            modules = {name: pool.submit(probed, name) for name in MODULES}
        self._modules = {name: _module(answer.result()) for name, answer in modules.items()}
        self._cuda = _cuda(cuda.result())

    @property
    def architecture(self) -> str:
        return platform.machine()

    @property
    def python(self) -> str:
        return f"{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def sees_system_packages(self) -> bool:
        if sys.prefix == sys.base_prefix:
            return True
        said = self.read(str(Path(sys.prefix) / "pyvenv.cfg")) or ""
        settings = dict(line.lower().replace(" ", "").split("=", 1) for line in said.splitlines() if "=" in line)
        return settings.get("include-system-site-packages") == "true"

    @property
    def cores(self) -> int:
        return len(os.sched_getaffinity(0))

    def read(self, path: str) -> str | None:
        with suppress(OSError):
            return Path(path).read_text(encoding="utf-8", errors="replace")
        return None

    def paths(self, pattern: str) -> tuple[str, ...]:
        return tuple(sorted(glob(pattern)))  # noqa: PTH207  of the whole file system

    def may_use(self, path: str) -> bool:
        return os.access(path, os.R_OK | os.W_OK)

    def run(self, *command: str) -> Ran | None:
        program = shutil.which(command[0], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if program is None:
            return None
        try:
            ran = subprocess.run(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_S,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired:
            return Ran(-1, f"did not answer in {COMMAND_S:.0f} s")
        except OSError as error:
            return Ran(-1, str(error))
        return Ran(ran.returncode, ran.stdout.decode(errors="replace"))

    def module(self, name: str) -> Module | None:
        return self._modules[name]

    def cuda(self) -> CudaDriver:
        return self._cuda

    def room(self, path: str) -> Room | None:
        with suppress(OSError):
            if not Path(path).is_dir():
                return None
            usage = shutil.disk_usage(path)
            return Room(usage.free, usage.total)
        return None


def probed(name: str) -> Any:
    """What `probe.py` says of a name, in a process of its own. Its end before an answer is a failure, in words."""
    command = [sys.executable, "-c", PROBE.read_text(encoding="utf-8"), name]
    try:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=IMPORT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failure": f"did not answer in {IMPORT_S:.0f} s"}
    with suppress(json.JSONDecodeError, IndexError):  # a library may print lines of its own before ours
        return json.loads(ran.stdout.splitlines()[-1])
    if ran.returncode < 0:
        return {"failure": f"crashes when it is imported ({signal.Signals(-ran.returncode).name})"}
    return {"failure": (ran.stderr.strip().splitlines() or ["ended without a word"])[-1]}


def _module(answer: Any) -> Module | None:
    return None if answer is None else Module(**answer)


def _cuda(answer: Any) -> CudaDriver:
    if "failure" in answer:
        return CudaDriver(code=-1)
    return CudaDriver(answer["code"], tuple(Gpu(**gpu) for gpu in answer["gpus"]))
