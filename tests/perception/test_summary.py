"""The figures of a run as README tells them: whoever reads `--json` in a script finds every key there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from engines.runtime.engine import GpuTimes
from perception.ledger import Ledger
from perception.live import LiveRun
from perception.recording import RecordingState
from sensors.frame import Frame

README = (Path(__file__).parents[2] / "README.md").read_text()
# Of these the keys are names: of sensors, reasons, stages.
BY_NAME = {"sensors", "dropped", "failed", "items", "gpu_ms", "broken"}


def of_everything() -> dict[str, Any]:
    """Figures of a run that had all there is: a camera that was lost, a GPU, a second look, a recording."""
    ledger = Ledger()
    entry = ledger.open(Frame("front", 0, 0, 1_000, 2_000, np.zeros((1, 1, 3), np.uint8)))
    entry.inferences, entry.gpu, entry.crops = ((3_000, 4_000),), (GpuTimes(1, 1, 1, 1, 1, 1),), 1
    entry.published_ns = 5_000
    ledger.publish(entry, 1)
    ledger.drop(ledger.open(Frame("front", 1, 1, 1_000, 2_000, np.zeros((1, 1, 3), np.uint8))), "superseded")
    state = RecordingState(Path("out.mcap"), Counter(front=1), {}, 100, 1, 0, "full disk")
    network = SimpleNamespace(engine=SimpleNamespace(name="tensorrt"), bundle=SimpleNamespace(name="road"), crops=True)
    run: Any = SimpleNamespace(
        _pipeline=SimpleNamespace(ledger=ledger, wall_s=1.0),
        networks=[network],
        _outbox=SimpleNamespace(digest=lambda: "ab" * 32),
        _cpu_s=1.0,
        _recorder=SimpleNamespace(state=lambda: state),
        broken={"rear": "is gone"},
    )
    return LiveRun.summary(run)


def keys(figures: dict[str, Any], *, are_names: bool = False) -> Iterator[str]:
    """All keys, also of what lies inside, without the names of things."""
    for key, value in figures.items():
        if not are_names:
            yield key
        if isinstance(value, dict):
            yield from keys(value, are_names=key in BY_NAME)


def test_every_key_of_the_figures_stands_in_readme_and_no_other() -> None:
    (told,) = re.findall(r"^(`--json` ends with .*?)\n\n", README, re.MULTILINE | re.DOTALL)
    commands_and_options = {"--json", "--record", "run", "record"}
    assert set(re.findall(r"`([^`]+)`", told)) - commands_and_options == set(keys(of_everything()))
