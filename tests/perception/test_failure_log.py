"""What a terminal says of failed frames: enough to know, also on the second day, and never a flood."""

from __future__ import annotations

from collections import Counter

import pytest

from perception.failure_log import MINUTE_S, SHOWN, FailureLog
from perception.ledger import Entry
from perception.message import Status
from perception.pipeline import Result


def result(sensor: str, frame: int, status: Status = Status.DECODE_FAILED) -> Result:
    return Result(Entry(sensor, frame, 0, 0), None, status, "cut short", (), b"")


def test_a_frame_that_failed_is_one_line_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    log = FailureLog()
    log(result("front", 7))
    log(result("front", 8, Status.OK))
    assert capsys.readouterr().err == "warning: front frame 7: DECODE_FAILED: cut short\n"


def test_a_flood_of_one_camera_is_cut_off_and_hides_no_other_camera(capsys: pytest.CaptureFixture[str]) -> None:
    log = FailureLog()
    for frame in range(1000):
        log(result("front", frame))
    log(result("rear", 3))
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == SHOWN + 1
    assert lines[-1] == "warning: front: further failed frames of this minute are counted, and not shown"
    assert last == "warning: rear frame 3: DECODE_FAILED: cut short"


def test_what_fails_later_is_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = [0.0]
    log = FailureLog(now_s=lambda: now_s[0])
    said: Counter[int] = Counter()
    for second in range(int(3 * MINUTE_S)):
        now_s[0] = second
        log(result("front", second))
        said[int(second // MINUTE_S)] += capsys.readouterr().err.count("DECODE_FAILED")
    assert said == {0: SHOWN, 1: SHOWN, 2: SHOWN}


def test_a_camera_that_comes_back_is_one_line_and_a_damaged_packet_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = [0.0]
    log = FailureLog(live=True, now_s=lambda: now_s[0])
    log(result("front", 0))
    now_s[0] = 0.04
    for frame in (1, 2):
        log(result("front", frame, Status.OK))
    assert "again" not in capsys.readouterr().err
    log(result("front", 3))
    log(result("rear", 0))
    now_s[0] = 12.34
    for frame in (4, 5):
        log(result("front", frame, Status.OK))
    assert [line for line in capsys.readouterr().err.splitlines() if "again" in line] == [
        "info: front: gives frames again after 12.3 s"
    ]


def test_a_recording_is_never_said_to_be_back(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = [0.0]
    log = FailureLog(now_s=lambda: now_s[0])
    log(result("front", 0))
    now_s[0] = 3600.0
    log(result("front", 1, Status.OK))
    assert "again" not in capsys.readouterr().err
