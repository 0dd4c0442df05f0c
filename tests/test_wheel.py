"""What is installed from a wheel has everything that is read at run time, not only code."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_has_all_files_that_are_read_at_run_time(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    wanted = set()
    for room in ("perception", "engines", "sensors"):
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
        wanted |= {str(path.relative_to(tree)) for path in (tree / room).rglob("*") if path.is_file()}
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    ended = subprocess.run([sys.executable, "-c", build], cwd=tree, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    with zipfile.ZipFile(tree / ended.stdout.splitlines()[-1]) as wheel:
        missing = wanted - set(wheel.namelist())
    assert {name for name in missing if not name.endswith(".pyi")} == set()
    assert {"perception/view/page/index.html", "engines/coco.txt"} <= wanted
