"""Whatever files and commands say, the doctor answers: a machine is examined because something about it is odd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_machine import MACHINES, RecordedMachine

from perception.doctor import Verdict, examine
from perception.doctor.facts import MODULES
from perception.doctor.report import as_json

VERSIONS = st.sampled_from(["", "10", "10.3.0", "v10.x", "unknown", "99999999999999999999.1", "\u0663.1"]) | st.text(
    max_size=9
)


def spoiled(text: str) -> st.SearchStrategy[str]:
    """A text cut off, repeated, with something strange in its middle, or another one altogether."""
    places = st.integers(0, len(text))
    return st.one_of(
        places.map(lambda place: text[:place]),
        st.tuples(places, st.text(max_size=9)).map(lambda cut: text[: cut[0]] + cut[1] + text[cut[0] :]),
        st.just(text * 3),
        st.text(max_size=40),
    )


@pytest.mark.parametrize("file", MACHINES, ids=lambda file: file.stem)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_odd_facts_are_examined_too(file: Path, data: st.DataObject) -> None:
    machine = RecordedMachine(file)
    facts: dict[str, Any] = machine._facts
    for path in data.draw(st.sets(st.sampled_from(sorted(facts["files"])), max_size=4)):
        facts["files"][path] = data.draw(spoiled(facts["files"][path]))
    for command in list(facts["commands"]):
        if data.draw(st.booleans()):
            ran = facts["commands"][command]
            facts["commands"][command] = {
                "code": data.draw(st.integers(-1, 255)),
                "output": data.draw(spoiled(ran["output"])),
            }
    for name in data.draw(st.sets(st.sampled_from(MODULES), max_size=3)):
        facts["modules"][name] = data.draw(
            st.fixed_dictionaries({"version": VERSIONS, "failure": st.just("") | st.text(max_size=30)})
            | st.fixed_dictionaries({"version": VERSIONS, "details": st.fixed_dictionaries({"cuda": VERSIONS})})
        )
    if data.draw(st.booleans()):
        gpu = st.fixed_dictionaries(
            {"name": st.text(max_size=9), "architecture": st.text(max_size=6), "cuda": VERSIONS}
        )
        facts["cuda"] = {
            "code": data.draw(st.none() | st.integers(-1, 1000)),
            "gpus": data.draw(st.lists(gpu, max_size=2)),
        }
    examination = examine(machine, data.draw(st.sampled_from(["/data", "/no"])))
    assert as_json(examination)["healthy"] is not any(one.verdict is Verdict.PROBLEM for one in examination.findings)
    for one in examination.findings:
        assert one.remedy or one.verdict not in (Verdict.MISSING, Verdict.PROBLEM)
