"""One contract for every source. A new one adds a line to `CASES`; each promise is a function below."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import csi_camera
import drive_formats
import drive_media
import numpy as np
import pytest
from rtsp_camera import RtspCamera

from sensors.drives.mcap.reading import McapFile
from sensors.frame import Fault, Frame, Item, PixelFormat, PointCloud, RadarScan, Reading
from sensors.opening import open_source
from sensors.source import SensorInfo, Source, SourceInfo, Span

Open = Callable[[], Source]

PROMPT_S = 5.0  # generous, because the machine is shared; a source that ignores close() never ends

SECOND_HALF = Span(start_ns=600_000_000)
MIDDLE = Span(start_ns=350_000_000, duration_ns=700_000_000)


def _damaged_video(folder: Path) -> Path:
    path = drive_media.write_video(folder / "video.mp4")
    drive_media.damage_packet(path, 10)
    return path


def _damaged_images(folder: Path) -> Path:
    images = drive_media.write_images(folder / "images")
    (images / "frame7.png").write_bytes(b"")
    return images


def _damaged_kitti(folder: Path) -> Path:
    drive = drive_media.write_kitti(folder / "kitti")
    (drive / "image_02" / "data" / "0000000005.png").unlink()
    (drive / "velodyne_points" / "data" / "0000000006.bin").write_bytes(b"short")
    return drive


def _damaged_mcap(folder: Path) -> Path:
    path = drive_media.write_mcap(folder / "drive.mcap")
    assert drive_media.damage_chunk(path, 2) == MCAP_DAMAGED
    return path


def _cut_mcap(folder: Path) -> Path:
    """Cut in the middle of a chunk's last picture."""
    path = drive_media.write_mcap(folder / "drive.mcap", whole=False)
    with McapFile(path) as file:
        place = [chunk for chunk in file.chunks if len(chunk.channels) == 0][-2]
    path.write_bytes(path.read_bytes()[: place.offset + place.length - 100])
    return path


def _damaged_radiate(folder: Path) -> Path:
    drive = drive_formats.write_radiate(folder / "radiate")
    (drive / "zed_left" / "000003.png").unlink()
    (drive / "velo_lidar" / "000004.csv").write_text("1,2,3")
    (drive / "GPS_IMU_Twist" / "000005.txt").write_text("nowhere")
    stamps = drive / "zed_right.txt"
    lines = stamps.read_text().splitlines()
    stamps.write_text("\n".join([*lines[:4], lines[4].replace("1500000000", "1499999999"), *lines[5:7]]))
    return drive


def _damaged_nuscenes(folder: Path) -> Path:
    drive = drive_formats.write_nuscenes(folder / "nuscenes")
    for file, content in zip(sorted(drive.glob("*LIDAR*")), (b"", b"short"), strict=False):
        file.write_bytes(content)
    radar = sorted(drive.glob("sweeps/*/*"))[2]
    radar.write_bytes(radar.read_bytes()[:-120])
    return drive


MCAP_DAMAGED = 2  # frames that the damaged chunk held
LIVE_ITEMS = 20


