"""The GPU's decoder of live video, with the CPU's in its place: it is proven first, and gives way where it fails.

What a GPU decodes was never seen (README).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import drive_media
import numpy as np
import pytest
from av.codec.hwaccel import HWAccel
from test_reconnecting import PATIENCE, FileCamera

from engines.gpu import find_gpu
from sensors.cameras import nvdec
from sensors.cameras.reconnecting import ReconnectingCamera
from sensors.frame import Fault, Frame


@pytest.fixture(autouse=True)
def trust() -> Iterator[None]:
    nvdec._distrusted.clear()
    yield
    nvdec._distrusted.clear()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return drive_media.write_video(tmp_path / "camera.mp4")


class Blind:
    """A decoder that gives nothing any more after some packets."""

    def __init__(self, inner: Any = None, packets: int = 0) -> None:
        self._inner, self._left = inner, packets

    def decode(self, coded: Any) -> list[Any]:
        self._left -= 1
        pictures: list[Any] = self._inner.decode(coded) if self._left >= 0 else []
        return pictures


@pytest.mark.parametrize("codec", nvdec.CODECS)
def test_a_decoder_that_sees_the_same_is_proven(codec: str) -> None:
    assert nvdec.sees_the_same(codec, lambda: None)


def test_one_that_sees_something_else_or_less_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = nvdec._decoded
    turns = iter([lambda pictures: pictures, lambda pictures: [*pictures[:-1], pictures[-1] // 2]])
    monkeypatch.setattr(nvdec, "_decoded", lambda *asked: next(turns)(decoded(*asked)))
    assert not nvdec.sees_the_same("h264", lambda: None)
    turns = iter([lambda pictures: pictures, lambda pictures: pictures[:-1]])
    assert not nvdec.sees_the_same("h264", lambda: None)


def test_without_a_gpu_it_is_the_streams_own(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_gpu() is not None:
        pytest.skip("a GPU is here")
    assert not nvdec.sees_the_same("h264", lambda: HWAccel("cuda", allow_software_fallback=False))
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert nvdec.decoder_of(stream) is stream.codec_context
        monkeypatch.setattr(nvdec, "is_proven", lambda _codec: True)
        assert nvdec.decoder_of(stream) is stream.codec_context, "proven once, and cannot be opened now"


def test_a_person_may_keep_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdec, "_has_libraries", lambda: True)
    monkeypatch.setattr(nvdec, "_sees_the_same", lambda _codec: True)
    assert nvdec.is_proven("h264")
    assert not nvdec.is_proven("mjpeg")
    monkeypatch.setenv("EDGE_PERCEPTION_DECODER", "cpu")
    assert not nvdec.is_proven("h264")


def test_a_camera_gives_the_same_frames_through_it(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def frames() -> list[Any]:
        with ReconnectingCamera(FileCamera(video), "front", PATIENCE) as source:
            return list(islice(source, drive_media.PICTURES - 2))

    on_cpu = frames()
    used: list[str] = []
    make = nvdec.NvdecDecoder
    monkeypatch.setattr(nvdec, "is_proven", lambda _codec: True)
    monkeypatch.setattr(nvdec, "HWAccel", lambda _kind: None)
    monkeypatch.setattr(nvdec, "NvdecDecoder", lambda *contexts: used.append("") or make(*contexts))
    through_it = frames()
    assert used
    for one, other in zip(on_cpu, through_it, strict=True):
        assert isinstance(one, Frame)
        np.testing.assert_array_equal(one.image, other.image)


def test_one_that_goes_blind_gives_way_after_60_packets_and_says_so(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvdec, "_has_libraries", lambda: True)
    monkeypatch.setattr(nvdec, "_sees_the_same", lambda _codec: True)
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        context = container.streams.video[0].codec_context
        context.thread_count = 1
        decoder = nvdec.NvdecDecoder(context, Blind())
        before_the_key_frame = packets[1:5]
        for packet in before_the_key_frame * 20:
            assert decoder.decode(packet) == []
        for packet in (packets * 3)[:60]:
            assert decoder.decode(packet) == []
        with pytest.raises(ValueError, match="NVDEC gave no picture for 60 packets: decoded on the CPU now"):
            decoder.decode(packets[0])
        assert sum(len(decoder.decode(packet)) for packet in packets) >= len(packets) - 2
    assert not nvdec.is_proven(decoder.name), "not for the next camera either"


def test_a_camera_goes_on_where_it_goes_blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = drive_media.write_video(tmp_path / "long.mp4", pictures=150)
    monkeypatch.setattr(nvdec, "is_proven", lambda codec: codec not in nvdec._distrusted)
    context = nvdec._context
    monkeypatch.setattr(nvdec, "HWAccel", lambda _kind: None)
    monkeypatch.setattr(nvdec, "_context", lambda *asked: Blind(context(*asked), 20))
    with ReconnectingCamera(FileCamera(long), "front", PATIENCE) as source:
        items = list(islice(source, 150))
    said = [item.reason for item in items if isinstance(item, Fault)]
    assert any("decoded on the CPU now" in reason for reason in said)
    assert sum(isinstance(item, Frame) for item in items) > 60
