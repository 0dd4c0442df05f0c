"""Whatever is damaged in a file: Faults, or an error of ours; never another exception, never a hang.

`SOURCE_FUZZ_EXAMPLES=5000 pytest tests/sensors/test_damaged_files.py` digs deeper than the suite does.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import drive_media
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensors.errors import RequestError, SourceError
from sensors.frame import Fault, Frame, Item
from sensors.opening import open_source
from sensors.source import Source, Span

EXAMPLES = int(os.environ.get("SOURCE_FUZZ_EXAMPLES", "120"))
HANGS_AFTER_S = 30

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

SPANS = [Span(), Span(750_000_000), Span(300_000_000, 900_000_000)]


@st.composite
def damage(draw: st.DrawFn, size: int) -> list[tuple[int, bytes]]:
    """Some places in a file of `size` bytes and what is written over them; empty bytes cut the file there."""
    places = st.integers(0, size - 1)
    runs = st.one_of(st.binary(min_size=1, max_size=1), st.binary(min_size=1, max_size=12), st.just(b""))
    return draw(st.lists(st.tuples(places, runs), min_size=1, max_size=6))


def _damaged(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    changed = bytearray(data)
    for place, written in changes:
        if written:
            changed[place : place + len(written)] = written
        else:
            del changed[place:]
    return bytes(changed)


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    faulthandler.dump_traceback_later(HANGS_AFTER_S + EXAMPLES * 0.02, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def _read_and_account(path: Path, span: Span) -> list[Item]:
    """Read a source as far as it goes; its errors are ours, and the accounting holds up to them."""
    items: list[Item] = []
    source: Source | None = None
    told: RequestError | SourceError | None = None
    try:
        source = open_source(str(path), span=span)
        for item in source:
            items.append(item)
    except (RequestError, SourceError) as error:
        told = error
    if told is not None:
        assert str(path) in str(told)
        assert told.remedy
        assert source is None or isinstance(told, SourceError), "a request is refused on opening"
    assert [item.sequence for item in items] == list(range(len(items)))
    assert all(earlier.stamp_ns <= later.stamp_ns for earlier, later in pairwise(items))
    assert all(item.image.size for item in items if isinstance(item, Frame))
    assert all(item.reason for item in items if isinstance(item, Fault))
    if told is None and source is not None and span == Span():
        assert source.info.sensors[0].count in (None, len(items))
    return items


@pytest.fixture(scope="module")
def video_bytes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        suffix: drive_media.write_video(folder / f"drive{suffix}").read_bytes()
        for suffix in (".mp4", ".mkv", ".ts", ".avi")
    }


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@fuzzed
@given(draws=st.data())
def test_a_damaged_video_gives_faults_or_says_what_is_wrong(
    suffix: str, draws: st.DataObject, video_bytes: dict[str, bytes], tmp_path: Path
) -> None:
    whole = video_bytes[suffix]
    path = tmp_path / f"drive{suffix}"
    path.write_bytes(_damaged(whole, draws.draw(damage(len(whole)))))
    _read_and_account(path, draws.draw(st.sampled_from(SPANS)))


def test_a_header_that_its_index_contradicts_declares_no_count(video_bytes: dict[str, bytes], tmp_path: Path) -> None:
    whole = bytearray(video_bytes[".avi"])
    length = whole.index(b"strh") + 8 + 32  # dwLength of AVISTREAMHEADER
    assert int.from_bytes(whole[length : length + 4], "little") == drive_media.PICTURES
    whole[length] = 1
    path = tmp_path / "drive.avi"
    path.write_bytes(whole)
    with open_source(str(path)) as source:
        assert source.info.sensors[0].count is None
        assert len(list(source)) == drive_media.PICTURES


@fuzzed
@given(draws=st.data())
def test_a_damaged_payload_loses_no_picture_from_the_count(
    draws: st.DataObject, video_bytes: dict[str, bytes], tmp_path: Path
) -> None:
    whole = video_bytes[".mp4"]
    begins = whole.index(b"mdat") + 4
    changes = [(begins + place, written) for place, written in draws.draw(damage(len(whole) - begins)) if written]
    path = tmp_path / "drive.mp4"
    path.write_bytes(_damaged(whole, changes)[: len(whole)])
    items = _read_and_account(path, Span())
    assert [item.stamp_ns for item in items] == [n * 100_000_000 for n in range(drive_media.PICTURES)]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
@fuzzed
@given(draws=st.data())
def test_a_damaged_image_is_a_frame_or_a_fault_and_the_next_still_comes(
    suffix: str, draws: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz", numbered=True) / "images"
    drive_media.write_images(folder, 2, suffix)
    first = folder / f"frame0{suffix}"
    whole = first.read_bytes()
    first.write_bytes(_damaged(whole, draws.draw(damage(len(whole)))))
    items = _read_and_account(folder, Span())
    assert len(items) == 2
    assert isinstance(items[1], Frame)
