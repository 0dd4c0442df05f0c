"""What pictures are decoded with: FFmpeg, on the CPU or by a card's NVDEC. A Jetson's decoder is not used yet."""

from __future__ import annotations

from collections.abc import Iterator

from perception.doctor.facts import Machine
from perception.doctor.finding import Finding, Group
from perception.doctor.kind import Kind

GROUP = Group("codecs")
NAMES = {"h264": "H.264", "hevc": "HEVC", "mjpeg": "JPEG"}
NVV4L2 = ("gst-inspect-1.0", "--exists", "nvv4l2decoder")
NOT_USED_YET = "not used yet: FFmpeg decodes"


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
    module = machine.module("av")
    proven = [NAMES[codec] for codec in (module.details.get("nvdec", ()) if module else ()) if codec in NAMES]
    if not proven:
        return GROUP.not_needed(name, "does not decode as the CPU does here, so FFmpeg decodes on the CPU")
    return GROUP.ok(name, f"decodes {', '.join(proven)} of network cameras, as the CPU does")


def _nvv4l2decoder(machine: Machine, kind: Kind) -> Finding:
    name = "nvv4l2decoder"
    if not kind.is_jetson:
        return GROUP.not_needed(name, "no Jetson")
    ran = machine.run(*NVV4L2)
    if ran is None or ran.code:
        lacks = "no GStreamer tools" if ran is None else "GStreamer does not have it"
        return GROUP.not_needed(name, f"{lacks}, and {NOT_USED_YET}")
    return GROUP.ok(name, f"GStreamer has it; {NOT_USED_YET}")
