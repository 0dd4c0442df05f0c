"""The examples of readers in other languages: built as their README says, run against a real publisher."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from engines.results import Detections
from perception.message import NetworkInfo, Status
from perception.stream import Outbox, Publisher
from perception.stream.keys import new_keys

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "examples"
WAIT_S = 20.0
FOUND = Detections(np.float32([[1, 2, 3, 4], [5, 6, 7, 8]]), np.float32([0.87, 0.5]), np.int32([1, 0]))


class LosesOne:
    """A sender that loses one message on the way."""

    def __init__(self, publisher: Publisher, lost: int) -> None:
        self._publisher = publisher
        self._until_lost = lost

    def send(self, topic: str, payload: bytes) -> None:
        if self._until_lost:
            self._publisher.send(topic, payload)
        self._until_lost -= 1


@pytest.fixture(scope="module")
def python_reader(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("python")
    reader = shutil.copy(EXAMPLES / "python" / "reader.py", folder)
    schema = ["-I", str(ROOT / "perception" / "message"), f"--python_out={folder}", "perception.proto"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *schema], check=True)
    return [sys.executable, reader]


@pytest.fixture(scope="module")
def cpp_reader(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    missing = [tool for tool in ("cmake", "c++", "protoc", "pkg-config") if shutil.which(tool) is None]
    if missing:
        told = f"{', '.join(missing)} not found; deploy/examples/cpp/README.md says what to install"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    build = tmp_path_factory.mktemp("cpp")
    warnings = "-DCMAKE_CXX_FLAGS=-Wall -Wextra"
    configure = ["cmake", "-S", EXAMPLES / "cpp", "-B", build, "-DCMAKE_BUILD_TYPE=Debug", warnings]
    for command in (configure, ["cmake", "--build", build, "--parallel", "2"]):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    return [str(build / "reader")]


@pytest.fixture(params=["python_reader", "cpp_reader"])
def reader(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    return request.getfixturevalue(request.param)


def run_against_a_drive(
    reader: list[str], lost: int, keys: Path | None = None, arguments: Sequence[str | Path] = ()
) -> tuple[int, str, str]:
    """Publish two sensors' frames to the reader, losing one message; its exit code and what it printed."""
    with (
        Publisher("tcp://127.0.0.1:0", keys=keys) as publisher,
        subprocess.Popen(
            [*reader, publisher.endpoint, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert publisher.wait_for_readers(1, threading.Event(), WAIT_S)
            networks = [NetworkInfo("road", "ab" * 32, "onnxruntime")]
            outbox = Outbox(networks, [("person", "car")], LosesOne(publisher, lost))
            for frame in range(3):
                for sensor in ("front", "rear"):
                    failed = (sensor, frame) == ("rear", 2)
                    outbox.send(
                        sensor=sensor,
                        frame_sequence=frame,
                        stamp_ns=frame * 40_000_000,
                        width=640,
                        height=480,
                        status=Status.DECODE_FAILED if failed else Status.OK,
                        reason="invalid data" if failed else "",
                        detections=[] if failed else [FOUND],
                    )
            outbox.end("front", 3, 0)
            outbox.end("rear", 3, 0)
            output, errors = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    return process.returncode, output, errors


def test_an_example_prints_every_frame_and_stops_at_the_end(reader: list[str]) -> None:
    code, output, errors = run_against_a_drive(reader, lost=-1)
    assert output.splitlines() == [
        "front frame 0 0.000 s: 2 boxes car 0.87, person 0.50",
        "rear frame 0 0.000 s: 2 boxes car 0.87, person 0.50",
        "front frame 1 0.040 s: 2 boxes car 0.87, person 0.50",
        "rear frame 1 0.040 s: 2 boxes car 0.87, person 0.50",
        "front frame 2 0.080 s: 2 boxes car 0.87, person 0.50",
        "rear frame 2 0.080 s: DECODE_FAILED invalid data",
    ]
    assert errors.endswith("received 6, lost 0\n")
    assert code == 0


def test_an_example_counts_what_was_lost(reader: list[str]) -> None:
    code, output, errors = run_against_a_drive(reader, lost=2)
    assert len(output.splitlines()) == 5
    assert errors.endswith("received 5, lost 1\n")
    assert code == 1


class Keys(NamedTuple):
    """Folders of a publisher's and a reader's keys, the reader on the list."""

    vehicle: Path
    laptop: Path

    @property
    def server(self) -> Path:
        return self.vehicle / "vehicle.key"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(new_keys("vehicle", tmp_path), new_keys("laptop", tmp_path))
    shutil.copy(made.laptop / "laptop.key", made.vehicle / "readers")
    return made


def test_the_python_example_reads_a_stream_with_keys(python_reader: list[str], keys: Keys) -> None:
    own = [keys.laptop / "laptop.key_secret", keys.server]
    code, output, _ = run_against_a_drive(python_reader, lost=-1, keys=keys.vehicle, arguments=own)
    assert (code, len(output.splitlines())) == (0, 6)


def test_the_cpp_example_reads_a_stream_with_keys(cpp_reader: list[str], keys: Keys) -> None:
    own = ["--keys", keys.laptop, "--server-key", keys.server]
    code, output, _ = run_against_a_drive(cpp_reader, lost=-1, keys=keys.vehicle, arguments=own)
    assert (code, len(output.splitlines())) == (0, 6)


def test_the_cpp_example_refuses_wrong_keys_in_words(cpp_reader: list[str], keys: Keys, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled.key"
    spoiled.write_text(keys.server.read_text().replace('-key = "', '-key = "x'))
    refused: dict[str, list[str | Path]] = {
        "one key is missing; give --keys and --server-key": ["--keys", keys.laptop],
        "--server-key: what it names is missing": ["--keys", keys.laptop, "--server-key"],
        "--key: is no option": ["--key", keys.laptop],
        f"{keys.vehicle / 'readers'}: no secret key": ["--keys", keys.vehicle / "readers", "--server-key", keys.server],
        "missing.key: has no public-key": ["--keys", keys.laptop, "--server-key", tmp_path / "missing.key"],
        "spoiled.key: its public-key is no key": ["--keys", keys.laptop, "--server-key", spoiled],
    }
    for told, words in refused.items():
        command = [*cpp_reader, "tcp://127.0.0.1:1", *map(str, words)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert ran.returncode == 2, ran.stderr
        assert told in ran.stderr
