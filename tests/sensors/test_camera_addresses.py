"""Cameras' URIs: what they say, what is wrong with them in words, and that no message repeats a password."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sensors.cameras.addresses import RtspAddress, V4l2Address, rtsp_address, v4l2_address
from sensors.errors import RequestError
from sensors.naming import shown
from sensors.opening import check_uri, default_name, open_source
from sensors.source import Span


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("rtsp://cam", RtspAddress("rtsp", "cam", 554, "")),
        ("RTSPS://cam/", RtspAddress("rtsps", "cam", 322, "/")),
        ("rtsp://cam:8554/a?channel=1&subtype=0", RtspAddress("rtsp", "cam", 8554, "/a?channel=1&subtype=0")),
        ("rtsp://cam?a=1", RtspAddress("rtsp", "cam", 554, "?a=1")),
        ("rtsp://[fe80::1]:8554/1", RtspAddress("rtsp", "fe80::1", 8554, "/1")),
        ("rtsp://cam/1#transport=udp", RtspAddress("rtsp", "cam", 554, "/1", "udp")),
        ("rtsp://admin:pw@cam/1", RtspAddress("rtsp", "cam", 554, "/1", user="admin", password="pw")),
        ("rtsp://admin@cam/1", RtspAddress("rtsp", "cam", 554, "/1", user="admin")),
        ("rtsp://admin:a:b@cam/1", RtspAddress("rtsp", "cam", 554, "/1", user="admin", password="a:b")),
        ("rtsp://admin:p@w@cam/1", RtspAddress("rtsp", "cam", 554, "/1", user="admin", password="p@w")),
        ("rtsp://admin:p/w@cam/1", RtspAddress("rtsp", "cam", 554, "/1", user="admin", password="p/w")),
        ("rtsp://admin:p?w@cam/1", RtspAddress("rtsp", "cam", 554, "/1", user="admin", password="p?w")),
        ("rtsp://admin:p#w@cam/1", RtspAddress("rtsp", "cam", 554, "/1", user="admin", password="p#w")),
        ("rtsp://admin:p%40w%2F@cam/1", RtspAddress("rtsp", "cam", 554, "/1", user="admin", password="p@w/")),
    ],
)
def test_an_rtsp_uri_is_taken_apart(uri: str, expected: RtspAddress) -> None:
    assert rtsp_address(uri) == expected


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("rtsp:cam", "names no host"),
        ("rtsp://", "names no host"),
        ("rtsp:///1", "names no host"),
        ("rtsp://cam:port/1", "no port that is a number"),
        ("rtsp://cam:0/1", "has no port 0"),
        ("rtsp://cam:65536/1", "has no port 65536"),
        ("rtsp://cam/a b", "has a blank"),
        ("rtsp://cam/1#transprot=udp", "'transprot' is no setting of a camera; did you mean 'transport'?"),
        ("rtsp://cam/1#xyz=1", "'xyz' is no setting of a camera; known are transport"),
        ("rtsp://cam/1#transport=http", "transport='http' is not possible; use one of tcp, udp"),
        ("rtsp://cam/1#transport=udp&transport=tcp", "'transport' is there twice"),
        ("rtsp://admin:s3cr@et/pw@cam/1", "has an @ of which"),
        ("rtsp://admin:12/34@cam/1", "has an @ of which"),
        ("v4l2://video0", "names no device by its whole path"),
        ("v4l2:///dev/video0?widht=640&height=480", "'widht' is no setting of a camera; did you mean 'width'?"),
        ("v4l2:///dev/video0?width=640", "has one of width and height"),
        ("v4l2:///dev/video0?width=0&height=1", "width='0' is not possible; give pixels from 1 to 32768"),
        ("v4l2:///dev/video0?width=-1&height=1", "width='-1' is not possible"),
        ("v4l2:///dev/video0?width=32769&height=1", "width='32769' is not possible"),
        ("v4l2:///dev/video0?fps=fast", "fps='fast' is not possible; give frames a second"),
        ("v4l2:///dev/video0?fps=0", "fps='0' is not possible"),
        ("v4l2:///dev/video0?fps=1001", "fps='1001' is not possible"),
        ("v4l2:///dev/video0?format=MJPG", "format='MJPG' is not possible; give FFmpeg's name"),
        ("csi://", "names no camera by its number; write csi://0?width=1920"),
        ("csi://front", "names no camera by its number"),
        ("csi://0/1", "names no camera by its number"),
        ("csi://0?width=640", "csi://0: has one of width and height"),
        ("csi://0?rotate=45", "rotate='45' is not possible; give 0, 90, 180 or 270 degrees clockwise"),
        ("csi://0?flip=1", "'flip' is no setting of a camera; known are width, height, fps, rotate"),
        ("gopher://hole", "gopher:// is not known"),
    ],
)
def test_what_is_wrong_is_said_without_opening_anything(uri: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_uri(uri)
    assert said in str(caught.value)
    assert "s3cr" not in str(caught.value)
    with pytest.raises(RequestError):
        open_source(uri)


def test_a_v4l2_uri_is_taken_apart() -> None:
    whole = v4l2_address("v4l2:///dev/video0?width=1280&height=720&fps=29.97&format=mjpeg")
    assert whole == V4l2Address(Path("/dev/video0"), 1280, 720, 29.97, "mjpeg")
    assert v4l2_address("v4l2:///dev/v4l/by-id/usb-046d%20x") == V4l2Address(Path("/dev/v4l/by-id/usb-046d x"))
    assert v4l2_address("v4l2:/dev/video2") == V4l2Address(Path("/dev/video2"))


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("rtsp://admin:secret@10.0.0.7:554/Streaming/Channels/101", "10.0.0.7"),
        ("rtsp://rear.local", "rear.local"),
        ("rtsp://cam?password=secret", "cam"),
        ("rtsp://[fe80::1]:8554/1", "_fe80_1_"),
        ("v4l2:///dev/video0?fps=30", "video0"),
        ("v4l2:///dev/v4l/by-id/usb-cam", "usb-cam"),
    ],
)
def test_a_camera_is_named_by_its_host_or_device(uri: str, name: str) -> None:
    assert default_name(uri) == name


def test_a_camera_is_neither_looped_nor_cut() -> None:
    with pytest.raises(RequestError, match="is live, and cannot be looped"):
        open_source("rtsp://cam/1", loop=0)
    with pytest.raises(RequestError, match="is live, and has no span"):
        open_source("rtsp://cam/1", span=Span(start_ns=1))


def test_user_and_password_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    address = rtsp_address("rtsp://${CAMERA_USER}:x${CAMERA_PASSWORD}@cam/1")
    monkeypatch.setenv("CAMERA_USER", "admin")
    with pytest.raises(RequestError, match=r"\$\{CAMERA_PASSWORD\} is not in the environment; set CAMERA_PASSWORD"):
        address.secret_url()
    monkeypatch.setenv("CAMERA_PASSWORD", "s3cret@/#%41")
    assert address.secret_url() == "rtsp://admin:xs3cret%40%2F%23%2541@cam:554/1"


def test_the_url_for_ffmpeg_is_whole() -> None:
    address = rtsp_address("rtsp://admin:p@w@[::1]:8554/1?a=b#transport=udp")
    assert address.secret_url() == "rtsp://admin:p%40w@[::1]:8554/1?a=b"
    assert rtsp_address("rtsp://cam/1").secret_url() == "rtsp://cam:554/1"


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://admin:s3cret@cam/1",
        "rtsp://admin:s3cret?x@cam/1",
        "rtsp://admin:x/s3cret?x@cam/1",
        "rtsp://cam/1?user=admin&password=s3cret",
        "rtsp://cam:554/user=admin_password=s3cret_channel=1_stream=0.sdp",
        "rtsp://cam/pwd/s3cret",
    ],
)
def test_what_is_shown_of_a_camera_is_not_its_password(uri: str) -> None:
    assert "s3cret" not in shown(uri)
    assert "cam" in shown(uri)
    assert "admin" not in repr(rtsp_address("rtsp://admin:s3cret@cam/1"))
    assert "s3cret" not in repr(rtsp_address("rtsp://admin:s3cret@cam/1"))


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12))
def test_any_password_arrives_when_it_is_encoded(password: str) -> None:
    assume("${" not in password)
    address = rtsp_address(f"rtsp://admin:{quote(password, safe='')}@cam/1")
    assert (address.host, address.password) == ("cam", password)
    assert rtsp_address(address.secret_url()) == address


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused_in_words_without_what_is_before_the_last_at(text: str) -> None:
    for uri in (f"rtsp://XSECRETX{text}", f"rtsps://XSECRETX@{text}", f"v4l2://{text}"):
        said = ""
        try:
            check_uri(uri)
            default_name(uri)
        except RequestError as error:
            said = str(error)
        assert "@" not in uri or "XSECRETX" not in said
