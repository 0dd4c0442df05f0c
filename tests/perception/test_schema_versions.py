"""Readers and publishers of different versions: bytes made by hand, as a newer or older schema would make them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.errors import StreamError
from perception.message import MalformedMessageError, Status, decode_message
from perception.message import perception_pb2 as pb
from perception.stream import Publisher, Subscriber

NEWEST_FIELD = max(pb.FrameResult.DESCRIPTOR.fields_by_number)


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(parts) + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def text(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def least(version: int = 1, status: int = 1) -> bytes:
    """What the very first schema cannot do without: version, session, sensor, status."""
    return number(1, version) + text(2, b"feed") + text(4, b"front") + number(9, status)


def test_an_older_publishers_missing_fields_have_their_defaults() -> None:
    message = decode_message(least() + text(12, b""))  # and a box without any of its fields
    assert (message.sensor, message.status, message.sequence, message.stamp_ns) == ("front", Status.OK, 0, 0)
    assert message.networks == ()
    assert message.detections.boxes_xyxy.tolist() == [[0, 0, 0, 0]]
    assert message.class_names == ("",)
    assert message.ledger.published_ns == 0


unknown_fields = st.tuples(
    st.integers(NEWEST_FIELD + 100, 2**20),
    st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=40), st.sampled_from([bytes(4), bytes(8)])),
).map(lambda f: number(*f) if isinstance(f[1], int) else text(*f))  # type: ignore[arg-type]


@given(st.lists(unknown_fields, max_size=5), st.lists(unknown_fields, max_size=5))
def test_a_newer_publishers_unknown_fields_are_skipped(before: list[bytes], after: list[bytes]) -> None:
    box = text(6 + 1, b"car") + b"".join(before)
    message = decode_message(b"".join(before) + least() + number(3, 7) + text(12, box) + b"".join(after))
    assert (message.sequence, message.class_names, message.status) == (7, ("car",), Status.OK)


def test_a_newer_publishers_status_is_unknown_and_told() -> None:
    message = decode_message(least(status=77))
    assert message.status is Status.UNKNOWN
    assert "status 77" in message.status_reason


def test_a_schema_that_would_be_misread_is_refused_with_the_remedy() -> None:
    told = r"has schema version 2, and this reader knows 1; update edge-perception"
    with pytest.raises(MalformedMessageError, match=told):
        decode_message(least(version=2))


def test_a_reader_of_such_a_stream_is_told(tmp_path: Path) -> None:
    with Publisher(f"ipc://{tmp_path}/stream") as publisher, Subscriber(publisher.endpoint, timeout_s=0.5) as reader:
        assert publisher.wait_for_readers(1, threading.Event(), 5.0)
        publisher.send("detections/front/", least(version=2))
        with pytest.raises(StreamError, match="schema version 2, and this reader knows 1; update edge-perception"):
            next(reader)
    assert reader.malformed == 1
