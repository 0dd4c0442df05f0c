"""What a machine has, lacks, and would use: facts first (`facts.py`), then one small file a group of checks.

Reads files, runs commands that change nothing, and imports libraries in processes of their own. Never fails for what a
machine does not need: only what is there and broken is a problem.
"""

from __future__ import annotations

from dataclasses import dataclass

from perception.doctor import decoding, engine_choice, gpu, host, nvidia_libraries
from perception.doctor.engine_choice import engine_for
from perception.doctor.facts import Machine
from perception.doctor.finding import Finding, Verdict
from perception.doctor.kind import Kind, kind_of

__all__ = ["Examination", "Finding", "Verdict", "examine"]


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found. `engines`: what `--engine auto` takes for INT8 and for float bundles."""

    kind: Kind
    findings: tuple[Finding, ...]
    engines: dict[str, str]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What is there and broken."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.PROBLEM)


def examine(machine: Machine, recordings: str = ".") -> Examination:
    """Look at everything. `recordings` is the folder that recordings go to."""
    kind = kind_of(machine)
    findings = (
        *host.look(machine, kind, recordings),
        *gpu.look(machine, kind),
        *nvidia_libraries.look(machine, kind),
        *decoding.look(machine, kind),
        *engine_choice.look(machine, kind),
    )
    return Examination(
        kind, findings, {"int8": engine_for(machine, is_int8=True), "float": engine_for(machine, is_int8=False)}
    )
