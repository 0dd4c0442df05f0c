"""MCAP drives as sources: names, stamps, exact spans, and what becomes of damage."""

from __future__ import annotations

from pathlib import Path

import cv2
import drive_media
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.calibration import Calibration, CameraCalibration, Transform
from sensors.drives.mcap import foxglove
from sensors.drives.mcap.drive_writer import DriveWriter
from sensors.drives.mcap.reading import McapFile
from sensors.drives.mcap.writing import McapWriter
from sensors.errors import RequestError
from sensors.frame import Fault, Frame, Item, PointCloud
from sensors.opening import open_source, open_sources
from sensors.source import SensorInfo, Span
from sensors.survey import survey_of


def read(path: Path, **more: object) -> list[Item]:
    with open_source(str(path), **more) as source:  # type: ignore[arg-type]
        return list(source)


def of(items: list[Item], sensor: str) -> list[Item]:
    return [item for item in items if item.sensor == sensor]


def smooth(number: int) -> np.ndarray:  # type: ignore[type-arg]
    return cv2.GaussianBlur(drive_media.picture(number * 4, 160, 120), (0, 0), 5)


def test_sensors_are_called_as_they_were_recorded_or_as_they_are_named(tmp_path: Path) -> None:
    path = drive_media.write_mcap(tmp_path / "drive.mcap")

    def names(uri: str) -> list[str]:
        with open_source(uri) as source:
            return [sensor.name for sensor in source.info.sensors]

    assert names(str(path)) == ["front", "roof", "bumper", "gnss"]
    assert names(f"car={path}") == ["car-front", "car-roof", "car-bumper", "car-gnss"]
    foreign = drive_media.write_foreign_mcap(tmp_path / "foreign.mcap")
    assert names(str(foreign)) == ["camera_front"]
    assert names(f"car={foreign}") == ["car"]


def test_two_topics_of_another_recorder_are_two_sensors(tmp_path: Path) -> None:
    """A camera's pictures, coded and small: not one sensor that gives each of them twice."""
    path = tmp_path / "drive.mcap"
    writer = McapWriter(path)
    schema = writer.add_schema(
        "foxglove.CompressedImage", "protobuf", foxglove.schema_of(foxglove.MESSAGES["foxglove.CompressedImage"])
    )
    png = cv2.imencode(".png", drive_media.picture(1))[1].tobytes()
    for topic in ("/cam/image", "/cam/compressed", "/cam_b", "/cam/b"):
        channel = writer.add_channel(topic, "protobuf", schema, compress=False)
        writer.add(channel, 5, foxglove.image_message("x", 5, "png", png), publish_time=0, sequence=0)
    writer.finish()
    assert [item.sensor for item in read(path)] == ["cam", "cam-2", "cam_b", "cam_b-2"]


def test_two_recordings_of_one_vehicle_need_names(tmp_path: Path) -> None:
    one, other = (str(drive_media.write_mcap(tmp_path / f"{name}.mcap")) for name in "ab")
    with pytest.raises(RequestError, match="has a sensor 'front', and so has"):
        open_sources([one, other])
    for source in open_sources([one, f"later={other}"]):
        source.close()


def test_stamps_of_another_recorder_are_those_in_its_messages(tmp_path: Path) -> None:
    """Logged 30 ms late, every second pair the wrong way round."""
    path = drive_media.write_foreign_mcap(tmp_path / "drive.mcap")
    items = read(path)
    assert [item.stamp_ns for item in items] == [10**9 + n * 10**8 for n in range(8)]
    for number, item in enumerate(items):
        assert isinstance(item, Frame)
        np.testing.assert_array_equal(item.image, drive_media.picture(number))
    with open_source(str(path)) as source:
        [(clock, logged)] = survey_of(source).sensors[0].other_clocks_ns
    assert clock == "log time"
    assert logged[0] == 1_130_000_000


@given(start=st.integers(-1, 30), length=st.integers(0, 12))
@settings(max_examples=30, deadline=None)
def test_a_span_of_coded_video_is_that_part_of_the_whole(
    coded_video: Path, whole_video: list[Item], start: int, length: int
) -> None:
    """Whatever the key frames are: the same pictures, to the pixel, at the same stamps."""
    span = Span(max(0, start) * 33_333_333, length * 33_333_333)
    cut = read(coded_video, span=span)
    expected = [i for i in whole_video if span.start_ns <= i.stamp_ns < span.start_ns + length * 33_333_333]
    assert [item.stamp_ns for item in cut] == [item.stamp_ns for item in expected]
    for one, other in zip(cut, expected, strict=True):
        assert isinstance(one, Frame)
        assert isinstance(other, Frame)
        np.testing.assert_array_equal(one.image, other.image)


