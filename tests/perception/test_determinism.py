"""Two replays of a real drive with one bundle and engine give identical messages: twice and compare.

At any rate, with one camera and with three, in a fresh process, and again in one that has replayed before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engines.importing import ImportOptions, import_network
from engines.runtime import ENGINES
from perception.replay import Replay, ReplayRequest
from sensors.source import Span

pytestmark = pytest.mark.data

COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()", "replay"]
SECONDS = 1
DRIVES = {
    "highway": ("videos/solidWhiteRight.mp4",),
    "dusk": ("videos/driving_24000_1001fps.mp4",),
    "kitti": ("kitti_2011_09_26/2011_09_26/2011_09_26_drive_0001_sync",),
    "three cameras": (
        "videos/solidWhiteRight.mp4",
        "videos/driving_24000_1001fps.mp4",
        "videos/test_video.mp4",
    ),
}


@pytest.fixture(scope="module")
def road(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "yolox_nano"
    import_network(data / "models" / "yolox_nano.onnx", folder, ImportOptions(decoder="yolox", labels="coco"))
    return folder


def digest_of(sources: list[str], road: Path, engine: str, rate: float | None) -> str:
    request = ReplayRequest(
        sources=sources, models=[str(road)], engine=engine, rate=rate, span=Span(0, SECONDS * 10**9)
    )
    with Replay(request) as replay:
        replay.run()
        figures = replay.summary()
    assert figures["engine"] == engine
    assert figures["captured"] == figures["published"] + sum(figures["failed"].values())
    assert figures["detections"] > 0
    return str(figures["digest"])


@pytest.mark.parametrize("engine", [engine for engine in ("onnxruntime", "openvino") if engine in ENGINES])
@pytest.mark.parametrize("drive", DRIVES)
def test_a_drive_gives_the_same_messages_each_time(drive: str, engine: str, data: Path, road: Path) -> None:
    sources = [str(data / "drives" / path) for path in DRIVES[drive]]
    digests = [digest_of(sources, road, engine, rate) for rate in (None, None, 1.0)]
    words = [*sources, "--model", str(road), "--engine", engine, "--duration", str(SECONDS), "--json"]
    fresh = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=300, check=True)
    digests.append(json.loads(fresh.stdout)["digest"])
    assert len(set(digests)) == 1, digests


def test_another_drive_gives_another_digest(data: Path, road: Path) -> None:
    one, other = (str(data / "drives" / DRIVES[drive][0]) for drive in ("highway", "dusk"))
    assert digest_of([f"front={one}"], road, "onnxruntime", None) != digest_of(
        [f"front={other}"], road, "onnxruntime", None
    )
