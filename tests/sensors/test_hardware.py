"""Hardware decoders of live video, with others in their place: each is proven first, and gives way where it fails.

What a GPU or a Jetson decodes was never seen (README).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import drive_media
import numpy as np
import pytest
from csi_camera import HAS_DECODER, WHY_NO_DECODER, CsiCameras
from test_reconnecting import PATIENCE, FileCamera

from sensors.cameras import hardware, nvdec, nvv4l2
from sensors.cameras.hardware import Kind
from sensors.cameras.nvdec import CpuDecoder, NvdecDecoder
from sensors.cameras.nvv4l2 import Nvv4l2Decoder
from sensors.cameras.reconnecting import ReconnectingCamera
from sensors.frame import Fault, Frame

STAND_IN = Kind("NVDEC", lambda: True, CpuDecoder)


@pytest.fixture(autouse=True)
def trust() -> Iterator[None]:
    for _ in range(2):
        hardware._distrusted.clear()
        hardware._sees_the_same.cache_clear()
        yield
        return


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return drive_media.write_video(tmp_path / "camera.mp4")


@pytest.fixture
def jetson(tmp_path: Path) -> Iterator[CsiCameras]:
    if not HAS_DECODER:
        pytest.skip(WHY_NO_DECODER)
    with CsiCameras(tmp_path / "jetson") as cameras:
        yield cameras


class Blind:
    """A decoder that gives nothing any more after some packets."""

    def __init__(self, stream: Any, packets: int = 0) -> None:
        self._inner, self._left = CpuDecoder(stream), packets

    def decode(self, coded: Any) -> list[Any]:
        self._left -= 1
        return self._inner.decode(coded) if self._left >= 0 else []

    def close(self) -> None: ...


class Wrong(CpuDecoder):
    """Its last picture has one pixel that is another."""

    def decode(self, coded: Any) -> list[Any]:
        pictures = super().decode(coded)
        for picture in pictures:
            if picture.pts > 300:
                pixels = picture.to_ndarray(format="yuv420p")
                pixels[50, 60] ^= 64
                changed = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
                changed.pts = picture.pts
                pictures = [changed]
        return pictures


class Lazy(CpuDecoder):
    """It gives no picture of the first packet."""

    def decode(self, coded: Any) -> list[Any]:
        return [picture for picture in super().decode(coded) if picture.pts]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_decoder_that_sees_the_same_is_proven(codec: str) -> None:
    assert hardware.sees_the_same(codec, CpuDecoder)


@pytest.mark.parametrize("decoder", [Wrong, Lazy, Blind])
def test_one_that_sees_something_else_or_less_is_not(decoder: Any) -> None:
    assert not hardware.sees_the_same("h264", decoder)


def test_what_is_not_there_is_not_taken(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if nvdec.is_there() or nvv4l2.is_there():
        pytest.skip("a decoder is here")
    assert not hardware.sees_the_same("h264", NvdecDecoder)
    assert hardware.proven() == {}
    monkeypatch.setattr(hardware, "is_proven", lambda kind, _codec: kind.name == "NVDEC")
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        with hardware.decoder_of(stream) as decoder:
            assert decoder is stream.codec_context, "proven once, and cannot be opened now"


def test_a_person_may_keep_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.is_proven(STAND_IN, "h264")
    assert not hardware.is_proven(STAND_IN, "mjpeg")
    assert not hardware.is_proven(Kind("nvv4l2decoder", lambda: True, CpuDecoder, nvv4l2.CODECS), "hevc")
    monkeypatch.setenv("EDGE_PERCEPTION_DECODER", "cpu")
    assert not hardware.is_proven(STAND_IN, "h264")


def frames_of(video: Path, count: int = drive_media.PICTURES - 2) -> list[Any]:
    with ReconnectingCamera(FileCamera(video), "front", PATIENCE) as source:
        return list(islice(source, count))


def test_a_camera_gives_the_same_frames_through_it(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = frames_of(video)
    used: list[Any] = []
    kind = Kind("NVDEC", lambda: True, lambda stream: used.append(stream) or CpuDecoder(stream))
    monkeypatch.setattr(hardware, "KINDS", (kind,))
    through_it = frames_of(video)
    assert len(used) >= 2, "its proof, and the camera"
    for one, other in zip(on_cpu, through_it, strict=True):
        assert isinstance(one, Frame)
        np.testing.assert_array_equal(one.image, other.image)


def test_one_that_goes_blind_gives_way_after_60_packets_and_says_so(video: Path) -> None:
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        stream.codec_context.thread_count = 1
        decoder = hardware.GivesWay(STAND_IN, stream.codec_context, Blind(stream))
        for packet in packets[1:5] * 20:  # before the key frame
            assert decoder.decode(packet) == []
        for packet in (packets * 3)[:60]:
            assert decoder.decode(packet) == []
        with pytest.raises(ValueError, match="NVDEC gave no picture for 60 packets: decoded on the CPU now"):
            decoder.decode(packets[0])
        assert sum(len(decoder.decode(packet)) for packet in packets) >= len(packets) - 2
    assert not hardware.is_proven(STAND_IN, "h264"), "not for the next camera either"


def test_a_camera_goes_on_where_it_goes_blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = drive_media.write_video(tmp_path / "long.mp4", pictures=150)
    monkeypatch.setattr(hardware, "KINDS", (Kind("NVDEC", lambda: True, lambda stream: Blind(stream, 20)),))
    items = frames_of(long, 150)
    said = [item.reason for item in items if isinstance(item, Fault)]
    assert any("decoded on the CPU now" in reason for reason in said)
    assert sum(isinstance(item, Frame) for item in items) > 60


# --- a Jetson's: a real pipeline, with GStreamer's own decoder in its place


def test_the_pipeline_sees_the_same_and_is_gone_at_the_end(jetson: CsiCameras) -> None:
    assert hardware.sees_the_same("h264", Nvv4l2Decoder)
    assert "nvv4l2decoder" in jetson.asked
    assert_gone(jetson.pid)


def assert_gone(pid: int) -> None:
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["camera.ts", "camera.mp4"])
def test_pictures_keep_the_stamps_of_their_packets(jetson: CsiCameras, tmp_path: Path, name: str) -> None:
    """In MPEG-TS they begin at 1.4 s and count 90,000 a second."""
    video = drive_media.write_video(tmp_path / name)

    def pictures(open_decoder: Any) -> dict[int, Any]:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            decoder = open_decoder(stream)
            found = [one for packet in container.demux(stream) if packet.size for one in decoder.decode(packet)]
            found += decoder.decode(None)
            decoder.close()
        return {one.pts: one.to_ndarray(format="yuv420p").astype(int) for one in found}

    on_cpu, on_jetson = pictures(CpuDecoder), pictures(Nvv4l2Decoder)
    assert_gone(jetson.pid)
    assert sorted(on_cpu) == sorted(on_jetson)
    assert len(on_cpu) == drive_media.PICTURES
    for stamp, picture in on_jetson.items():  # GStreamer's decoder is not exact where pictures lean on later ones
        nearest = min(on_cpu, key=lambda other: np.abs(on_cpu[other] - picture).mean())
        assert nearest == stamp, "each shows its own moment"


def test_a_camera_is_decoded_by_it(jetson: CsiCameras, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "KINDS", (Kind("nvv4l2decoder", lambda: True, Nvv4l2Decoder),))
    frames = frames_of(video, 12)
    assert all(isinstance(frame, Frame) for frame in frames)
    assert "nvv4l2decoder" in jetson.asked
    assert_gone(jetson.pid)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_pipeline_that_dies_or_hangs_leaves_the_rest_to_the_cpu(
    jetson: CsiCameras, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setattr(nvv4l2, "_WRITE_S", 0.02)
    video = drive_media.write_video(tmp_path / "long.mp4", pictures=200)
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        kind = Kind("nvv4l2decoder", lambda: True, Nvv4l2Decoder)
        monkeypatch.setattr(hardware, "KINDS", (kind,))
        found, refused = 0, 0
        with hardware.decoder_of(stream) as decoder:
            for number, packet in enumerate(container.demux(stream)):
                if not packet.size:
                    continue
                if number == 20:
                    os.kill(jetson.pid, how)
                try:
                    found += len(decoder.decode(packet))
                except (ValueError, OSError, av.FFmpegError):
                    refused += 1
    assert refused
    assert found > 60, "the CPU's"
    assert_gone(jetson.pid)
