"""`require_gate`: a vehicle loads only what a gate's report passed, and says why it does not."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gated_networks as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.clearance import MOST_BYTES, NotClearedError, Postprocessing, check_cleared
from perception.commands.app import main
from perception.config import Vehicle
from perception.errors import UsageError

SETTINGS = """
[[camera]]
name = "front"
uri = "drives/road"
[[network]]
bundle = "bundles/tiny"
require_gate = true
gate_report = "gates/tiny"
"""


def run(*words: object) -> int:
    before = sys.argv
    sys.argv = ["perception", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


@pytest.fixture(scope="module")
def vehicle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vehicle's folder: a bundle, a drive and the report of a gate that passed it."""
    folder = tmp_path_factory.mktemp("vehicle")
    (folder / "bundles").mkdir()
    bundle = made.make_baseline(folder / "bundles" / "tiny").folder
    drive = made.write_drive(folder / "drives" / "road")
    (folder / "limits.toml").write_text(made.LATE_ENOUGH)
    words = ["gate", "--baseline", bundle, "--candidate", bundle, drive, "--thresholds", folder / "limits.toml"]
    assert run(*words, "--report", folder / "gates" / "tiny") == 0
    assert run(*words, "--report", folder / "gates" / "refused", "--candidate-nms", 0.9) == 1
    assert run(*words, "--report", folder / "gates" / "keener", "--class-score", "red=0.2") == 0
    return folder


def settings(folder: Path, text: str) -> Path:
    path = folder / "vehicle.toml"
    path.write_text(text)
    return path


def test_what_a_gate_passed_is_loaded_and_runs(vehicle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = settings(vehicle, SETTINGS)
    assert run("run", path, "--check") == 0
    assert run("run", path, "--json") == 0
    out = capsys.readouterr().out
    assert json.loads(out.splitlines()[-1])["captured"] == made.FRAMES


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gates/tiny", "gates/none", "gates/none/gate.json cannot be read (No such file or directory)"),
        ("gates/tiny", "gates/refused", "gate.json refused this bundle: score thresholds and NMS is score 0.3, NMS"),
        ("gates/tiny", "gates/keener", "judged this bundle with score 0.3, red 0.2, NMS 0.65, and here it has score"),
        ("require", "nms = 0.9\nrequire", "with score 0.3, NMS 0.65, and here it has score 0.3, NMS 0.9"),
        ("require", "thresholds = { red = 0.2 }\nrequire", "and here it has score 0.3, red 0.2, NMS 0.65"),
    ],
)  # fmt: skip
def test_what_no_gate_passed_is_refused_with_file_key_and_remedy(
    vehicle: Path, old: str, new: str, message: str
) -> None:
    path = settings(vehicle, SETTINGS.replace(old, new, 1))
    with pytest.raises(UsageError) as raised:
        Vehicle(path)
    told = str(raised.value)
    assert told.startswith(f"{path}: network.0.gate_report: ")
    assert message in told
    assert "perception gate --baseline" in told


def test_thresholds_that_the_gate_judged_too_are_taken(vehicle: Path) -> None:
    keener = SETTINGS.replace("gates/tiny", "gates/keener").replace("require", "thresholds = { red = 0.2 }\nrequire", 1)
    Vehicle(settings(vehicle, keener))
    # A class whose own score is the general one is no difference.
    Vehicle(settings(vehicle, SETTINGS.replace("require", "thresholds = { red = 0.3 }\nrequire", 1)))


@pytest.mark.parametrize("name", ["model.onnx", "bundle.toml", "labels.txt"])
def test_a_bundle_that_changed_after_its_gate_is_refused(vehicle: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(vehicle, tmp_path / "vehicle")
    file = tmp_path / "vehicle" / "bundles" / "tiny" / name
    file.write_bytes(file.read_bytes() + b"\n")
    path = tmp_path / "vehicle" / "vehicle.toml"
    path.write_text(SETTINGS)
    with pytest.raises(UsageError, match="is about another bundle: tiny, hash"):
        Vehicle(path)


def test_without_the_demand_no_report_is_read(vehicle: Path) -> None:
    text = SETTINGS.replace("true", "false").replace("gates/tiny", "gates/none")
    Vehicle(settings(vehicle, text))


def test_a_demand_without_a_report_is_refused(vehicle: Path) -> None:
    with pytest.raises(UsageError, match=r"network\.0: require_gate: no gate_report is given"):
        Vehicle(settings(vehicle, SETTINGS.replace('gate_report = "gates/tiny"', "")))


SAME = Postprocessing(score=0.3, nms=0.65)
values = st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.just([]) | st.just({})
known = st.sampled_from(["passed", "candidate", "rows", "sha256", "postprocessing", "name"])
objects = st.dictionaries(known, values | st.dictionaries(known, values, max_size=3), max_size=4)


@given(st.binary(max_size=100) | objects.map(lambda facts: json.dumps(facts).encode()))
def test_any_file_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "gate.json").write_bytes(content)
    with pytest.raises(NotClearedError):
        check_cleared(folder, "ab", SAME)


@pytest.mark.parametrize("change", [lambda facts: facts.update(passed="yes"), lambda facts: facts.pop("rows")])
def test_a_report_that_was_meddled_with_is_none(
    vehicle: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    facts = json.loads((vehicle / "gates" / "tiny" / "gate.json").read_text())
    change(facts)
    (tmp_path / "gate.json").write_text(json.dumps(facts))
    with pytest.raises(NotClearedError, match="is no gate report"):
        check_cleared(tmp_path, facts["candidate"]["sha256"], SAME)


def test_a_row_that_did_not_pass_counts_whatever_the_verdict_says(vehicle: Path, tmp_path: Path) -> None:
    facts = json.loads((vehicle / "gates" / "tiny" / "gate.json").read_text())
    next(row for row in facts["rows"] if row["figure"] == "match rate")["passed"] = False
    (tmp_path / "gate.json").write_text(json.dumps(facts))
    with pytest.raises(NotClearedError, match="refused this bundle: match rate is"):
        check_cleared(tmp_path, facts["candidate"]["sha256"], SAME)


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "gate.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(NotClearedError, match="too large"):
        check_cleared(tmp_path, "ab", SAME)
