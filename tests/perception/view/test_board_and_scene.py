"""What a page is told, before any page is there: the newest of each, picture and boxes of one frame, words."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_stream import health_of, jpeg

from engines.results import Detections
from perception.message import (
    FrameMessage,
    PreviewMessage,
    SemanticMask,
    SensorHealth,
    SensorState,
    Status,
    decode_message,
)
from perception.message.encoding import BodyEncoder, encode_tail
from perception.stream.connection import Peer
from perception.view.board import Board
from perception.view.scene import MOST_BOXES, MOST_SENSORS, MOST_WAITING_FRAMES, Scene


def events_of(board: Board, after: int = 0) -> list[tuple[str, Any]]:
    """Kind and data of each event, as a browser takes them apart."""
    events = []
    for event in board.after(after, 0)[1]:
        kind, data, *rest = event.decode("ascii").split("\n")
        assert rest == ["", ""]
        events.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def frame(number: int, *corners: list[float], sensor: str = "front", session: str = "one") -> FrameMessage:
    body = BodyEncoder([], []).encode(
        sequence=number, sensor=sensor, frame_sequence=number, stamp_ns=0, width=200, height=100, status=Status.OK
    )
    count = len(corners)
    found = Detections(
        np.array(corners, np.float32).reshape(-1, 4), np.full(count, 0.5, np.float32), np.zeros(count, np.int32)
    )
    names, indexes = ("car",) * count, (0,) * count
    message = decode_message(body + encode_tail(session, None))
    return replace(message, detections=found, class_names=names, network_indexes=indexes)


def preview(number: int, sensor: str = "front", session: str = "one") -> PreviewMessage:
    return PreviewMessage(
        session=session,
        sequence=number,
        sensor=sensor,
        frame_sequence=number,
        stamp_ns=number,
        width=8,
        height=4,
        jpeg=jpeg(8, 4),
    )


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def scene(board: Board) -> Scene:
    return Scene(board, "tcp://127.0.0.1:5555")


# --- the board -------------------------------------------------------------------------------------------


def test_a_page_that_comes_late_gets_the_newest_of_each_in_their_order(board: Board) -> None:
    for number in range(3):
        board.post("frame a", "frame", {"n": number})
        board.post("frame b", "frame", {"n": 10 * number})
    board.post("health", "health", {})
    board.post("frame a", "frame", {"n": 7})
    assert events_of(board) == [("frame", {"n": 20}), ("health", {}), ("frame", {"n": 7})]


def test_a_page_gets_only_what_is_new_to_it(board: Board) -> None:
    board.post("a", "a", {})
    number, _ = board.after(0, 0)
    assert board.after(number, 0) == (number, [])
    board.post("b", "b", {})
    assert events_of(board, number) == [("b", {})]
    board.forget("b")
    assert events_of(board) == [("a", {})]


def test_waiting_ends_with_an_event_or_with_the_board(board: Board) -> None:
    threading.Timer(0.05, board.post, ("a", "a", {})).start()
    number, events = board.after(0, 10.0)
    assert events
    threading.Timer(0.05, board.close).start()
    assert board.after(number, 10.0) == (number, [])
    assert board.closed


@given(st.text())
def test_no_name_can_break_out_of_its_event(name: str) -> None:
    board = Board()
    board.post("a", "a", {"name": name})
    assert events_of(board) == [("a", {"name": name})]


# --- pictures and boxes ----------------------------------------------------------------------------------


def test_a_picture_has_the_boxes_of_its_own_frame(board: Board, scene: Scene) -> None:
    for number in range(5):
        scene.take(frame(number, [number, 0, 50, 50]), {})
    scene.take(preview(2), {})
    ((kind, told),) = events_of(board)
    assert (kind, told["frame"], told["sensor"]) == ("frame", 2, "front")
    assert [box["box"] for box in told["found"]["boxes"]] == [[2, 0, 50, 50]]
    assert (told["found"]["width"], told["found"]["height"], told["found"]["count"]) == (200, 100, 1)
    scene.take(preview(4), {})
    assert events_of(board)[-1][1]["found"]["boxes"][0]["box"] == [4, 0, 50, 50]


def test_a_picture_whose_boxes_were_lost_says_so(board: Board, scene: Scene) -> None:
    scene.take(frame(1, [1, 0, 50, 50]), {})
    scene.take(preview(2), {})
    assert events_of(board)[-1][1]["found"] is None


def test_boxes_without_a_picture_are_kept_for_a_while_and_no_longer(board: Board, scene: Scene) -> None:
    for number in range(MOST_WAITING_FRAMES + 1):
        scene.take(frame(number), {})
    scene.take(preview(0), {})
    assert events_of(board)[-1][1]["found"] is None
    scene.take(preview(1), {})
    assert events_of(board)[-1][1]["found"] is not None


def test_after_a_restart_no_old_boxes_are_drawn_on_new_pictures(board: Board, scene: Scene) -> None:
    scene.take(frame(3, [1, 0, 50, 50]), {})
    scene.take(preview(3), {})
    scene.take(frame(4, [1, 0, 50, 50]), {})
    scene.take(frame(0, session="two"), {})
    assert events_of(board) == []  # a page that comes now sees no picture of what has gone
    scene.take(preview(4, session="two"), {})
    assert events_of(board)[-1][1]["found"] is None


def test_a_failed_frame_is_told_with_its_reason(board: Board, scene: Scene) -> None:
    scene.take(replace(frame(1), status=Status.INFERENCE_FAILED, status_reason="no device"), {})
    scene.take(preview(1), {})
    found = events_of(board)[-1][1]["found"]
    assert (found["status"], found["reason"]) == ("INFERENCE_FAILED", "no device")


def test_a_hostile_publisher_gets_only_so_much_of_a_page(board: Board, scene: Scene) -> None:
    for number in range(MOST_SENSORS + 9):
        scene.take(frame(0, sensor=f"s{number}"), {})
        scene.take(preview(0, sensor=f"s{number}"), {})
    assert len(events_of(board)) == MOST_SENSORS
    scene.take(frame(1, *[[0, 0, 1, 1]] * (MOST_BOXES + 5), sensor="s0"), {})
    scene.take(preview(1, sensor="s0"), {})
    found = events_of(board)[-1][1]["found"]
    assert (len(found["boxes"]), found["count"]) == (MOST_BOXES, MOST_BOXES + 5)
    scene.take(health_of(*[SensorHealth(sensor=f"s{n}", state=SensorState.RUNNING) for n in range(70)]), {})
    told = events_of(board)[-1][1]
    assert (len(told["sensors"]), told["left_out"]) == (MOST_SENSORS, 70 - MOST_SENSORS)


def test_a_mask_of_more_pixels_than_a_page_can_paint_is_left_out(board: Board, scene: Scene) -> None:
    small = SemanticMask("lanes", ("no", "yes"), 2, 1, np.int64([1, 1]), np.uint8([0, 1]), 0)
    large = replace(small, width=4000, height=1001, run_lengths=np.int64([1, 4000 * 1001 - 1]))
    scene.take(replace(frame(0), masks=(large, small)), {})
    scene.take(preview(0), {})
    assert [mask["width"] for mask in events_of(board)[-1][1]["found"]["masks"]] == [2]


def test_a_box_that_is_no_number_is_null(board: Board, scene: Scene) -> None:
    scene.take(frame(0, [float("nan"), 0, float("inf"), 1]), {})
    scene.take(preview(0), {})
    assert events_of(board)[-1][1]["found"]["boxes"][0]["box"] == [None, 0, None, 1]


def test_health_has_what_this_reader_lost_by_sensor(board: Board, scene: Scene) -> None:
    sensors = [SensorHealth(sensor=name, state=SensorState.RUNNING) for name in ("front", "rear")]
    scene.take(health_of(*sensors), {"detections/front/": 3, "preview/front/": 2, "detections/front2/": 9})
    assert [sensor["lost"] for sensor in events_of(board)[-1][1]["sensors"]] == [5, 0]


# --- the connection in words -----------------------------------------------------------------------------


def link_of(scene: Scene, board: Board, peer: Peer, silent_s: float = 0.0, malformed: str = "") -> tuple[str, str]:
    scene.tell(peer, silent_s, 2, {"detections/front/": 4, "health/": 1}, malformed)
    told = dict(events_of(board))["link"]
    assert (told["restarts"], told["lost"], told["endpoint"]) == (2, 5, "tcp://127.0.0.1:5555")
    return told["state"], told["words"]


def test_before_anything_has_come_the_words_say_who_is_there(board: Board, scene: Scene) -> None:
    assert link_of(scene, board, Peer.NOBODY) == (
        "waiting",
        "waiting: no publisher is there; start it, or check the address",
    )
    assert "does not speak ZeroMQ" in link_of(scene, board, Peer.STRANGER)[1]


def test_the_words_follow_the_publisher(board: Board, scene: Scene) -> None:
    scene.take(health_of(), {})
    assert link_of(scene, board, Peer.PUBLISHER) == ("live", "live")
    assert link_of(scene, board, Peer.PUBLISHER, 7.2) == ("away", "connected, but nothing has come for 7 s")
    assert link_of(scene, board, Peer.NOBODY, 1) == (
        "away",
        "the publisher has been away for 1 s; this page goes on when it is back",
    )
    scene.take(health_of(sequence=1, last=True), {})
    assert link_of(scene, board, Peer.NOBODY, 9)[0] == "ended"
    scene.take(frame(0, session="two"), {})
    assert link_of(scene, board, Peer.PUBLISHER)[0] == "live"


def test_what_could_not_be_read_is_said(board: Board, scene: Scene) -> None:
    scene.take(health_of(), {})
    words = link_of(scene, board, Peer.PUBLISHER, malformed="message: has no session")[1]
    assert words == "live; what came could not all be read: message: has no session"


def test_the_same_words_are_told_once(board: Board, scene: Scene) -> None:
    link_of(scene, board, Peer.NOBODY)
    number, _ = board.after(0, 0)
    link_of(scene, board, Peer.NOBODY)
    assert board.after(number, 0) == (number, [])
