"""Messages: what is encoded is what is decoded, and bytes that are none of ours are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.results import Classification, ClassMap, CropClasses, Detections, SegmentationMap
from perception.message import (
    Digest,
    LedgerStamps,
    MalformedMessageError,
    NamedClass,
    NetworkInfo,
    NetworkStamps,
    Status,
    decode_message,
    to_json_dict,
    topic_of,
)
from perception.message import perception_pb2 as pb
from perception.message.encoding import BodyEncoder, encode_tail

ROOT = Path(__file__).parents[2]
ROAD = NetworkInfo("road", "ab" * 32, "onnxruntime")
SIGNS = NetworkInfo("signs", "cd" * 32, "openvino")
LABELS = ("person", "car", "fahrrad-ü")
LEDGER = {"arrival_ns": 1_700_000_000_000_000_001, "published_ns": 1_700_000_000_000_000_002}


def boxes(*scores: float, class_index: int = 0) -> Detections:
    count = len(scores)
    return Detections(
        np.tile(np.float32([1.5, 2, 30.25, 40]), (count, 1)),
        np.float32(scores),
        np.full(count, class_index, np.int32),
        np.arange(1, count + 1),
    )


def a_body(**changes: object) -> bytes:
    values = {
        "sequence": 7,
        "sensor": "front",
        "frame_sequence": 8,
        "stamp_ns": 123_456_789,
        "width": 640,
        "height": 480,
        "status": Status.OK,
        "detections": [boxes(0.87, 0.5, class_index=1)],
    }
    return BodyEncoder([ROAD], [LABELS]).encode(**(values | changes))  # type: ignore[arg-type]


def a_payload(**changes: object) -> bytes:
    return a_body(**changes) + encode_tail("feed", LEDGER)


pixels = st.floats(0, 1e5, width=32)
detections = st.lists(
    st.tuples(
        st.tuples(pixels, pixels, pixels, pixels),
        st.floats(0, 1, width=32),
        st.integers(0, len(LABELS) - 1),
        st.integers(0, 2**63 - 1),
    ),
    max_size=8,
).map(
    lambda rows: Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int32),
        np.array([row[3] for row in rows], np.int64),
    )
)


@given(
    sensor=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    sequence=st.integers(0, 2**64 - 1),
    stamp_ns=st.integers(-(2**63), 2**63 - 1),
    status=st.sampled_from([status for status in Status if status]),
    found=detections,
    stamps=st.lists(st.integers(0, 2**63 - 1), min_size=7, max_size=7),
    of_networks=st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)), max_size=3),
)
def test_what_is_encoded_is_decoded(
    *,
    sensor: str,
    sequence: int,
    stamp_ns: int,
    status: Status,
    found: Detections,
    stamps: list[int],
    of_networks: list[tuple[int, int]],
) -> None:
    *names, networks = LedgerStamps.__dataclass_fields__
    times = dict(zip(names, stamps, strict=True))
    ledger = {**times, networks: [{"started_ns": began, "inferred_ns": ended} for began, ended in of_networks]}
    body = a_body(sensor=sensor, sequence=sequence, stamp_ns=stamp_ns, status=status, detections=[found], reason="why")

    message = decode_message(body + encode_tail("feed", ledger))

    assert (message.sensor, message.sequence, message.stamp_ns) == (sensor, sequence, stamp_ns)
    assert (message.status, message.status_reason, message.session) == (status, "why", "feed")
    assert (message.frame_sequence, message.image_width, message.image_height) == (8, 640, 480)
    assert message.networks == (ROAD,)
    assert message.ledger == LedgerStamps(**times, networks=tuple(NetworkStamps(*pair) for pair in of_networks))
    assert message.class_names == tuple(LABELS[index] for index in found.classes)
    for name in ("boxes_xyxy", "scores", "classes", "track_ids"):
        decoded = getattr(message.detections, name)
        assert decoded.dtype == getattr(found, name).dtype
        np.testing.assert_array_equal(decoded, getattr(found, name))


def test_the_bytes_are_those_that_they_were() -> None:
    body = BodyEncoder([], []).encode(
        sequence=7,
        sensor="front",
        frame_sequence=8,
        stamp_ns=123_456_789,
        width=640,
        height=480,
        status=Status.OK,
    )
    assert body.hex(" ") == (
        "08 01 18 07 22 05 66 72 6f 6e 74 "  # schema version 1, sequence 7, sensor "front"
        "28 08 30 95 9a ef 3a "  # frame sequence 8, stamp
        "38 80 05 40 e0 03 48 01"  # 640 x 480, OK
    )
    assert encode_tail("feed", {"arrival_ns": 1}).hex(" ") == "12 04 66 65 65 64 6a 02 08 01"


def test_body_and_tail_laid_end_to_end_are_one_message() -> None:
    body = a_body(detections=[boxes(0.5)])
    whole = pb.FrameResult.FromString(body + encode_tail("feed", LEDGER))
    assert whole.session == "feed"
    assert whole.ledger.published_ns == LEDGER["published_ns"]
    assert len(whole.networks) == len(whole.detections) == 1
    whole.ClearField("session")
    whole.ClearField("ledger")
    assert whole.SerializeToString() == body


def test_boxes_of_two_networks_are_merged_best_first() -> None:
    encoder = BodyEncoder([ROAD, SIGNS], [LABELS, ("stop",)])
    body = encoder.encode(
        sequence=0,
        sensor="front",
        frame_sequence=0,
        stamp_ns=0,
        status=Status.OK,
        detections=[boxes(0.9, 0.5, class_index=1), boxes(0.75, 0.5)],
    )
    message = decode_message(body + encode_tail("feed", None))
    np.testing.assert_array_equal(message.detections.scores, np.float32([0.9, 0.75, 0.5, 0.5]))
    assert message.class_names == ("car", "stop", "car", "stop")
    assert message.network_indexes == (0, 1, 0, 1)


def test_results_of_a_wrong_number_of_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="2 networks"):
        a_body(detections=[boxes(), boxes()])
    with pytest.raises(ValueError, match="1 networks"):
        BodyEncoder([ROAD], [])


def test_a_name_that_is_no_unicode_is_sent_all_the_same() -> None:
    message = decode_message(a_payload(sensor="cam\udcff", reason="bad \udcff"))
    assert (message.sensor, message.status_reason) == ("cam?", "bad ?")


def test_a_newer_publisher_is_read_as_far_as_it_is_known() -> None:
    unknown_field = b"\xaa\x06\x03new"
    status_9 = b"\x48\x09"
    message = decode_message(a_payload() + unknown_field + status_9)
    assert message.status is Status.UNKNOWN
    assert "status 9" in message.status_reason
    assert message.sensor == "front"


@pytest.mark.parametrize("name", ["schema_version", "session", "sensor", "status"])
def test_a_message_without_what_every_message_has_is_refused(name: str) -> None:
    message = pb.FrameResult.FromString(a_payload())
    message.ClearField(name)
    with pytest.raises(MalformedMessageError, match=name):
        decode_message(message.SerializeToString())


@pytest.mark.parametrize(
    ("box", "what"),
    [
        (pb.Detection(network=1), "network 1 of 1"),
        (pb.Detection(class_index=2**32 - 1), "out of range"),
        (pb.Detection(track_id=2**64 - 1), "out of range"),
    ],
)
def test_a_box_that_cannot_be_is_refused(box: pb.Detection, what: str) -> None:
    with pytest.raises(MalformedMessageError, match=what):
        decode_message(a_payload() + pb.FrameResult(detections=[box]).SerializeToString())


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_our_error(payload: bytes) -> None:
    for candidate in (payload, a_payload() + payload):
        with suppress(MalformedMessageError):
            to_json_dict(decode_message(candidate))


@given(st.data())
def test_a_damaged_message_raises_nothing_but_our_error(data: st.DataObject) -> None:
    payload = bytearray(a_payload())
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedMessageError):
        to_json_dict(decode_message(bytes(payload)))


def test_json_has_the_words_of_the_schema_and_short_numbers() -> None:
    as_json = json.loads(json.dumps(to_json_dict(decode_message(a_payload())), allow_nan=False))
    assert as_json["topic"] == "detections/front/"
    assert as_json["stamp_ns"] == 123_456_789
    assert as_json["status"] == "OK"
    assert as_json["networks"] == [{"name": "road", "bundle_sha256": "ab" * 32, "engine": "onnxruntime"}]
    assert as_json["detections"][0] == {
        "box": [1.5, 2.0, 30.25, 40.0],
        "score": 0.87,
        "class_index": 1,
        "class": "car",
        "track_id": 1,
        "network": 0,
        "crop_classes": [],
    }
    assert as_json["ledger"]["published_ns"] == LEDGER["published_ns"]
    assert as_json["masks"] == []
    schema = {field.name for field in pb.FrameResult.DESCRIPTOR.fields}
    assert set(as_json) == schema | {"topic"}


def test_what_a_second_network_says_stays_with_its_box() -> None:
    """Boxes of two detectors are sorted together by score; two classifiers look at those of the second one."""
    networks = [NetworkInfo(name, "ab" * 32, "onnxruntime") for name in ("road", "things", "signs", "lights")]
    first, second = (
        Detections(
            np.array([[n, 0, n + 9, 9] for n in places], np.float32),
            np.array(scores, np.float32),
            np.zeros(len(places), np.int32),
        )
        for places, scores in (((0, 1), (0.9, 0.5)), ((2, 3, 4), (0.8, 0.5, 0.1)))
    )
    of_signs = CropClasses(1, np.array([0, 2]), np.array([1, 0], np.int32), np.float32([0.75, 0.5]))
    of_lights = CropClasses(1, np.array([2]), np.array([1], np.int32), np.float32([0.25]))
    body = BodyEncoder(networks, [("car",), ("box",), ("stop", "yield"), ("red", "green")]).encode(
        sequence=0,
        sensor="front",
        frame_sequence=0,
        stamp_ns=0,
        status=Status.OK,
        detections=[first, second, of_signs, of_lights],
    )
    message = decode_message(body + encode_tail("session", None))
    assert message.detections.boxes_xyxy[:, 0].tolist() == [0, 2, 1, 3, 4]
    yielding, stop, green = (
        NamedClass(1, "yield", 0.75, 2),
        NamedClass(0, "stop", 0.5, 2),
        NamedClass(1, "green", 0.25, 3),
    )
    assert message.crop_classes == ((), (yielding,), (), (), (stop, green))
    as_json = to_json_dict(message)
    said = {"class": "yield", "class_index": 1, "score": 0.75, "network": 2}
    assert [box["crop_classes"] for box in as_json["detections"]][:3] == [[], [said], []]


def test_what_an_image_is_comes_back_as_it_was() -> None:
    found = Classification(np.array([2, 0], np.int32), np.float32([0.75, 0.25]))
    body = BodyEncoder([ROAD], [("sun", "rain", "fog")]).encode(
        sequence=0, sensor="front", frame_sequence=0, stamp_ns=0, status=Status.OK, detections=[found]
    )
    message = decode_message(body + encode_tail("session", None))
    assert message.image_classes == (NamedClass(2, "fog", 0.75, 0), NamedClass(0, "sun", 0.25, 0))
    assert message.crop_classes == ()


def test_a_class_of_a_network_that_is_not_there_is_refused() -> None:
    for place in ("image", "crop"):
        message = pb.FrameResult.FromString(a_payload())
        classes = message.image_classes if place == "image" else message.detections[0].crop_classes
        classes.add(class_name="stop", network=1)
        with pytest.raises(MalformedMessageError, match=r"its class 'stop' is of network 1 of 1"):
            decode_message(message.SerializeToString())


LANES = ("background", "drivable", "background", "dashed", "solid")
class_maps = st.tuples(st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 40]))


def some_masks(width: int, height: int, seed: int, block: int) -> SegmentationMap:
    """Two groups, of two and of three classes, in rows of about `block` equal pixels."""
    random = np.random.default_rng(seed)
    pixels = width * height
    maps = []
    for group, first_label, count in (("drivable", 0, 2), ("lanes", 2, 3)):
        flat = random.integers(0, count, pixels // block + 1, np.uint8).repeat(block)[:pixels]
        maps.append(ClassMap(group, flat.reshape(height, width), first_label, count))
    return SegmentationMap(tuple(maps))


def mask_payload(found: SegmentationMap) -> bytes:
    body = BodyEncoder([ROAD, SIGNS], [LABELS, LANES]).encode(
        sequence=7,
        sensor="front",
        frame_sequence=8,
        stamp_ns=1,
        width=640,
        height=480,
        status=Status.OK,
        detections=[boxes(0.5), found],
    )
    return body + encode_tail("feed", LEDGER)


@given(class_maps)
def test_masks_that_are_encoded_are_decoded(size: tuple[int, int, int, int]) -> None:
    found = some_masks(*size)
    message = decode_message(mask_payload(found))
    assert len(message.detections) == 1
    assert [(mask.group, mask.class_names, mask.network) for mask in message.masks] == [
        ("drivable", LANES[:2], 1),
        ("lanes", LANES[2:], 1),
    ]
    for mask, wanted in zip(message.masks, found.maps, strict=True):
        assert (mask.height, mask.width) == wanted.classes.shape
        array = mask.to_array()
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, wanted.classes)
        assert (mask.run_classes[1:] != mask.run_classes[:-1]).all(), "runs are as long as they can be"
        for index, name in enumerate(mask.class_names):
            assert mask.shares()[name] == pytest.approx((wanted.classes == index).mean())
    as_json = json.loads(json.dumps(to_json_dict(message), allow_nan=False))
    for mask, wanted in zip(as_json["masks"], found.maps, strict=True):
        flat = [c for n, c in zip(mask["run_lengths"], mask["run_classes"], strict=True) for _ in range(n)]
        assert flat == wanted.classes.ravel().tolist()
        assert set(mask) == {field.name for field in pb.SemanticMask.DESCRIPTOR.fields}


def test_shares_of_classes_of_one_name_are_added_up() -> None:
    (mask,) = decode_message(wrong_mask(class_names=["road", "road"])).masks
    assert mask.shares() == {"road": 1}


def test_a_mask_that_is_a_view_is_encoded_as_it_looks() -> None:
    whole = some_masks(30, 20, 4, 3)
    cut = SegmentationMap(
        tuple(ClassMap(m.group, m.classes[2:9, 5:25], m.first_label, m.class_count) for m in whole.maps)
    )
    for mask, wanted in zip(decode_message(mask_payload(cut)).masks, cut.maps, strict=True):
        np.testing.assert_array_equal(mask.to_array(), wanted.classes)


def test_a_network_of_masks_alone_and_one_of_boxes_alone_are_messages_too() -> None:
    of_masks = a_body(detections=[SegmentationMap(some_masks(4, 3, 0, 1).maps[:1])])
    message = decode_message(of_masks + encode_tail("feed", LEDGER))
    assert len(message.detections) == 0
    assert len(message.masks) == 1
    assert decode_message(a_payload()).masks == ()


def wrong_mask(**changes: object) -> bytes:
    values = {
        "group": "lanes",
        "class_names": ["background", "lane"],
        "width": 4,
        "height": 3,
        "run_lengths": [5, 7],
        "run_classes": b"\x00\x01",
    }
    return a_payload() + pb.FrameResult(masks=[pb.SemanticMask(**(values | changes))]).SerializeToString()  # type: ignore[arg-type]


def test_the_mask_that_the_wrong_ones_are_made_of_is_right() -> None:
    (mask,) = decode_message(wrong_mask()).masks
    assert mask.to_array().tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"run_lengths": [5, 6]}, r"'lanes' has runs of 11 pixels, 0 of them empty, for 4 x 3"),
        ({"run_lengths": [5, 8]}, "runs of 13 pixels"),
        ({"run_lengths": [2**32 - 1, 13]}, "runs of 4294967308 pixels"),
        ({"run_lengths": [12, 0]}, "1 of them empty"),
        ({"run_lengths": [12]}, "1 run lengths and 2 run classes"),
        ({"run_lengths": [], "run_classes": b""}, "runs of 0 pixels"),
        ({"run_classes": b"\x00\x02"}, "has class 2 of 2"),
        ({"class_names": []}, "has class 1 of 0"),
        ({"network": 1}, "network 1 of 1"),
        ({"width": 0}, "0 x 3 pixels"),
        ({"height": 8193}, "4 x 8193 pixels"),
        ({"width": 2**32 - 1, "height": 2**32 - 1, "run_lengths": [2**32 - 1] * 2}, "1 to 8192 a side"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(changes: dict[str, object], what: str) -> None:
    with pytest.raises(MalformedMessageError, match=what):
        decode_message(wrong_mask(**changes))


@given(st.data())
def test_a_damaged_message_with_masks_raises_nothing_but_our_error(data: st.DataObject) -> None:
    payload = bytearray(mask_payload(some_masks(12, 9, data.draw(st.integers(0, 5)), 2)))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedMessageError):
        message = decode_message(bytes(payload))
        to_json_dict(message)
        for mask in message.masks:
            assert mask.to_array().shape == (mask.height, mask.width)
            assert sum(mask.shares().values()) == pytest.approx(1)


def test_json_of_a_score_that_is_no_number_is_null() -> None:
    as_json = to_json_dict(decode_message(a_payload(detections=[boxes(float("nan"), float("inf"))])))
    assert [found["score"] for found in as_json["detections"]] == [None, None]


def test_statuses_are_those_of_the_schema() -> None:
    assert {s.name: s.value for s in Status if s} == {n: v for n, v in pb.Status.items() if v}


def test_a_topic_is_no_prefix_of_another_sensors() -> None:
    assert not topic_of("cam10").startswith(topic_of("cam1"))


def digest_of(*messages: tuple[str, bytes]) -> str:
    digest = Digest()
    for topic, body in messages:
        digest.add(topic, body)
    return digest.hexdigest()


def test_a_digest_does_not_depend_on_which_topic_comes_first() -> None:
    assert digest_of(("a", b"1"), ("b", b"2")) == digest_of(("b", b"2"), ("a", b"1"))


def test_a_digest_tells_order_topics_and_boundaries_apart() -> None:
    digests = [
        digest_of(),
        digest_of(("a", b"1"), ("a", b"2")),
        digest_of(("a", b"2"), ("a", b"1")),
        digest_of(("a", b"12")),
        digest_of(("a", b""), ("a", b"12")),
        digest_of(("a", b"1"), ("b", b"2")),
        digest_of(("ab", b"12")),
    ]
    assert len(set(digests)) == len(digests)


def test_a_digest_may_be_read_while_it_grows() -> None:
    digest = Digest()
    digest.add("a", b"1")
    assert digest.hexdigest() == digest.hexdigest() == digest_of(("a", b"1"))
    digest.add("a", b"2")
    assert digest.hexdigest() == digest_of(("a", b"1"), ("a", b"2"))


def test_the_generated_code_is_that_of_the_schema(tmp_path: Path) -> None:
    schema = "perception/message/perception.proto"
    outputs = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, schema], cwd=ROOT, check=True)
    for name in ("perception_pb2.py", "perception_pb2.pyi"):
        fresh = tmp_path / "perception" / "message" / name
        assert fresh.read_text() == (ROOT / "perception" / "message" / name).read_text(), f"{name}: regenerate"
