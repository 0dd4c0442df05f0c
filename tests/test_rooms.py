"""Which room may import which, and that the three names are ours."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("perception", "engines", "sensors")


def imported_by(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files_of(room: str) -> list[Path]:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    return files


def test_imports_run_one_way() -> None:
    """The contracts of pyproject.toml hold."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    process = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert " 0 broken" in process.stdout


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("sensors", ("engines", "perception", "onnxruntime", "zmq", "torch")),
        ("engines", ("perception", "zmq", "av")),
        ("engines/runtime", ("engines.training", "engines.quantize", "engines.plans", "engines.decoders")),
        ("perception", ("torch",)),
    ],
)
def test_a_room_does_not_import_what_it_must_not_know(room: str, forbidden: tuple[str, ...]) -> None:
    """Also inside functions, where an import is not seen at a glance."""
    for file in files_of(room):
        wrong = {
            name for name in imported_by(file) for word in forbidden if name == word or name.startswith(f"{word}.")
        }
        assert not wrong, f"{file.relative_to(ROOT)} imports {wrong}"


def test_only_training_imports_torch() -> None:
    for room in ROOMS:
        for file in files_of(room):
            if "training" not in file.parts:
                assert not {name for name in imported_by(file) if name.split(".")[0] == "torch"}, file


def test_only_commands_import_training_and_only_when_they_run() -> None:
    """A vehicle never loads it, and neither does `perception --help`."""
    for file in files_of("perception"):
        tree = ast.parse(file.read_text())
        is_typing = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
        at_once = [node for node in tree.body if node not in is_typing and not isinstance(node, ast.FunctionDef)]
        wanted = imported_by(file) if "commands" not in file.parts else {
            node.module or "" for top in at_once for node in ast.walk(top) if isinstance(node, ast.ImportFrom)
        }  # fmt: skip
        assert not {name for name in wanted if name.startswith("engines.training")}, file


def test_only_the_stream_imports_zeromq() -> None:
    for room in ROOMS:
        for file in files_of(room):
            if "stream" not in file.parts:
                assert not {name for name in imported_by(file) if name.split(".")[0] == "zmq"}, file


@pytest.mark.parametrize("room", ROOMS)
def test_a_package_says_that_it_is_typed(room: str) -> None:
    assert (ROOT / room / "py.typed").is_file()


@pytest.mark.parametrize("shadow", ROOMS)
def test_a_package_of_another_distribution_in_the_place_of_ours_is_named(shadow: str, tmp_path: Path) -> None:
    (tmp_path / shadow).mkdir()
    (tmp_path / shadow / "__init__.py").write_text("")
    for room in ROOMS:
        if room == shadow:
            continue
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {room}"
        process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert process.returncode == 1
        last_line = process.stderr.strip().splitlines()[-1]
        assert f"the package '{shadow}' found on the import path is not edge-perception's" in last_line
        assert "virtual environment of its own" in last_line


@pytest.mark.parametrize("room", ROOMS)
def test_a_package_imports_by_itself(room: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", f"import {room}"], cwd=ROOT, check=True)
