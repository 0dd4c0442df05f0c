"""A machine that was recorded: the facts of one file under `machines/`, each with its source at the head."""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from perception.doctor.facts import MODULES, CudaDriver, Gpu, Machine, Module, Ran, Room

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MACHINES = sorted((Path(__file__).parent / "machines").glob("*.toml"))


class RecordedMachine(Machine):
    """Answers from a file; `changed` facts replace its own, table by table."""

    def __init__(self, file: Path, **changed: Any) -> None:
        facts = tomllib.loads(file.read_text())
        for name, value in changed.items():
            facts[name] = {**facts[name], **value} if isinstance(value, dict) else value
        self._facts = facts
        assert set(facts["modules"]) <= set(MODULES)

    architecture = property(lambda self: self._facts["architecture"])
    python = property(lambda self: self._facts["python"])
    sees_system_packages = property(lambda self: self._facts["sees_system_packages"])
    cores = property(lambda self: self._facts["cores"])

    def read(self, path: str) -> str | None:
        return self._facts["files"].get(path)

    def paths(self, pattern: str) -> tuple[str, ...]:
        return tuple(sorted(path for path in self._facts["files"] if fnmatch(path, pattern)))

    def may_use(self, path: str) -> bool:
        return path in self._facts["usable"]

    def run(self, *command: str) -> Ran | None:
        ran = self._facts["commands"].get(" ".join(command))
        return Ran(ran.get("code", 0), ran["output"]) if ran else None

    def module(self, name: str) -> Module | None:
        facts = self._facts["modules"].get(name)
        return Module(**facts) if facts else None

    def cuda(self) -> CudaDriver:
        facts = self._facts["cuda"]
        return CudaDriver(facts.get("code"), tuple(Gpu(**gpu) for gpu in facts["gpus"]))

    def room(self, path: str) -> Room | None:
        facts = self._facts["rooms"].get(path)
        return Room(**facts) if facts else None
