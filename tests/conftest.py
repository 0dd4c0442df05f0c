"""What all tests share: where the recordings lie, and how a `data` test is skipped without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command import Cli, Ended, run
from hypothesis import settings

import engines  # noqa: F401  before a test imports ONNX Runtime by itself: then it reports nothing

DATA = Path(os.environ.get("EDGE_PERCEPTION_DATA", Path(__file__).parents[2] / "shared" / "data"))

# What `tests/long.sh` runs, with `--hypothesis-profile=long`; a test that sets its own number keeps it.
settings.register_profile("long", max_examples=3000, deadline=None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"needs the shared recordings, and {DATA} is not there")
    for item in items:
        if "data" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real drives and networks; only tests marked `data` may ask for it."""
    return DATA


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process, and gives what it said."""

    def ended(*words: object) -> Ended:
        code = run(monkeypatch, *words)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return ended
