"""A video file: its stamps, its damage, its spans, and what is said of a file that cannot be read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import drive_media
import numpy as np
import pytest

from sensors.drives.packets import Packet, WaitingPackets
from sensors.drives.upright import UprightBgr
from sensors.drives.video import VideoFile
from sensors.errors import RequestError, SourceError
from sensors.frame import Fault, Frame, Item
from sensors.source import Span

MS = 1_000_000


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return drive_media.write_video(tmp_path / "drive.mp4")


def _read(path: Path, span: Span | None = None, threads: int = 1) -> list[Item]:
    return list(VideoFile(path, "front", span, threads))


def _faults(items: list[Item]) -> list[Fault]:
    return [item for item in items if isinstance(item, Fault)]


def _pictures_by_pyav(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [picture.to_ndarray(format="bgr24") for picture in container.decode(video=0)]


def _read_until_it_breaks(path: Path, span: Span | None = None) -> tuple[list[Item], SourceError | None]:
    items: list[Item] = []
    try:
        for item in VideoFile(path, "front", span):
            items.append(item)
    except SourceError as error:
        return items, error
    return items, None


def test_pixels_are_those_of_pyavs_own_conversion(video: Path) -> None:
    frames = _read(video)
    for frame, expected in zip(frames, _pictures_by_pyav(video), strict=True):
        assert isinstance(frame, Frame)
        assert np.array_equal(frame.image, expected)


@pytest.mark.parametrize("number", [10, 22, 23])
def test_decoding_with_several_threads_accounts_for_the_same_pictures(number: int, video: Path) -> None:
    drive_media.damage_packet(video, number)
    one, several = _read(video), _read(video, threads=2)
    assert [item.stamp_ns for item in several] == [item.stamp_ns for item in one]
    assert all(isinstance(lost, Fault) for lost, item in zip(several, one, strict=True) if item in _faults(one))


def test_stamps_are_exact_where_the_period_is_no_whole_number_of_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24000, 1001))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(drive_media.picture(number), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert [item.stamp_ns for item in _read(path)] == [
        round(Fraction(number * 1001 * 1_000_000_000, 24000)) for number in range(30)
    ]


def test_stamps_are_the_containers_own_and_need_not_begin_at_zero(tmp_path: Path) -> None:
    path = drive_media.write_video(tmp_path / "drive.ts")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        first_ns = round(stream.start_time * stream.time_base * 1_000_000_000)
    assert first_ns > 0
    assert _read(path)[0].stamp_ns == first_ns
    assert _read(path, Span(500 * MS))[0].stamp_ns == first_ns + 500 * MS, "a span counts from the first stamp"


@pytest.mark.parametrize("suffix", [".avi", ".h264"])
def test_a_container_without_presentation_times_counts_at_its_rate(suffix: str, tmp_path: Path) -> None:
    path = drive_media.write_video(tmp_path / f"drive{suffix}")
    items = _read(path)
    rate = VideoFile(path, "front").info.sensors[0].rate_hz
    assert rate
    assert len(items) == drive_media.PICTURES
    assert [item.stamp_ns for item in items] == [round(n * 1e9 / rate) for n in range(len(items))]


@pytest.mark.parametrize("number", [1, 5, 10, 23])
def test_a_damaged_packet_is_a_fault_in_its_place(number: int, video: Path) -> None:
    lost_s = drive_media.damage_packet(video, number)
    items = _read(video)
    (fault,) = _faults(items)
    assert fault.stamp_ns == round(lost_s * 1e9)
    assert f"packet {number}" in fault.reason
    assert [item.stamp_ns for item in items] == [n * 100 * MS for n in range(drive_media.PICTURES)]


def test_a_packet_that_the_decoder_drops_in_silence_is_a_fault_too() -> None:
    waiting = WaitingPackets()
    for number, ticks in enumerate([0, 300, 100, 200]):
        waiting.add(Packet(number, ticks, arrival_ns=1))
    assert waiting.take(0) is not None
    assert waiting.take(200) is not None
    assert [lost.ticks for lost in waiting.take_lost(before_ticks=200)] == [100]
    assert [lost.ticks for lost in waiting.take_lost()] == [300]


def test_a_packet_that_shows_nothing_by_design_is_no_fault() -> None:
    waiting = WaitingPackets(may_hide=True)
    waiting.add(Packet(0, 0, arrival_ns=1))
    waiting.add(Packet(1, 100, arrival_ns=1, reason="invalid data"))
    assert [lost.number for lost in waiting.take_lost()] == [1]


def test_every_undecodable_packet_is_a_fault_when_none_can_be_decoded(video: Path) -> None:
    for number in range(drive_media.PICTURES):
        drive_media.damage_packet(video, number)
    items = _read(video)
    assert len(items) == len(_faults(items)) == drive_media.PICTURES


def test_pictures_whose_time_lies_before_the_last_one_are_faults(tmp_path: Path) -> None:
    path = drive_media.write_video(tmp_path / "drive.mkv")
    cluster_at_800_ms, cluster_at_0_ms = b"\xe7\x82\x03\x20", b"\xe7\x82\x00\x00"
    data = path.read_bytes()
    assert data.count(cluster_at_800_ms) == 1
    path.write_bytes(data.replace(cluster_at_800_ms, cluster_at_0_ms))
    items = _read(path)
    assert len(items) == drive_media.PICTURES
    stamps = [item.stamp_ns // MS for item in items]
    assert stamps == sorted(stamps)
    assert 7 <= len(_faults(items)) <= 8, "those written as 0 to 600 ms after 700 ms, and perhaps 700 itself"
    assert stamps[-8:] == [n * 100 for n in range(16, 24)]
    assert not _faults(items[-8:]), "what follows the damage still comes"


def test_pictures_that_the_edit_list_cuts_away_are_not_captured(video: Path) -> None:
    data = bytearray(video.read_bytes())
    media_time = data.index(b"elst") + 4 + 4 + 4 + 4  # version and flags, number of entries, duration
    begins = int.from_bytes(data[media_time : media_time + 4], "big")
    ticks_of_3_pictures = 3 * 1024
    data[media_time : media_time + 4] = (begins + ticks_of_3_pictures).to_bytes(4, "big")
    video.write_bytes(data)
    source = VideoFile(video, "front")
    items = list(source)
    assert [item.stamp_ns // MS for item in items] == [n * 100 for n in range(drive_media.PICTURES - 3)]
    assert not _faults(items)
    assert source.info.sensors[0].count == len(items)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize(
    "span",
    [
        Span(),
        Span(start_ns=1),
        Span(start_ns=300 * MS),
        Span(start_ns=750 * MS, duration_ns=100 * MS),
        Span(start_ns=800 * MS, duration_ns=801 * MS),
        Span(start_ns=1_950 * MS),
        Span(duration_ns=1),
        Span(duration_ns=0),
        Span(start_ns=60_000 * MS),
    ],
    ids=str,
)
def test_a_span_is_what_slicing_a_full_reading_gives(suffix: str, span: Span, tmp_path: Path) -> None:
    path = drive_media.write_video(tmp_path / f"drive{suffix}")
    drive_media.damage_packet(path, 10)
    whole = _read(path)
    begins_ns = whole[0].stamp_ns + span.start_ns
    ends_ns = None if span.end_ns is None else whole[0].stamp_ns + span.end_ns
    expected = [i for i in whole if begins_ns <= i.stamp_ns and (ends_ns is None or i.stamp_ns < ends_ns)]
    found = _read(path, span)
    assert [(type(i), i.stamp_ns) for i in found] == [(type(i), i.stamp_ns) for i in expected]
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, Frame) and isinstance(other, Frame):
            assert np.array_equal(one.image, other.image)
    assert VideoFile(path, "front", span).info.sensors[0].count in (None, len(expected))


def test_an_index_that_leads_too_far_costs_no_picture(tmp_path: Path) -> None:
    path = drive_media.write_video(tmp_path / "drive.mkv")
    cue_of_800_ms, cue_of_288_ms = b"\xb3\x82\x03\x20", b"\xb3\x82\x01\x20"
    data = path.read_bytes()
    assert data.count(cue_of_800_ms) == 1
    path.write_bytes(data.replace(cue_of_800_ms, cue_of_288_ms))
    assert [item.stamp_ns // MS for item in _read(path, Span(300 * MS, 300 * MS))] == [300, 400, 500]


def test_a_span_of_an_mp4_knows_its_count(video: Path) -> None:
    assert VideoFile(video, "front", Span(750 * MS, 500 * MS)).info.sensors[0].count == 5


def test_a_truncated_file_gives_all_that_is_there_and_then_says_what_is_not(video: Path) -> None:
    position, size, _ = drive_media.packets(video)[15]
    video.write_bytes(video.read_bytes()[: position + size // 2])
    items, error = _read_until_it_breaks(video)
    assert error is not None
    assert "ends after 15 of 24 declared frames" in str(error)
    assert error.remedy
    assert sum(isinstance(item, Frame) for item in items) == 15
    assert all("cut short" in fault.reason for fault in _faults(items)), "half a packet is no picture"


def test_half_a_picture_that_a_decoder_makes_of_half_a_packet_is_a_fault(tmp_path: Path) -> None:
    video = drive_media.write_video(tmp_path / "drive.mp4", codec="mpeg4")  # H.264's decoder refuses them
    position, size, _ = drive_media.packets(video)[15]
    video.write_bytes(video.read_bytes()[: position + size // 2])
    items, error = _read_until_it_breaks(video)
    assert "ends after 15 of 24 declared frames" in str(error)
    assert sum(isinstance(item, Frame) for item in items) == 15
    assert ["cut short" in fault.reason for fault in _faults(items)] == [True]


def test_a_file_cut_between_packets_says_the_same(video: Path) -> None:
    position, _, _ = drive_media.packets(video)[15]
    video.write_bytes(video.read_bytes()[:position])
    items, error = _read_until_it_breaks(video)
    assert "ends after 15 of 24" in str(error)
    assert len(items) == 15


def test_a_span_counts_what_a_truncated_file_lacks_from_its_beginning(video: Path) -> None:
    position, _, _ = drive_media.packets(video)[15]
    video.write_bytes(video.read_bytes()[:position])
    _, error = _read_until_it_breaks(video, Span(1000 * MS))
    assert "ends after 15 of 24" in str(error)
    items, error = _read_until_it_breaks(video, Span(0, 500 * MS))
    assert error is None, "the part asked for is there"
    assert len(items) == 5


def test_a_header_that_declares_billions_is_not_counted_one_by_one(tmp_path: Path) -> None:
    path = drive_media.write_video(tmp_path / "drive.avi")
    data = path.read_bytes()
    length = data.index(b"strh") + 8 + 32  # of the stream, in its header
    path.write_bytes(data[:length] + (2**31 - 1).to_bytes(4, "little") + data[length + 4 :])
    source = VideoFile(path, "front", Span(500 * MS))
    assert source.info.sensors[0].count == 2**31 - 1 - 5
    with pytest.raises(SourceError, match="ends after 24 of 2147483647 declared frames"):
        list(source)


def test_a_file_that_vanishes_after_opening_breaks_the_source(video: Path) -> None:
    source = VideoFile(video, "front")
    video.unlink()
    with pytest.raises(SourceError, match="No such file"):
        list(source)


def test_closing_ends_it_while_the_decoder_still_holds_pictures(video: Path) -> None:
    source = VideoFile(video, "front")
    items = iter(source)
    for _ in range(drive_media.PICTURES - 1):
        next(items)
    source.close()
    assert list(items) == []


def _without_index(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") + 100])


UNREADABLE = {
    "is empty": lambda path: path.write_bytes(b""),
    "not a video": lambda path: path.write_text("a text\n" * 100),
    "no video in it, only audio": drive_media.write_sound,
    "truncated or still being written: it has no index": lambda path: path.write_bytes(
        b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0\0\1\0mdat" + bytes(90)
    ),
    "damaged or cut short": lambda path: _without_index(drive_media.write_video(path)),
}


@pytest.mark.parametrize("said", UNREADABLE)
def test_a_file_that_is_no_video_is_a_wrong_request_in_words(said: str, tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    UNREADABLE[said](path)
    with pytest.raises(RequestError, match=said) as caught:
        VideoFile(path, "front")
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)


def test_a_folder_given_as_a_video_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"[Ii]s a directory"):
        VideoFile(tmp_path, "front")


DISGUISES = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.mp4\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile http://127.0.0.1:9/a.mp4\n",
    "SDP": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\n",
}


@pytest.mark.parametrize("kind", DISGUISES)
def test_a_playlist_in_disguise_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    path.write_text(DISGUISES[kind])
    with pytest.raises(RequestError, match=r"cannot be opened|not a video"):
        VideoFile(path, "front")


def test_a_colon_in_a_file_name_is_no_protocol(tmp_path: Path, video: Path) -> None:
    path = tmp_path / "concat:12:30.mp4"
    shutil.copy(video, path)
    assert len(_read(path)) == drive_media.PICTURES


def test_an_image_outlives_its_source(video: Path) -> None:
    def first_image() -> Iterator[np.ndarray]:
        with VideoFile(video, "front") as source:
            frame = next(iter(source))
            assert isinstance(frame, Frame)
            yield frame.image

    (image,) = first_image()
    assert np.array_equal(image, _pictures_by_pyav(video)[0])


class _Stored:
    """A decoded picture as PyAV gives it, and a rotation, which PyAV itself cannot write to one."""

    def __init__(self, rotation: int) -> None:
        self.width, self.height, self.rotation = 40, 20, rotation


@pytest.mark.parametrize(
    ("aspect", "rotation", "size"),
    [
        (None, 0, (40, 20)),
        (Fraction(2, 3), 0, (40, 30)),
        (Fraction(3, 2), 0, (60, 20)),
        (Fraction(3, 2), -90, (20, 60)),
        (None, 90, (20, 40)),
        (None, 180, (40, 20)),
        (Fraction(1, 5000), 0, (40, 20)),
    ],
)
def test_an_upright_size_has_square_pixels_and_loses_none(
    aspect: Fraction | None, rotation: int, size: tuple[int, int]
) -> None:
    assert UprightBgr(aspect).size(_Stored(rotation)) == size


def test_pictures_may_change_size_within_a_video() -> None:
    upright = UprightBgr(None)
    for width in (64, 32, 64):
        picture = av.VideoFrame.from_ndarray(drive_media.picture(1, width, 48), format="bgr24")
        coded = picture.reformat(format="yuv420p")
        assert np.array_equal(upright.image(coded), coded.to_ndarray(format="bgr24"))
