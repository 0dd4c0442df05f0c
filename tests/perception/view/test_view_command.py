"""`perception view` as its user has it: real processes, a real run, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import tiny_networks
from drive_media import write_video

from perception.message import SensorState
from perception.stream import HealthSubscriber, Publisher
from perception.stream.keys import new_keys

COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()"]
WAIT_S = 30.0
NO_DESKTOP = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as opened:

        def started(*words: object, **options: Any) -> subprocess.Popen[str]:
            process = opened.enter_context(
                subprocess.Popen(
                    [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
                )
            )
            opened.callback(process.kill)
            return process

        yield started


def said_address(process: subprocess.Popen[str]) -> tuple[str, int]:
    """Where the page is, as the command says."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("the page is at http://127.0.0.1:"), line
    host, port = line.split("//")[1].split("/")[0].split(":")
    return host, int(port)


class Events:
    """The page's events, as its browser gets them."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=WAIT_S)
        self._connection.request("GET", "/events")
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        kind = ""
        for line in self._answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)

    def first(self, kind: str, holds: Callable[[dict[str, Any]], bool] = lambda data: True) -> dict[str, Any]:
        return next(data for named, data in self if named == kind and holds(data))


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_at_once_although_a_page_is_open(start: Start, sent: signal.Signals, code: int) -> None:
    process = start("view", "tcp://127.0.0.1:1", "--port", 0, "--no-open")
    events = Events(said_address(process))
    assert events.first("link")["state"] == "waiting"
    process.send_signal(sent)
    output, errors = process.communicate(timeout=WAIT_S)
    assert (process.returncode, output, errors) == (code, "", "")


def test_a_real_run_is_shown_as_it_tells_of_itself(start: Start, tmp_path: Path) -> None:
    tiny_networks.make_bundle(tmp_path / "tiny")
    write_video(tmp_path / "front.mp4")
    write_video(tmp_path / "rear.mp4")
    (tmp_path / "vehicle.toml").write_text(
        """
        camera = [
            { name = "front", uri = "front.mp4", every = 3, loop = true },
            { name = "rear", uri = "rear.mp4", loop = true },
        ]
        network = [{ bundle = "tiny", thresholds = { default = 0.05 } }]
        publish = { endpoint = "tcp://127.0.0.1:0" }
        """
    )
    run = start("run", tmp_path / "vehicle.toml")
    assert run.stderr is not None
    endpoint = run.stderr.readline().split()[-1]
    events = Events(said_address(start("view", endpoint, "--port", 0, "--no-open")))
    with HealthSubscriber(endpoint, timeout_s=WAIT_S) as reader:
        shown = events.first("health", lambda data: data["sensors"][0]["dropped"].get("skipped", 0) > 5)
        told = next(message for message in reader if message.sequence == shown["sequence"])
    for sensor, told_of in zip(shown["sensors"], told.sensors, strict=True):
        assert told_of.balances
        for name in ("sensor", "captured", "published", "dropped", "captured_hz", "published_hz", "latency_p50_ms"):
            assert sensor[name] == getattr(told_of, name)
        assert sensor["state"] == SensorState.RUNNING.name
        assert sensor["lost"] == 0
    picture = events.first("frame", lambda data: bool(data["found"] and data["found"]["boxes"]))
    assert (picture["found"]["width"], picture["found"]["height"]) == (64, 48)
    run.send_signal(signal.SIGINT)
    assert events.first("link", lambda data: data["state"] == "ended")


def test_a_wrong_request_is_one_line_and_exit_code_2(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for words, what in (
            (["tcp://0.0.0.0:5555"], "is open to the network"),
            (["tcp://127.0.0.1:5555", "--keys", "nowhere"], "one key is missing"),
            (["tcp://127.0.0.1:5555", "--port", taken.getsockname()[1]], "is in use; choose another one"),
        ):
            process = start("view", *words, "--no-open")
            _, errors = process.communicate(timeout=WAIT_S)
            assert process.returncode == 2
            assert errors.count("\n") == 1
            assert what in errors


def test_a_reader_that_is_refused_is_told_and_ends_with_2(start: Start, tmp_path: Path) -> None:
    vehicle, laptop = new_keys("vehicle", tmp_path), new_keys("laptop", tmp_path)
    with Publisher("tcp://127.0.0.1:0", keys=vehicle) as publisher:
        process = start(
            "view",
            publisher.endpoint,
            "--port",
            0,
            "--no-open",
            "--keys",
            laptop,
            "--server-key",
            vehicle / "vehicle.key",
        )
        _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert "its key is not on the list" in errors.splitlines()[-1]


def test_a_reader_with_a_listed_key_sees_the_stream(start: Start, tmp_path: Path) -> None:
    vehicle, laptop = new_keys("vehicle", tmp_path), new_keys("laptop", tmp_path)
    (vehicle / "readers" / "laptop.key").write_bytes((laptop / "laptop.key").read_bytes())
    with Publisher("tcp://127.0.0.1:0", keys=vehicle) as publisher:
        process = start(
            "view",
            publisher.endpoint,
            "--port",
            0,
            "--no-open",
            "--keys",
            laptop,
            "--server-key",
            vehicle / "vehicle.key",
        )
        said_address(process)
        assert publisher.wait_for_readers(1, threading.Event(), WAIT_S)


def test_without_a_desktop_no_browser_takes_over_the_terminal(start: Start, tmp_path: Path) -> None:
    taken_over = tmp_path / "started"
    browser = tmp_path / "www-browser"
    browser.write_text(f"#!/bin/sh\ntouch {taken_over}\n")
    browser.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    process = start("view", "tcp://127.0.0.1:1", "--port", 0, env={**NO_DESKTOP, "PATH": path})
    Events(said_address(process)).first("link")
    assert not taken_over.exists()
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 130


def test_with_a_desktop_the_page_is_opened_unless_it_is_not_wanted(start: Start, tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    browser.chmod(0o755)
    environment = {**NO_DESKTOP, "DISPLAY": ":7", "BROWSER": str(browser)}
    for more in ([], ["--no-open"]):
        process = start("view", "tcp://127.0.0.1:1", "--port", 0, *more, env=environment)
        host, port = said_address(process)
        Events((host, port)).first("link")
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
        if not more:
            first = f"http://{host}:{port}/\n"
    assert opened.read_text() == first


def test_help_lists_it_and_loads_nothing_heavy() -> None:
    ended = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert "view" in ended.stdout
    code = "import sys, perception.commands.view; assert not {'zmq', 'numpy', 'http.server'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
