"""NVDEC on a real card: a clip, and a whole drive, come out of it as of the CPU. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.hwaccel import HWAccel

from sensors.cameras import nvdec


@pytest.fixture(autouse=True)
def card() -> None:
    if not nvdec._has_libraries():
        pytest.skip("needs an NVIDIA card's driver (libnvcuvid.so.1)")


@pytest.mark.parametrize("codec", nvdec.CODECS)
def test_a_clip_is_decoded_as_on_the_cpu(codec: str) -> None:
    assert nvdec.sees_the_same(codec, lambda: HWAccel("cuda", allow_software_fallback=False))


@pytest.mark.data
def test_a_drive_is_decoded_as_on_the_cpu(data: Path) -> None:
    def pictures(decoder_for: Any) -> list[Any]:
        found: list[Any] = []
        with av.open(str(data / "drives" / "videos" / "solidWhiteRight.mp4")) as container:
            stream = container.streams.video[0]
            decoder = decoder_for(stream)
            for packet in container.demux(stream):
                if packet.size:
                    found += decoder.decode(packet)
        return found

    on_cpu, on_gpu = pictures(lambda stream: stream.codec_context), pictures(nvdec.decoder_of)
    assert len(on_gpu) >= len(on_cpu) - 4, "a decoder may hold its last pictures"
    for one, other in zip(on_cpu, on_gpu, strict=False):
        assert one.pts == other.pts
        difference = one.to_ndarray(format="yuv420p").astype(int) - other.to_ndarray(format="yuv420p")
        assert np.abs(difference).max() <= 1
