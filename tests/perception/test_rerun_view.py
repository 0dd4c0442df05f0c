"""`--rerun`: what is saved is read back with Rerun's own tool, and holds every picture, box, mask, scan and fault."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import drive_formats
import gated_networks
import pytest
import tiny_networks
from command import run

from perception.replay import Replay, ReplayRequest

pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'edge-perception[rerun]'")

FRAMES = 5


def printed(file: Path, *words: str) -> str:
    tool = [sys.executable, "-m", "rerun", "rrd"]
    subprocess.run([*tool, "verify", str(file)], check=True, capture_output=True, timeout=120)
    shown = subprocess.run([*tool, "print", *words, str(file)], check=True, capture_output=True, text=True, timeout=120)
    return shown.stdout + shown.stderr


def rows_by_entity(file: Path) -> Counter[tuple[str, str]]:
    """How many rows each entity has of what."""
    rows: Counter[tuple[str, str]] = Counter()
    for count, entity, archetype in re.findall(
        r"with (\d+) rows .* - (/\S+) - data columns: \[\S+@(\w+):", printed(file, "-v")
    ):
        rows[entity, archetype] += int(count)
    return rows


def test_a_replay_saves_every_picture_with_what_was_found_on_it(tmp_path: Path) -> None:
    detector = tiny_networks.make_bundle(tmp_path / "tiny").folder
    segmenter = tiny_networks.make_segmenter_bundle(tmp_path / "masks").folder
    drive = gated_networks.write_drive(tmp_path / "road", FRAMES)
    (drive / "03.png").write_bytes(b"no image")
    out = tmp_path / "seen.rrd"
    models = [str(detector), str(segmenter)]
    with Replay(ReplayRequest(sources=[str(drive)], models=models, rerun=str(out))) as replay:
        replay.run()
    rows = rows_by_entity(out)
    assert rows["/road", "EncodedImage"] == FRAMES - 1
    assert rows["/road/found", "Boxes2D"] == FRAMES - 1
    assert rows["/road/colour", "SegmentationImage"] == rows["/road/shade", "SegmentationImage"] == FRAMES - 1
    assert rows["/road/faults", "TextLog"] == 1
    boxes = printed(out, "-vvv", "--entity", "/road/found")
    assert boxes.count("[[8.0, 12.0], [22.0, 20.0]]") == FRAMES - 1  # the centres of both, on each frame
    assert [stamp for stamp in ("P0D", "PT0.1S", "PT0.2S", "PT0.3S", "PT0.4S") if f" {stamp} " in boxes] == [
        "P0D", "PT0.1S", "PT0.2S", "PT0.4S",
    ]  # fmt: skip


def test_scans_and_pictures_of_a_drive_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    drive = drive_formats.write_radiate(tmp_path / "radiate")
    out = tmp_path / "seen.rrd"
    assert run(monkeypatch, "drive", "view", drive, "--rerun", out) == 0
    assert "velo_lidar 8" in capsys.readouterr().out
    rows = rows_by_entity(out)
    assert rows["/zed_left", "EncodedImage"] == rows["/zed_right", "EncodedImage"] == drive_formats.ITEMS
    assert rows["/velo_lidar", "Points3D"] == rows["/Navtech_Polar", "Points3D"] == drive_formats.ITEMS
    assert "2017-07-14T02:40:00" in printed(out, "-vvv", "--entity", "/velo_lidar")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rerun", "seen.mp4"), "is neither live nor an .rrd file"),
        ((), "there is nothing to make"),
    ],
)
def test_a_wrong_request_is_told_in_words(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    drive = gated_networks.write_drive(tmp_path / "road", 1)
    assert run(monkeypatch, "drive", "view", drive, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.rrd"))
