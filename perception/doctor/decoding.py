"""What pictures are decoded with: FFmpeg on the CPU, and network cameras by NVIDIA's hardware where it is proven."""

from __future__ import annotations

from collections.abc import Iterator

from perception.doctor.facts import Machine
from perception.doctor.finding import Finding, Group
from perception.doctor.kind import Kind

GROUP = Group("codecs")
NAMES = {"h264": "H.264", "hevc": "HEVC", "mjpeg": "JPEG"}
NVV4L2 = ("gst-inspect-1.0", "--exists", "nvv4l2decoder")


def look(machine: Machine, kind: Kind) -> Iterator[Finding]:
    """Software first: it reads everything, everywhere."""
    yield _ffmpeg(machine)
    yield _nvdec(machine, kind)
    yield _nvv4l2decoder(machine, kind)


def _ffmpeg(machine: Machine) -> Finding:
    name, again = "FFmpeg", "`pip install --force-reinstall av`"
    module = machine.module("av")
    if module is None or module.failure:
        return GROUP.problem(name, f"PyAV cannot be imported: {module.failure if module else 'not installed'}", again)
    read = [NAMES[codec] for codec in module.details.get("decoders", ()) if codec in NAMES]
    lacking = [shown for shown in NAMES.values() if shown not in read]
    if lacking:
        found = f"PyAV {module.version} does not read {', '.join(lacking)}"
        return GROUP.problem(name, found, f"take PyAV's own wheel: {again}")
    writes = "" if "h264" in module.details.get("encoders", ()) else "; it writes no H.264, so recordings keep JPEG"
    return GROUP.ok(name, f"PyAV {module.version} reads {', '.join(read)}, on the CPU{writes}")


def _nvdec(machine: Machine, kind: Kind) -> Finding:
    name = "NVDEC"
    if kind.is_jetson or not kind.has_card:
        return GROUP.not_needed(name, "for GPUs on cards" if kind.is_jetson else "no NVIDIA GPU")
    return _hardware(machine, name, "the driver has no libnvcuvid.so.1")


def _nvv4l2decoder(machine: Machine, kind: Kind) -> Finding:
    name = "nvv4l2decoder"
    if not kind.is_jetson:
        return GROUP.not_needed(name, "no Jetson")
    ran = machine.run(*NVV4L2)
    lacks = "no GStreamer tools" if ran is None else "GStreamer does not have it"
    return _hardware(machine, name, lacks if ran is None or ran.code else "")


def _hardware(machine: Machine, name: str, lacks: str) -> Finding:
    """What hardware decodes of network cameras; where it does not, FFmpeg does, so nothing is missing."""
    module = machine.module("av")
    hardware = module.details.get("hardware", {}) if module else {}
    if proven := [NAMES[codec] for codec in hardware.get(name, ()) if codec in NAMES]:
        return GROUP.ok(name, f"decodes {', '.join(proven)} of network cameras, as the CPU does")
    why = "does not decode a test clip as the CPU does" if name in hardware else lacks or "was not tried"
    return GROUP.not_needed(name, f"{why}: FFmpeg decodes on the CPU")
