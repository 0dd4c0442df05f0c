"""Hardware decoders on a real card or Jetson: a clip, and a whole drive, come out as of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sensors.cameras import hardware
from sensors.cameras.hardware import KINDS, Kind
from sensors.cameras.nvdec import CpuDecoder


@pytest.fixture(params=KINDS, ids=[kind.name for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    there: Kind = request.param
    if not there.is_there():
        pytest.skip(f"needs {there.name}: an NVIDIA card's driver, or JetPack's GStreamer")
    return there


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_clip_is_decoded_as_on_the_cpu(kind: Kind, codec: str) -> None:
    if codec not in kind.codecs:
        pytest.skip(f"{kind.name} is not given {codec}")
    assert hardware.sees_the_same(codec, kind.open)


@pytest.mark.data
def test_a_drive_is_decoded_as_on_the_cpu(kind: Kind, data: Path) -> None:
    def pictures(opened: Any) -> dict[int, Any]:
        with av.open(str(data / "drives" / "videos" / "solidWhiteRight.mp4")) as container:
            stream = container.streams.video[0]
            decoder = opened(stream)
            found = [one for packet in container.demux(stream) if packet.size for one in decoder.decode(packet)]
            found += decoder.decode(None)
            decoder.close()
        return {picture.pts: picture.to_ndarray(format="yuv420p").astype(int) for picture in found}

    on_cpu, on_hardware = pictures(CpuDecoder), pictures(kind.open)
    assert on_cpu.keys() == on_hardware.keys()
    assert max(np.abs(on_cpu[stamp] - on_hardware[stamp]).max() for stamp in on_cpu) <= hardware._NEARLY
