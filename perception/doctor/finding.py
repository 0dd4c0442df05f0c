"""What one look at the machine says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What a thing is to this machine. Only PROBLEM is a failure: what is not there, nobody has to have."""

    OK = "ok"
    MISSING = "missing"  # it is not there, and this machine could use it
    NOT_NEEDED = "not needed"  # this machine has no use for it
    PROBLEM = "problem"  # it is there, and broken or out of reach


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `found` in words, and the remedy for this kind of machine where there is one."""

    group: str
    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


class Group:
    """Makes the findings of one group."""

    def __init__(self, name: str) -> None:
        self._name = name

    def ok(self, name: str, found: str, remedy: str = "") -> Finding:
        """It works. A remedy, if any, is advice."""
        return Finding(self._name, name, Verdict.OK, found, remedy)

    def missing(self, name: str, found: str, remedy: str) -> Finding:
        """It is not there, and would be of use."""
        return Finding(self._name, name, Verdict.MISSING, found, remedy)

    def not_needed(self, name: str, found: str) -> Finding:
        """It is of no use here."""
        return Finding(self._name, name, Verdict.NOT_NEEDED, found)

    def problem(self, name: str, found: str, remedy: str) -> Finding:
        """It is there, and does not work."""
        return Finding(self._name, name, Verdict.PROBLEM, found, remedy)
