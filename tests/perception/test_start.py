"""The installed command before it does anything: Ctrl-C while its code is being loaded."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perception.commands import app
from perception.commands.signals import INTERRUPTED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
WAIT_S = 20.0
# Ctrl-C when the first argument is about to be imported; then as the installed script.
SCRIPT = """
import os, signal, sys
struck = sys.argv.pop(1)
class Strikes:
    def find_spec(self, name, path=None, target=None):
        if name == struck:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Strikes())
from {module} import {function}
sys.exit({function}())
"""


def start(struck: str, *words: str, is_ignored: bool = False) -> subprocess.CompletedProcess[str]:
    installed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["perception"]
    module, _, function = installed.partition(":")
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module, function=function), struck, *words],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if is_ignored else None,
    )


@pytest.mark.parametrize("struck", ["perception.commands.app", "typer", "perception.commands.view", "sensors.errors"])
def test_ctrl_c_while_it_is_loaded_ends_it_quietly(struck: str) -> None:
    ended = start(struck, "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (INTERRUPTED, "", "")


def test_ctrl_c_while_a_verb_loads_what_it_needs_ends_it_quietly() -> None:
    ended = start("zmq", "subscribe", "tcp://127.0.0.1:1")
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (INTERRUPTED, "", "")


def test_ctrl_c_that_is_to_be_ignored_is_ignored() -> None:
    ended = start("typer", "--version", is_ignored=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


def test_ctrl_c_around_the_command_line_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def struck() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "app", struck)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == INTERRUPTED
    assert capsys.readouterr() == ("", "")
