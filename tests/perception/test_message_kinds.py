"""Health and preview messages: what is encoded is what is decoded, and bytes that are none of ours are refused."""

from __future__ import annotations

import json
from base64 import b64decode
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_stream import ROAD, health_of, jpeg

from perception.message import (
    HealthMessage,
    MalformedMessageError,
    PreviewMessage,
    SensorHealth,
    SensorState,
    to_json_dict,
)
from perception.message import perception_pb2 as pb
from perception.message.health_message import decode_health, encode_health
from perception.message.kinds import decode_on_topic
from perception.message.preview_message import decode_preview, encode_preview

counts = st.integers(0, 2**40)
reasons = st.dictionaries(st.sampled_from(["superseded", "skipped", "decode_failed", "ü"]), counts, max_size=3)
figures = st.floats(0, 1e6)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@st.composite
def sensors(draw: st.DrawFn) -> SensorHealth:
    published, dropped, failed, in_flight = draw(counts), draw(reasons), draw(reasons), draw(st.integers(0, 9))
    return SensorHealth(
        sensor=draw(names),
        state=draw(st.sampled_from([state for state in SensorState if state])),
        state_reason=draw(st.text(st.characters(codec="utf-8"), max_size=20)),
        captured=published + sum(dropped.values()) + sum(failed.values()) + in_flight,
        published=published,
        dropped=dropped,
        failed=failed,
        in_flight=in_flight,
        captured_hz=draw(figures),
        published_hz=draw(figures),
        last_stamp_ns=draw(st.integers(-(2**63), 2**63 - 1)),
        latency_p50_ms=draw(figures),
        latency_p99_ms=draw(figures),
        messages=draw(counts),
    )


healths = st.builds(
    HealthMessage,
    session=names,
    sequence=counts,
    sent_ns=st.integers(0, 2**62),
    uptime_ns=st.integers(0, 2**62),
    last=st.booleans(),
    failure=st.text(st.characters(codec="utf-8"), max_size=20),
    sensors=st.lists(sensors(), max_size=3).map(tuple),
    networks=st.sampled_from([(), (ROAD,), (ROAD, ROAD)]),
    readers=st.integers(0, 2**31),
)
FRONT = SensorHealth(
    sensor="front", state=SensorState.RUNNING, captured=5, published=3, dropped={"skipped": 1}, in_flight=1
)
PREVIEW = PreviewMessage(
    session="one", sequence=4, sensor="front", frame_sequence=9, stamp_ns=-7, width=64, height=36, jpeg=jpeg(64, 36)
)


@given(healths)
def test_health_comes_back_as_it_was(health: HealthMessage) -> None:
    assert decode_health(encode_health(health)) == health
    assert all(sensor.balances for sensor in health.sensors)
    assert json.loads(json.dumps(to_json_dict(health), allow_nan=False))["sequence"] == health.sequence


@pytest.mark.parametrize("wrong", [{"captured": 6}, {"published": 2}, {"in_flight": 0}, {"failed": {"aborted": 1}}])
def test_an_account_that_does_not_balance_is_seen(wrong: dict[str, object]) -> None:
    assert FRONT.balances
    assert not replace(FRONT, **wrong).balances  # type: ignore[arg-type]


def test_a_preview_comes_back_as_it_was() -> None:
    assert decode_preview(encode_preview(PREVIEW)) == PREVIEW
    assert PREVIEW.topic == "preview/front/"
    assert b64decode(to_json_dict(PREVIEW)["jpeg"]) == PREVIEW.jpeg


def test_json_of_health_has_the_field_names_of_the_schema() -> None:
    told = to_json_dict(health_of(FRONT))
    assert set(told) - {"topic"} == set(pb.Health.DESCRIPTOR.fields_by_name)
    assert set(told["sensors"][0]) == set(pb.SensorHealth.DESCRIPTOR.fields_by_name)
    assert told["sensors"][0]["state"] == "RUNNING"
    assert set(to_json_dict(PREVIEW)) - {"topic"} == set(pb.Preview.DESCRIPTOR.fields_by_name)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    for topic in (b"health/", b"preview/front/", b"detections/front/", b"other/", b"\xff"):
        with suppress(MalformedMessageError):
            decode_on_topic(topic, payload)


@given(st.data())
def test_damaged_messages_are_read_or_refused(data: st.DataObject) -> None:
    topic, whole = data.draw(
        st.sampled_from([(b"health/", encode_health(health_of(FRONT))), (b"preview/front/", encode_preview(PREVIEW))])
    )
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at] = data.draw(st.integers(0, 255))
    with suppress(MalformedMessageError):
        decode_on_topic(topic, bytes(damaged[: data.draw(st.integers(0, len(whole)))]))


@pytest.mark.parametrize("field", ["schema_version", "session"])
def test_health_without_what_every_message_has_is_refused(field: str) -> None:
    message = pb.Health.FromString(encode_health(health_of(FRONT)))
    message.ClearField(field)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessageError, match=f"has no {field}"):
        decode_health(message.SerializeToString())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"captured_hz": float("nan")}, "is no number"),
        ({"published_hz": float("inf")}, "is no number"),
        ({"latency_p50_ms": -1.0}, "is no number"),
        ({"latency_p99_ms": float("-inf")}, "is no number"),
        ({"sensor": ""}, "without a name"),
    ],
)
def test_figures_that_nobody_can_show_are_refused(changes: dict[str, object], what: str) -> None:
    with pytest.raises(MalformedMessageError, match=what):
        decode_health(encode_health(health_of(replace(FRONT, **changes))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"width": 0}, "0 x 36 pixels"),
        ({"height": 8193}, "64 x 8193 pixels"),
        ({"jpeg": b"<svg/>"}, "no small JPEG"),
        ({"jpeg": b"\xff\xd8\xff" + bytes(4 * 2**20)}, "no small JPEG"),
        ({"jpeg": b""}, "has no jpeg"),
        ({"sensor": ""}, "has no sensor"),
        ({"session": ""}, "has no session"),
        ({"schema_version": 2}, "update edge-perception"),
    ],
)
def test_a_preview_that_is_no_small_picture_is_refused(changes: dict[str, object], what: str) -> None:
    with pytest.raises(MalformedMessageError, match=what):
        decode_preview(encode_preview(replace(PREVIEW, **changes)))  # type: ignore[arg-type]


def test_a_state_of_a_newer_publisher_is_unknown() -> None:
    message = pb.Health.FromString(encode_health(health_of(FRONT)))
    message.sensors[0].state = 77  # type: ignore[assignment]
    assert decode_health(message.SerializeToString()).sensors[0].state is SensorState.UNKNOWN


def test_a_message_on_anothers_topic_is_refused() -> None:
    assert decode_on_topic(b"preview/front/", encode_preview(PREVIEW)) == PREVIEW
    for topic in (b"preview/rear/", b"preview/front/x/"):
        with pytest.raises(MalformedMessageError, match="but is of preview/front/"):
            decode_on_topic(topic, encode_preview(PREVIEW))
    with pytest.raises(MalformedMessageError, match="but is of health/"):
        decode_on_topic(b"health/front/", encode_health(health_of(FRONT)))
    with pytest.raises(MalformedMessageError, match="none of ours"):
        decode_on_topic(b"other/", encode_preview(PREVIEW))