class FirstItems:
    """A live source that ends after some items; all else is the source's own."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.info = source.info

    def __enter__(self) -> FirstItems:
        self._source.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._source.__exit__(*exc)

    def __iter__(self) -> Iterator[Item]:
        return islice(self._source, LIVE_ITEMS)

    def close(self) -> None:
        self._source.close()


@pytest.fixture(scope="module")
def rtsp_uri() -> Iterator[str]:
    with RtspCamera() as camera:
        yield camera.uri()


@pytest.fixture
def csi_uri(tmp_path: Path) -> Iterator[str]:
    if not csi_camera.REAL:
        pytest.skip(csi_camera.WHY_NOT)
    with csi_camera.CsiCameras(tmp_path / "jetson"):
        yield "csi://0?width=96&height=64&fps=30"


@dataclass(frozen=True)
class Case:
    make: Callable[[Path], Path] | None  # None: a live camera, by the fixture that gives its URI
    items: int
    faults: int = 0
    span: Span | None = None
    loop: int = 1
    camera: str = ""


CASES = {
    "video": Case(lambda folder: drive_media.write_video(folder / "video.mp4"), items=24),
    "video in MPEG-TS": Case(lambda folder: drive_media.write_video(folder / "video.ts"), items=24),
    "video in AVI": Case(lambda folder: drive_media.write_video(folder / "video.avi"), items=24),
    "video in Matroska": Case(lambda folder: drive_media.write_video(folder / "video.mkv"), items=24),
    "damaged video": Case(_damaged_video, items=24, faults=1),
    "video, span": Case(_damaged_video, items=7, faults=1, span=MIDDLE),
    "video, looped": Case(_damaged_video, items=72, faults=3, loop=3),
    "video, span looped": Case(_damaged_video, items=14, faults=2, span=MIDDLE, loop=2),
    "images": Case(lambda folder: drive_media.write_images(folder / "images"), items=12),
    "damaged images": Case(_damaged_images, items=12, faults=1),
    "images, span": Case(_damaged_images, items=6, faults=1, span=SECOND_HALF),
    "images, looped": Case(_damaged_images, items=36, faults=3, loop=3),
    "KITTI drive": Case(lambda folder: drive_media.write_kitti(folder / "kitti"), items=24),
    "damaged KITTI drive": Case(_damaged_kitti, items=24, faults=2),
    "KITTI drive, span": Case(_damaged_kitti, items=9, faults=2, span=Span(start_ns=500_000_000)),
    "KITTI drive, looped": Case(_damaged_kitti, items=72, faults=6, loop=3),
    "MCAP drive": Case(lambda folder: drive_media.write_mcap(folder / "drive.mcap"), items=32, faults=1),
    "MCAP drive of H.264": Case(
        lambda folder: drive_media.write_mcap(folder / "drive.mcap", images="h264"), items=32, faults=1
    ),
    "damaged MCAP drive": Case(_damaged_mcap, items=32, faults=3),
    "MCAP drive cut off": Case(_cut_mcap, items=25, faults=1),
    "MCAP drive, span": Case(_damaged_mcap, items=8, faults=3, span=Span(200_000_000, 200_000_000)),
    "MCAP drive of H.264, span": Case(
        lambda folder: drive_media.write_mcap(folder / "drive.mcap", images="h264"),
        items=8,
        faults=1,
        span=Span(200_000_000, 200_000_000),
    ),
    "MCAP drive, looped": Case(_damaged_mcap, items=96, faults=9, loop=3),
    "MCAP of another recorder": Case(lambda folder: drive_media.write_foreign_mcap(folder / "drive.mcap"), items=8),
    "RADIATE drive": Case(lambda folder: drive_formats.write_radiate(folder / "radiate"), items=40),
    "damaged RADIATE drive": Case(_damaged_radiate, items=40, faults=5),
    "RADIATE drive, span": Case(_damaged_radiate, items=9, faults=1, span=Span(400_000_000, 200_000_000)),
    "nuScenes files": Case(lambda folder: drive_formats.write_nuscenes(folder / "nuscenes"), items=24),
    "damaged nuScenes files": Case(_damaged_nuscenes, items=24, faults=3),
    "comma2k19 segment": Case(lambda folder: drive_formats.write_comma(folder / "40"), items=40),
    "comma2k19 segment without a video": Case(
        lambda folder: drive_formats.write_comma(folder / "40", video=False), items=40, faults=8
    ),
    "comma2k19 segment, span": Case(
        lambda folder: drive_formats.write_comma(folder / "40"), items=20, span=Span(100_000_000, 200_000_000)
    ),
    "video with stamps": Case(lambda folder: drive_formats.write_stamped_video(folder / "stamped"), items=24),
    "video with stamps, span": Case(
        lambda folder: drive_formats.write_stamped_video(folder / "stamped"),
        items=6,
        span=Span(300_000_000, 300_000_000),
    ),
    "video with too few stamps": Case(
        lambda folder: drive_formats.write_stamped_video(folder / "stamped", [str(10**9 * n) for n in range(20)]),
        items=24,
        faults=4,
    ),
    "video with too many stamps": Case(
        lambda folder: drive_formats.write_stamped_video(folder / "stamped", [f"{n}.5" for n in range(30)]),
        items=30,
        faults=6,
    ),
    "bag of ROS 1": Case(lambda folder: drive_formats.write_ros1(folder / "drive.bag"), items=24),
    "bag of ROS 1, span": Case(
        lambda folder: drive_formats.write_ros1(folder / "drive.bag"), items=9, span=Span(200_000_000, 300_000_000)
    ),
    "bag of ROS 2, db3": Case(lambda folder: drive_formats.write_ros2(folder / "bag", mcap=False), items=24),
    "bag of ROS 2, MCAP": Case(lambda folder: drive_formats.write_ros2(folder / "bag", mcap=True), items=24),
    "bag of ROS 2, looped": Case(lambda folder: drive_formats.write_ros2(folder / "bag", mcap=True), items=72, loop=3),
    "RTSP camera": Case(None, items=LIVE_ITEMS, camera="rtsp_uri"),
    "CSI camera": Case(None, items=LIVE_ITEMS, camera="csi_uri"),
    "one image": Case(lambda folder: drive_media.write_images(folder / "images", 1) / "frame0.png", items=1),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def opens(case: Case, tmp_path: Path, request: pytest.FixtureRequest) -> Open:
    if case.make is None:
        camera: str = request.getfixturevalue(case.camera)
        return lambda: FirstItems(open_source(camera, name="front"))
    uri = str(case.make(tmp_path))
    return lambda: open_source(uri, span=case.span, loop=case.loop, name="front")


# --- The promises. Each takes a way to open the source and asserts.


def gives_itself_as_context_manager(opens: Open) -> None:
    with opens() as source:
        assert next(iter(source)) is not None
    assert list(source) == [], "a closed source gives nothing more"


def tells_what_it_is(opens: Open) -> None:
    with opens() as source:
        assert isinstance(source.info, SourceInfo)
        assert source.info.uri
        assert source.info.sensors
        assert len({sensor.name for sensor in source.info.sensors}) == len(source.info.sensors)


def gives_items_of_its_sensors_only(opens: Open) -> None:
    with opens() as source:
        names = {sensor.name for sensor in source.info.sensors}
        assert {item.sensor for item in source} <= names


def numbers_items_without_holes(opens: Open) -> None:
    for items in _by_sensor(opens).values():
        assert [item.sequence for item in items] == list(range(len(items)))


def keeps_stamp_order(opens: Open) -> None:
    for items in _by_sensor(opens).values():
        stamps = [item.stamp_ns for item in items]
        assert all(isinstance(stamp, int) for stamp in stamps)
        assert stamps == sorted(stamps)


def keeps_host_times_in_order(opens: Open) -> None:
    for items in _by_sensor(opens).values():
        assert all(item.arrival_ns > 0 for item in items)
        assert all(item.arrival_ns <= item.decoded_ns for item in items if isinstance(item, Frame))


def gives_images_of_the_declared_format(opens: Open) -> None:
    with opens() as source:
        sizes = {sensor.name: (sensor.width, sensor.height) for sensor in source.info.sensors}
        for frame in source:
            if not isinstance(frame, Frame):
                continue
            assert frame.format is PixelFormat.BGR
            assert frame.image.dtype == np.uint8
            assert frame.image.shape == (frame.height, frame.width, 3)
            assert frame.image.strides[1:] == (3, 1), "pixels of a row lie side by side"
            assert frame.image.strides[0] >= 3 * frame.width
            assert sizes[frame.sensor] in ((None, None), (frame.width, frame.height))


def gives_reasons_for_faults(opens: Open) -> None:
    with opens() as source:
        assert all(item.reason for item in source if isinstance(item, Fault))


def counts_what_it_declared(opens: Open) -> None:
    items = _by_sensor(opens)
    with opens() as source:
        for sensor in source.info.sensors:
            assert sensor.count in (None, len(items[sensor.name]))


def reads_the_same_twice(opens: Open) -> None:
    first, second = _by_sensor(opens), _by_sensor(opens)
    assert first.keys() == second.keys()
    for sensor in first:
        assert len(first[sensor]) == len(second[sensor])
        for one, other in zip(first[sensor], second[sensor], strict=True):
            assert (type(one), one.stamp_ns) == (type(other), other.stamp_ns)
            if isinstance(one, Frame) and isinstance(other, Frame):
                assert np.array_equal(one.image, other.image)
            if isinstance(one, PointCloud) and isinstance(other, PointCloud):
                assert np.array_equal(one.points, other.points)
            if isinstance(one, RadarScan) and isinstance(other, RadarScan):
                assert np.array_equal(one.targets, other.targets)
            if isinstance(one, Reading) and isinstance(other, Reading):
                assert np.array_equal(one.values, other.values, equal_nan=True)


def leaves_given_images_alone(opens: Open) -> None:
    with opens() as source:
        frames = [(item, item.image.copy()) for item in source if isinstance(item, Frame)]
    assert all(np.array_equal(frame.image, image) for frame, image in frames)


def stops_when_closed_by_another_thread(opens: Open) -> None:
    source = opens()
    iterator = iter(source)
    next(iterator)
    closing = threading.Thread(target=source.close)
    closing.start()
    closing.join(PROMPT_S)
    assert not closing.is_alive(), "close() does not wait for the reader"
    rest: list[Item] = []
    reading = threading.Thread(target=lambda: rest.extend(iterator), daemon=True)
    reading.start()
    reading.join(PROMPT_S)
    assert not reading.is_alive()
    assert rest == []


def may_be_closed_more_than_once(opens: Open) -> None:
    source = opens()
    source.close()
    source.close()
    assert list(source) == []


PROMISES = [
    gives_itself_as_context_manager,
    tells_what_it_is,
    gives_items_of_its_sensors_only,
    numbers_items_without_holes,
    keeps_stamp_order,
    keeps_host_times_in_order,
    gives_images_of_the_declared_format,
    gives_reasons_for_faults,
    counts_what_it_declared,
    reads_the_same_twice,
    leaves_given_images_alone,
    stops_when_closed_by_another_thread,
    may_be_closed_more_than_once,
]


def _by_sensor(opens: Open) -> dict[str, list[Item]]:
    items: dict[str, list[Item]] = defaultdict(list)
    with opens() as source:
        for item in source:
            items[item.sensor].append(item)
    return items


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_a_source_keeps_its_promise(promise: Callable[[Open], None], case: Case, opens: Open) -> None:
    if promise is reads_the_same_twice and case.make is None:
        pytest.skip("a live camera shows no moment twice")
    promise(opens)


def test_a_source_gives_every_item_and_fault(case: Case, opens: Open) -> None:
    with opens() as source:
        items = list(source)
    assert len(items) == case.items
    assert sum(isinstance(item, Fault) for item in items) == case.faults


# --- A source that breaks one promise at a time: the contract must notice.


class BadSource:
    """Ten sound items, but for one vice."""

    readings = 0

    def __init__(self, vice: str) -> None:
        self._vice = vice
        self._closed = threading.Event()
        count = 9 if vice == "miscounts" else 10
        names = ("front", "front") if vice == "doubles a sensor" else ("front",)
        sensors = tuple(SensorInfo(name, "camera", 10.0, count) for name in names)
        self.info = SourceInfo("bad:", sensors, live=False)
        BadSource.readings += 1

    def __enter__(self) -> BadSource:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._vice != "stays open":
            self.close()

    def close(self) -> None:
        if self._closed.is_set() and self._vice == "closes once":
            raise RuntimeError("closed already")
        if self._vice != "ignores close":
            self._closed.set()

    def __iter__(self) -> Iterator[Item]:
        shared = np.zeros((2, 2, 3), np.uint8)
        for number in range(10):
            if self._closed.is_set():
                return
            if self._vice == "reuses memory":
                shared += np.uint8(1)
            image = shared if self._vice == "reuses memory" else np.zeros((2, 2, 3), np.uint8)
            yield self._spoiled(Frame("front", number, number * 100, 1, 2, image), number)

    def _spoiled(self, frame: Frame, number: int) -> Item:
        image = frame.image
        spoiled: dict[str, Item] = {
            "skips a number": replace(frame, sequence=6),
            "goes back in time": replace(frame, stamp_ns=0),
            "mixes its clocks": replace(frame, decoded_ns=0),
            "invents a sensor": replace(frame, sensor="rear"),
            "gives floats": replace(frame, image=image.astype(np.float32)),
            "gives mirrored memory": replace(frame, image=image[:, ::-1]),
            "gives no reason": Fault("front", number, frame.stamp_ns, 1, ""),
            "reads differently each time": replace(frame, image=image + np.uint8(BadSource.readings)),
        }
        return spoiled.get(self._vice, frame) if number == 5 else frame


@pytest.mark.parametrize(
    ("vice", "promise"),
    [
        ("stays open", gives_itself_as_context_manager),
        ("doubles a sensor", tells_what_it_is),
        ("invents a sensor", gives_items_of_its_sensors_only),
        ("skips a number", numbers_items_without_holes),
        ("goes back in time", keeps_stamp_order),
        ("mixes its clocks", keeps_host_times_in_order),
        ("gives floats", gives_images_of_the_declared_format),
        ("gives mirrored memory", gives_images_of_the_declared_format),
        ("gives no reason", gives_reasons_for_faults),
        ("miscounts", counts_what_it_declared),
        ("reads differently each time", reads_the_same_twice),
        ("reuses memory", leaves_given_images_alone),
        ("ignores close", stops_when_closed_by_another_thread),
        ("closes once", may_be_closed_more_than_once),
    ],
)
def test_the_contract_notices_a_source_that(vice: str, promise: Callable[[Open], None]) -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        promise(lambda: BadSource(vice))


def test_the_contract_finds_nothing_wrong_with_a_sound_source() -> None:
    for promise in PROMISES:
        promise(lambda: BadSource("none"))


@pytest.mark.parametrize("kind", ["video", "images"])
def test_a_source_looped_for_ever_ends_when_closed_by_another_thread(kind: str, tmp_path: Path) -> None:
    make = CASES[kind].make
    assert make is not None
    source = open_source(str(make(tmp_path)), loop=0)
    assert source.info.sensors[0].count is None
    second_lap = threading.Event()

    def read() -> None:
        for item in source:
            if item.sequence > CASES[kind].items:
                second_lap.set()

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    assert second_lap.wait(PROMPT_S)
    source.close()
    reading.join(PROMPT_S)
    assert not reading.is_alive()
