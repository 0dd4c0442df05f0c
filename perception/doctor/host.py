"""Cores, memory, disk and cameras."""

from __future__ import annotations

import re
from collections.abc import Iterator

from perception.doctor.facts import Machine
from perception.doctor.finding import Finding, Group
from perception.doctor.kind import Kind

GROUP = Group("machine")
X86 = {"x86_64", "amd64"}
GB = 1e9
LEAST_ROOM_GB = 2.0  # less, and a recording ends within minutes
LEAST_MEMORY_GB = 1.0  # available; a run with a small network takes about half of it
# A 720p JPEG as cameras give it is some 234 kB (docs/decisions.md, MCAP), at 30 a second.
CAMERA_GB_PER_HOUR = 234e3 * 30 * 3600 / GB

# What multiplies INT8 quickly, best first, as the kernel names it in /proc/cpuinfo.
_INT8 = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "i8mm": "I8MM",
    "asimddp": "dot product",
}


def look(machine: Machine, _kind: Kind, recordings: str) -> Iterator[Finding]:
    """What every machine has."""
    yield _cpu(machine)
    yield _memory(machine)
    yield _disk(machine, recordings)
    yield from _cameras(machine)


def _cpu(machine: Machine) -> Finding:
    cores = f"{machine.cores} core{'' if machine.cores == 1 else 's'}, {machine.architecture}"
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", machine.read("/proc/cpuinfo") or "", re.MULTILINE)
    flags = set(listed[1].split()) if listed else set()
    quick = [name for flag, name in _INT8.items() if flag in flags]
    if quick:
        return GROUP.ok("CPU", f"{cores}; INT8 by {', '.join(quick)}")
    if machine.architecture not in X86:
        return GROUP.ok("CPU", f"{cores}; no dot product: INT8 is hardly quicker than float")
    return GROUP.ok(
        "CPU",
        f"{cores}; no VNNI: INT8 products may saturate",
        "calibrate with `--weight-bits 7` where networks run on this CPU",
    )


def _memory(machine: Machine) -> Finding:
    told = dict(re.findall(r"^(\w+):\s+(\d+) kB", machine.read("/proc/meminfo") or "", re.MULTILINE))
    if "MemTotal" not in told or "MemAvailable" not in told:
        return GROUP.ok("memory", "the kernel does not tell")
    total, available = (int(told[name]) * 1024 / GB for name in ("MemTotal", "MemAvailable"))
    found = f"{available:.1f} GB of {total:.1f} GB available"
    if available < LEAST_MEMORY_GB:
        return GROUP.problem("memory", found, "end other programs: a run takes some 0.5 GB, calibrating several")
    return GROUP.ok("memory", found)


def _disk(machine: Machine, recordings: str) -> Finding:
    room = machine.room(recordings)
    if room is None:
        return GROUP.problem("disk", f"there is no folder {recordings}", "make the folder that recordings go to")
    free, total = room.free / GB, room.total / GB
    hours = free / CAMERA_GB_PER_HOUR
    found = f"{free:.0f} GB of {total:.0f} GB free in {recordings}: {hours:.1f} h of one 720p camera as JPEG"
    if free < LEAST_ROOM_GB:
        return GROUP.problem(
            "disk", found, "free some, or record elsewhere; `keep_mb` under [record] bounds recordings"
        )
    if not machine.may_use(recordings):
        return GROUP.problem("disk", f"{recordings} may not be written by this user", "record into another folder")
    return GROUP.ok("disk", found)


def _cameras(machine: Machine) -> Iterator[Finding]:
    devices = sorted(machine.paths("/dev/video*"), key=lambda path: int(re.sub(r"\D", "", path) or 0))
    if not devices:
        yield GROUP.not_needed("cameras", "no /dev/video*; network cameras need none")
    for device in devices:
        short = device.removeprefix("/dev/")
        called = (machine.read(f"/sys/class/video4linux/{short}/name") or "").strip() or "a camera"
        if machine.may_use(device):
            yield GROUP.ok(device, called)
        else:
            remedy = "`sudo usermod -aG video $USER`, and log in again; a container needs `--device` for it"
            yield GROUP.problem(device, f"{called}: this user may not open it", remedy)
