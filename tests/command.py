"""The command in this process: the same code, without a second of start-up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from perception.commands.app import main


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        """Of `--json`."""
        return dict(json.loads(self.out))

    @property
    def refused(self) -> set[str]:
        """Of a gate's `--json`: the figures that are beyond their limits."""
        return {row["figure"] for row in self.facts["rows"] if not row["passed"]}


Cli: TypeAlias = Callable[..., Ended]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Give its exit code."""
    monkeypatch.setattr(sys, "argv", ["perception", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
