"""Cameras of this machine: what can be tested without one. That pictures come was never seen (README)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import av
import pytest

from sensors.cameras.addresses import v4l2_address
from sensors.cameras.reconnecting import ReconnectingCamera
from sensors.cameras.stamps import KernelStamps
from sensors.cameras.v4l2 import V4l2Camera, devices_like, ffmpeg_options, open_v4l2
from sensors.errors import RequestError, SourceError, SourceNotFoundError
from sensors.opening import open_source


def test_a_missing_device_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"/dev/video99: does not exist; ") as caught:
        open_source("v4l2:///dev/video99")
    assert caught.value.exit_code == 2
    assert f"no {tmp_path}/video* at all" in devices_like(Path("/dev/video0"), tmp_path)
    for number in (0, 1, 4):
        (tmp_path / f"video{number}").touch()
    assert devices_like(Path("/dev/video10"), tmp_path) == f"did you mean {tmp_path / 'video1'}?"
    assert devices_like(Path("/dev/front"), tmp_path) == f"in {tmp_path} there are video0, video1, video4"


@pytest.mark.parametrize("device", ["/dev/null", "/etc/hostname", "/dev"])
def test_what_is_no_video_device_is_refused(device: str) -> None:
    with pytest.raises(RequestError, match="is no camera; give a camera's device"):
        open_source(f"v4l2://{device}")


def test_ffmpeg_is_asked_for_what_the_uri_says() -> None:
    whole = v4l2_address("v4l2:///dev/video0?width=1280&height=720&fps=29.97&format=mjpeg")
    assert ffmpeg_options(whole) == {"video_size": "1280x720", "framerate": "29.97", "input_format": "mjpeg"}
    assert ffmpeg_options(v4l2_address("v4l2:///dev/video0")) == {}
    assert "v4l2" in {name for names in av.formats_available for name in names.split(",")}


def test_a_device_that_gives_no_pictures_ends_the_source_in_words() -> None:
    """FFmpeg's own V4L2 input, on a device that answers none of its questions."""
    camera = V4l2Camera(v4l2_address("v4l2:///dev/null?width=640&height=480"))
    with (
        ReconnectingCamera(camera, "front") as source,
        pytest.raises(SourceError, match=r"v4l2:///dev/null: gives no pictures"),
    ):
        next(iter(source))


@pytest.mark.parametrize(
    ("number", "said", "is_final"),
    [
        (errno.EINVAL, "does not give this size, rate or format; look with v4l2-ctl --list-formats-ext", True),
        (errno.EBUSY, "is used by another program; end that one: fuser /dev/video0", False),
        (errno.EACCES, "may not be opened by this user; add the user to the group", True),
        (errno.ENOENT, "is not there any more; plug the camera in", False),
        (errno.EIO, "is not there any more; plug the camera in", False),
        (errno.ENODEV, "gives no pictures", True),
        (errno.EPROTO, "cannot be read: protocol error; plug the camera out and in", False),
    ],
)
def test_the_kernels_answers_are_said_in_words(number: int, said: str, is_final: bool) -> None:
    lost = V4l2Camera(v4l2_address("v4l2:///dev/video0")).why(OSError(number, os.strerror(number)))
    assert said in f"{lost.what}; {lost.remedy}"
    assert lost.is_final is is_final


def test_a_device_of_others_names_the_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    device = tmp_path / "video0"
    try:
        os.mknod(device, 0o600 | 0o020000, os.makedev(81, 0))
    except OSError:
        pytest.skip("only root makes devices")
    monkeypatch.setattr(os, "access", lambda _, mode: not mode)  # root may open everything
    with pytest.raises(RequestError, match="may not be opened by this user; add the user to the group"):
        open_v4l2(f"v4l2://{device}", "front")


def test_stamps_are_the_kernels() -> None:
    assert isinstance(V4l2Camera(v4l2_address("v4l2:///dev/video0")).clock(), KernelStamps)
