"""What is wrong with clocks is found and counted; a policy does what it says, and no stamp is mended in silence."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import drive_formats
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.clock_faults import ClockFault, find_clock_faults, ranges
from sensors.clock_faults import ClockFaultKind as Kind
from sensors.clock_policy import ClockPolicy, judge, parse_policies
from sensors.errors import RequestError
from sensors.frame import Fault, Frame
from sensors.opening import open_source
from sensors.survey import SensorSurvey, Survey, survey_of

MS = 1_000_000
KITTI = Path("drives/kitti_2011_09_26/2011_09_26/2011_09_26_drive_0001_sync")


def sensor(*stamps_ms: float, name: str = "front", first: int = 0, **more: object) -> SensorSurvey:
    stamps = np.rint(np.array(stamps_ms) * MS).astype(np.int64)
    return SensorSurvey(name, "camera", stamps, np.arange(first, first + len(stamps)), **more)  # type: ignore[arg-type]


def found(*sensors: SensorSurvey) -> dict[tuple[str, Kind], ClockFault]:
    return {(fault.sensor, fault.kind): fault for fault in find_clock_faults(Survey(sensors))}


def faults_of(uri: Path) -> dict[tuple[str, Kind], ClockFault]:
    with open_source(str(uri), name="d") as source:
        return {(f.sensor.removeprefix("d-"), f.kind): f for f in find_clock_faults(survey_of(source))}


def test_an_even_clock_has_no_fault() -> None:
    assert found(sensor(*range(0, 1000, 50))) == {}


def test_steps_back_repeats_and_gaps_are_counted_with_their_frames() -> None:
    faults = found(sensor(0, 50, 100, 60, 110, 110, 160, 310, 360, first=1))
    assert {kind for _, kind in faults} == {Kind.STEPS_BACK, Kind.REPEATED, Kind.GAP}
    assert faults["front", Kind.STEPS_BACK].frames == (4,)
    assert "40.000 ms from frame 3 to 4" in faults["front", Kind.STEPS_BACK].what
    assert faults["front", Kind.REPEATED].frames == (6,)
    assert faults["front", Kind.GAP].frames == (8,)
    assert "150.000 ms from frame 7 to 8" in faults["front", Kind.GAP].what
    assert "2 lost" in faults["front", Kind.GAP].what


def test_gaps_that_are_too_many_to_tell_are_counted_by_round_durations() -> None:
    steps = [10] * 100 + [16] * 5 + [21] * 3 + [100, 1001]
    fault = found(sensor(*np.cumsum([0, *steps])))["front", Kind.GAP]
    assert fault.count == 10
    assert "116 lost" in fault.what
    assert fault.what.endswith(", 5 over 20 ms, 2 over 50 ms, 1 over 100 ms, 1 over 200 ms, 1 over 500 ms, 1 over 1 s")


def test_of_messages_that_come_when_they_come_none_is_said_to_be_lost() -> None:
    steps = [7, 9, 10, 12, 14, 10, 8, 25]
    fault = found(sensor(*np.cumsum([0, *steps])))["front", Kind.GAP]
    assert (fault.count, "lost" in fault.what) == (1, False)


def test_a_period_that_wavers_is_told_and_one_that_nearly_keeps_is_not() -> None:
    assert found(sensor(0, 50.2, 100, 149.9, 200)) == {}
    fault = found(sensor(0, 50, 100, 152, 200, 250))["front", Kind.UNEVEN]
    assert (fault.count, fault.frames) == (2, (3, 4))


def test_files_and_stamps_that_lack_each_other_are_told() -> None:
    faults = found(sensor(0, 50, 100, without_file=np.array([1, 2]), without_stamp=np.array([7, 8, 9, 60])))
    assert faults["front", Kind.WITHOUT_FILE].frames == (1, 2)
    assert faults["front", Kind.WITHOUT_STAMP].what == "frames 7-9, 60"


def test_sensors_are_compared_by_their_stamps() -> None:
    lidar = SensorSurvey("roof", "lidar", np.array([5, 105, 205]) * MS, np.arange(3))
    faults = found(sensor(0, 100, 200), lidar, sensor(70_000, 70_100, name="gps"), sensor(450, 550, name="late"))
    assert "-5.0 to -5.0 ms from roof" in faults["front", Kind.INDEX_APART].what
    assert "69.550 s to 70.000 s after" in faults["gps", Kind.APART].what
    assert "450.000 ms after that of front" in faults["late", Kind.LATE].what
    same = found(sensor(0, 100, 200), sensor(0, 100, 200, 300, name="other"))
    assert same["front", Kind.SAME_STAMPS].count == 3


def test_a_second_clock_is_compared_and_judged_itself() -> None:
    other = np.array([1000, 1100, 1300, 1400]) * MS
    faults = found(sensor(0, 100, 200, 300, other_clocks_ns=(("utc", other),)))
    assert "utc is 1.000 s ahead of the stamps, and drifts by 100.000 ms" in faults["front", Kind.OTHER_CLOCK].what
    assert "200.000 ms from frame 1 to 2 by utc" in faults["front", Kind.GAP].what


def test_ranges_are_short() -> None:
    assert ranges([60, 1, 2, 3, 17]) == "1-3, 17, 60"
    assert ranges(range(0, 100, 2)).endswith("10, ...")


# --- Policies


def test_what_each_policy_does_to_a_faulty_stamp() -> None:
    raw = [None, 0, 100, 40, 100, None, 200]
    fates = {
        policy: [(one.stamp_ns, bool(one.fault), bool(one.dropped), bool(one.mended)) for one in judge(raw, policy)]
        for policy in (ClockPolicy(), ClockPolicy("drop"), ClockPolicy("hold"))
    }
    good, fault, dropped, held = (False, False, False), (True, False, False), (False, True, False), (False, False, True)

    def fate(stamps: list[int], *which: tuple[bool, bool, bool]) -> list[tuple[int, bool, bool, bool]]:
        return [(stamp, *one) for stamp, one in zip(stamps, which, strict=True)]

    stamps = [0, 0, 100, 100, 100, 100, 200]
    assert fates[ClockPolicy()] == fate(stamps, fault, good, good, fault, good, fault, good)
    assert fates[ClockPolicy("drop")] == fate(stamps, dropped, good, good, dropped, dropped, dropped, good)
    assert fates[ClockPolicy("hold")] == fate(stamps, held, good, good, held, good, held, good)
    even = judge([10, 20, 31, 15, None, 60], ClockPolicy("restamp", offset_ns=5))
    assert [one.stamp_ns for one in even] == [15, 26, 37, 48, 59, 70]


@given(
    st.lists(st.none() | st.integers(-(10**15), 10**15), max_size=30),
    st.sampled_from(["fault", "drop", "hold", "restamp"]),
    st.integers(-(10**12), 10**12),
)
def test_stamps_never_go_back_and_none_is_lost(raw: list[int | None], remedy: str, offset: int) -> None:
    judged = judge(raw, ClockPolicy(remedy, offset))  # type: ignore[arg-type]
    assert len(judged) == len(raw)
    kept = [one for one in judged if not one.dropped]
    assert all(earlier.stamp_ns <= later.stamp_ns for earlier, later in pairwise(kept))
    for stamp, one in zip(raw, judged, strict=True):
        if not (one.fault or one.dropped or one.mended):
            assert stamp is not None
            assert one.stamp_ns == stamp + offset, "what is not told is not changed"


def test_policies_are_written_as_words() -> None:
    assert parse_policies(["gps=offset:-64.005,drop", "cam=hold"]) == {
        "gps": ClockPolicy("drop", -64_005_000_000),
        "cam": ClockPolicy("hold"),
    }
    assert str(ClockPolicy("drop", -64_005_000_000)) == "offset:-64.005,drop"
    for wrong in ("gps", "gps=mend", "gps=offset:soon", "=drop", "gps=offset:1e99"):
        with pytest.raises(RequestError, match="--clock"):
            parse_policies([wrong])


@pytest.mark.parametrize("kind", ["radiate", "video"])
def test_a_policy_reaches_the_items(tmp_path: Path, kind: str) -> None:
    drive = drive_formats.write_radiate(tmp_path / "d")
    stamps = drive / "zed_left.txt"
    lines = stamps.read_text().splitlines()
    stamps.write_text("\n".join([*lines[:4], lines[1].replace("000002", "000005"), *lines[5:]]))

    def read(**policies: ClockPolicy) -> list[tuple[type, int]]:
        with open_source(str(drive), name="", clocks=policies) as source:
            return [(type(item), item.stamp_ns) for item in source if item.sensor == "zed_left"]

    even = drive_formats.stamps()
    assert read()[4] == (Fault, even[3])
    assert read(zed_left=ClockPolicy("drop")) == [(Frame, stamp) for stamp in even[:4] + even[5:]]
    assert read(zed_left=ClockPolicy("hold"))[4] == (Frame, even[3])
    assert read(zed_left=ClockPolicy("hold", 7))[0] == (Frame, even[0] + 7)
    with pytest.raises(RequestError, match="did you mean 'zed_left'"):
        read(zed_lefd=ClockPolicy("drop"))


# --- The faults of real drives, as counted in their files


@pytest.mark.data
def test_radiates_faults_are_all_found(data: Path) -> None:
    faults = faults_of(data / "drives/radiate_tiny_foggy")
    gps = "GPS_IMU_Twist"
    assert faults["zed_left", Kind.WITHOUT_FILE].frames == tuple(range(13, 101))
    assert faults["zed_left", Kind.SAME_STAMPS].count == 50
    assert faults["velo_lidar", Kind.WITHOUT_STAMP].frames == (17,)
    assert "64.0" in faults[gps, Kind.APART].what
    assert faults[gps, Kind.REPEATED].count == 125
    assert faults[gps, Kind.STEPS_BACK].frames == (29,)
    assert "360.187 ms from frame 28 to 29" in faults[gps, Kind.STEPS_BACK].what
    assert "460.577 ms from frame 50 to 51" in faults[gps, Kind.GAP].what
    assert "133.643 ms from frame 1 to 2" in faults["zed_left", Kind.GAP].what
    assert faults["zed_left", Kind.UNEVEN].frames == (87, 88)
    assert "232.865 ms to 255.989 ms" in faults["Navtech_Polar", Kind.UNEVEN].what
    assert ("velo_lidar", Kind.UNEVEN) not in faults
    assert "726.767 ms" in faults["zed_left", Kind.LATE].what


@pytest.mark.data
def test_kittis_faults_are_all_found(data: Path) -> None:
    faults = faults_of(data / KITTI)
    missing = {name: fault.count for (name, kind), fault in faults.items() if kind is Kind.WITHOUT_FILE}
    assert missing == {"image_00": 107, "image_01": 108, "image_02": 101, "image_03": 108, "velodyne_points": 105}
    apart = {name: fault.what.split(" ms")[0] for (name, kind), fault in faults.items() if kind is Kind.INDEX_APART}
    assert apart["image_02"] == "+10.4 to +10.6"
    assert apart["image_03"] == "+9.8 to +10.0"
    assert apart["image_00"] == "+16.5 to +19.3"
    assert apart["oxts"] == "+11.8 to +23.9"
    assert faults["oxts", Kind.UNEVEN].count == 34
    assert "100.441 ms to 105.819 ms" in faults["image_00", Kind.UNEVEN].what


@pytest.mark.data
def test_commas_faults_are_all_found(data: Path) -> None:
    segment = next((data / "drives/comma2k19").glob("*/40"))
    faults = faults_of(segment)
    assert faults["camera", Kind.WITHOUT_FILE].count == 1200
    with open_source(str(segment), name="") as source:
        survey = {sensor.sensor: sensor for sensor in survey_of(source).sensors}
        every = find_clock_faults(survey_of(source))
    by_utc = [f for f in every if f.sensor == "gnss-ublox" and f.kind is Kind.GAP and "by utc" in f.what]
    assert [fault.count for fault in by_utc] == [19]
    assert "3937 have the stamp of the one before" in survey["radar"].notes[0]
    assert "columns 3 and 4 are no numbers" in survey["radar"].notes[1]
    assert "milliseconds" in survey["gnss-ublox"].notes[0]
    for name, over_20_ms in (("can-speed", 192), ("can-wheel_speed", 192), ("can-steering_angle", 202)):
        assert "13 below a tenth" in faults[name, Kind.UNEVEN].what
        assert faults[name, Kind.GAP].what.endswith(f", {over_20_ms} over 20 ms")


@pytest.mark.data
def test_the_clocks_of_a_bag_are_all_told(data: Path) -> None:
    faults = faults_of(data / "drives/bags/luminar_mixed_clocks.bag")
    assert "(237.8 days)" in faults["luminar_pointcloud", Kind.OTHER_CLOCK].what
    assert "drifts by 38.357 ms" in faults["luminar_pointcloud", Kind.OTHER_CLOCK].what, "100.27 ms against 61.9"
    assert "1604515137" in faults["base_scan", Kind.OTHER_CLOCK].what
    with open_source(str(data / "drives/bags/luminar_mixed_clocks.bag"), name="") as source:
        assert "7.130 s pass without any sensor" in survey_of(source).notes[0]


@pytest.mark.data
def test_nuscenes_cameras_are_before_the_lidar_and_the_radar_is_of_another_day(data: Path) -> None:
    faults = faults_of(data / "drives/nuscenes_sample")
    before = {name: fault.what.split(" to")[0] for (name, kind), fault in faults.items() if kind is Kind.INDEX_APART}
    assert before == {
        "CAM_FRONT_LEFT": "-43.1",
        "CAM_FRONT": "-35.5",
        "CAM_FRONT_RIGHT": "-27.6",
        "CAM_BACK_RIGHT": "-20.1",
        "CAM_BACK": "-10.4",
        "CAM_BACK_LEFT": "-0.5",
    }
    assert ("RADAR_BACK_LEFT", Kind.APART) in faults
    with open_source(str(data / "drives/nuscenes_sample"), name="") as source:
        notes = {sensor.sensor: sensor.notes for sensor in survey_of(source).sensors}["RADAR_BACK_LEFT"]
    assert [note.split(": ")[1] for note in notes] == [
        "3726 bytes after its last point",
        "55 of 125 targets have an invalid_state",
    ]