@pytest.fixture(scope="module")
def coded_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures of H.264 with a key frame every 10th."""
    path = tmp_path_factory.mktemp("coded") / "drive.mcap"
    writer = DriveWriter(path, [SensorInfo("front", "camera", 10.0)], images="h264")
    for number in range(30):
        writer.write(Frame("front", number, number * 33_333_333, 1, 2, smooth(number)))
    writer.container.finish()
    return path


@pytest.fixture(scope="module")
def whole_video(coded_video: Path) -> list[Item]:
    items = read(coded_video)
    assert len(items) == 30
    for number, item in enumerate(items):
        assert isinstance(item, Frame)
        assert cv2.PSNR(np.ascontiguousarray(item.image), smooth(number)) > 30
    return items


def test_what_a_damaged_chunk_held_is_a_fault_each_with_its_stamp(tmp_path: Path) -> None:
    path = drive_media.write_mcap(tmp_path / "drive.mcap")
    whole = read(path)
    held = drive_media.damage_chunk(path, 2)
    damaged = read(path)
    assert [(i.sensor, i.sequence, i.stamp_ns) for i in damaged] == [(i.sensor, i.sequence, i.stamp_ns) for i in whole]
    lost = [item for item in damaged if isinstance(item, Fault) and "checksum" in item.reason]
    assert len(lost) == held > 0


def test_a_chunk_that_is_lost_as_a_whole_is_a_fault_of_every_sensor_in_it(tmp_path: Path) -> None:
    path = drive_media.write_mcap(tmp_path / "drive.mcap")
    with McapFile(path) as file:
        place = file.chunks[3]
    data = bytearray(path.read_bytes())
    data[place.offset + 60 : place.offset + 64] = b"\xff\xff\xff\xff"
    data[place.index_offset] = 0x77  # the index behind it too
    path.write_bytes(data)
    lost = [item for item in read(path) if isinstance(item, Fault) and "damaged" in item.reason]
    assert {item.sensor for item in lost} == {"roof", "bumper", "gnss"}
    with open_source(str(path)) as source:
        survey = survey_of(source)
    assert survey.is_damaged
    assert any(note.startswith("lost: the chunk at byte") for note in survey.notes)


def test_a_span_of_coded_video_behind_a_chunk_that_is_lost_is_read(tmp_path: Path, coded_video: Path) -> None:
    """Nothing before it can warm the decoder up: of the only chunk there is nothing else to give."""
    path = tmp_path / "drive.mcap"
    data = bytearray(coded_video.read_bytes())
    with McapFile(coded_video) as file:
        [place] = file.chunks
    data[place.offset + place.length // 2] ^= 4
    data[place.index_offset] = 0x77  # the index behind it too
    path.write_bytes(data)
    [lost] = read(path)
    assert isinstance(lost, Fault)
    assert read(path, span=Span(33_333_333)) == []


def test_calibration_comes_back(tmp_path: Path) -> None:
    camera = CameraCalibration("front", np.arange(12.0).reshape(3, 4), 64, 48, (0.1, 0, 0, 0, 0.2), "plumb_bob")
    turn = np.array([[0, -1, 0, 1.5], [1, 0, 0, -2], [0, 0, 1, 0.25], [0, 0, 0, 1]], float)
    calibration = Calibration((camera,), (Transform("roof", "front", turn),))
    path = tmp_path / "drive.mcap"
    writer = DriveWriter(path, drive_media.MCAP_SENSORS, images="png", calibration=calibration)
    for item in drive_media.mcap_items(2):
        writer.write(item)
    writer.container.finish()
    with open_source(f"car={path}") as source:
        found = source.info.calibration
    [same] = found.cameras
    assert (same.sensor, same.width, same.height, same.distortion) == ("car-front", 64, 48, (0.1, 0, 0, 0, 0.2))
    np.testing.assert_array_equal(same.projection, camera.projection)
    np.testing.assert_allclose(found.transforms[0].matrix, turn, atol=1e-12)
    assert found.into("car-roof", "car-front") is not None


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 0.01))
def test_a_rotation_and_its_quaternion_are_the_same(numbers: list[float]) -> None:
    rotation = foxglove.rotation_of(*numbers)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(foxglove.rotation_of(*foxglove.quaternion_of(rotation)), rotation, atol=1e-7)


def test_points_of_any_layout_are_read(tmp_path: Path) -> None:
    """Of another writer: doubles, bytes and gaps between."""
    from foxglove_schemas_protobuf.PackedElementField_pb2 import PackedElementField as Field
    from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud as Message

    point = np.dtype(
        {"names": ["x", "y", "ring"], "formats": ["<f8", "<f4", "u1"], "offsets": [0, 12, 20], "itemsize": 24}
    )
    rows = np.zeros(3, point)
    rows["x"], rows["y"], rows["ring"] = [1, 2, 3], [4, 5, 6], [7, 8, 255]
    message = Message(point_stride=24, data=rows.tobytes())
    for name, offset, kind in (("x", 0, Field.FLOAT64), ("y", 12, Field.FLOAT32), ("ring", 20, Field.UINT8)):
        message.fields.add(name=name, offset=offset, type=kind)
    table, fields = foxglove.points_of(message)
    assert fields == ("x", "y", "ring")
    assert table.tolist() == [[1, 4, 7], [2, 5, 8], [3, 6, 255]]


@pytest.mark.parametrize(
    "change", [{"point_stride": 0}, {"point_stride": 8}, {"data": b"123"}, {"point_stride": 1 << 31}, {"fields": []}]
)
def test_a_cloud_that_contradicts_itself_is_a_fault(tmp_path: Path, change: dict[str, object]) -> None:
    cloud = PointCloud("roof", 0, 0, 1, 2, drive_media.scan(3), ("x", "y", "z", "reflectance"))
    message = foxglove.parsed(
        foxglove.MESSAGES["foxglove.PointCloud"], foxglove.points_message("roof", 0, cloud.points, cloud.fields)
    )
    for name, value in change.items():
        if name == "fields":
            del message.fields[:]
        else:
            setattr(message, name, value)
    with pytest.raises(foxglove.UnreadableMessageError):
        foxglove.points_of(message)
