"""From a path or a URI to a source: `open_source`, `open_sources`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sensors.clock_policy import ClockPolicy
from sensors.drives.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from sensors.errors import RequestError, SourceNotFoundError
from sensors.looping import LoopingSource
from sensors.naming import check_name, distinct_name, safe_name, shown, split_name, split_scheme
from sensors.reclocked import ReclockedSource
from sensors.source import Source, Span

# A new format is one new file in `drives/` and one line here: "module:class", imported when first used, so
# that asking for help does not load FFmpeg.
_VIDEO = "sensors.drives.stamped_video:open_video_file"
_IMAGES = "sensors.drives.images:ImageFolder"

READERS_BY_SUFFIX = dict.fromkeys(IMAGE_SUFFIXES, _IMAGES) | dict.fromkeys(VIDEO_SUFFIXES, _VIDEO)
_ROS_BAG = "sensors.drives.ros:RosBag"
READERS_BY_SUFFIX[".bag"] = _ROS_BAG
READERS_BY_SUFFIX[".mcap"] = "sensors.drives.mcap.drive:McapDrive"
# Folders that are drives: what recognises one, and what reads it; any other folder is one of images.
FOLDERS = {
    "sensors.drives.kitti:is_kitti_drive": "sensors.drives.kitti:KittiDrive",
    "sensors.drives.radiate:is_radiate_drive": "sensors.drives.radiate:RadiateDrive",
    "sensors.drives.nuscenes:is_nuscenes": "sensors.drives.nuscenes:NuScenesDrive",
    "sensors.drives.comma:is_comma_segment": "sensors.drives.comma:CommaSegment",
    "sensors.drives.ros:is_ros2_bag": _ROS_BAG,
}
# Drives of several sensors, which treat each sensor's clock as they are told.
WITH_CLOCKS = set(FOLDERS.values())
# Their sensors have the names under which they were recorded, unless NAME= gives them another.
NAMED_INSIDE = {".mcap"}

# Live cameras by scheme: what checks a URI without opening anything, and what opens it.
_ADDRESSES = "sensors.cameras.addresses"
CAMERAS = {
    "rtsp": (f"{_ADDRESSES}:rtsp_address", "sensors.cameras.rtsp:open_rtsp"),
    "rtsps": (f"{_ADDRESSES}:rtsp_address", "sensors.cameras.rtsp:open_rtsp"),
    "v4l2": (f"{_ADDRESSES}:v4l2_address", "sensors.cameras.v4l2:open_v4l2"),
    "csi": (f"{_ADDRESSES}:csi_address", "sensors.cameras.csi:open_csi"),
}
_LATER_SCHEMES = {"http", "https", "udp", "rtp"}


def open_source(
    uri: str,
    *,
    span: Span | None = None,
    loop: int = 1,
    name: str | None = None,
    clocks: Mapping[str, ClockPolicy] | None = None,
    in_nv12: bool = False,
) -> Source:
    """Open one source, written `URI` or `NAME=URI`; with a `name`, only the URI.

    A URI is a path to a recording of any kind that the tables here name, `file://...`, `demo:bikes`, or a live camera's
    `rtsp://...`, `v4l2:///dev/...` or `csi://0`. `loop` plays a recording that often, 0 for ever. Raises
    SourceNotFoundError, RequestError (both exit code 2) or SourceError. `clocks`: what is done with a recorded drive's
    stamps, by sensor. `in_nv12`: a live camera may leave its pictures in NV12, which is less work.
    """
    if name is None:
        written_name, uri = split_name(uri)
        sensor = written_name or default_name(uri)
    else:
        sensor = check_name(name) if name else ""
    if not uri:
        raise RequestError("a source", "has an empty path", "give a path to a video, an image or a folder of images")
    check_uri(uri, span=span, loop=loop)
    open_once = partial(_open_once, uri, sensor, span or Span(), clocks, in_nv12)
    if loop == 1:
        return open_once()
    return LoopingSource(open_once, loop)


def open_sources(uris: Sequence[str], *, span: Span | None = None, loop: int = 1) -> list[Source]:
    """Open several sources under names of their own; if one cannot be opened, none stays open.

    Two equal names that were written are refused; a default name that is taken becomes `name-2`.
    """
    written = [split_name(text) for text in uris]
    names: list[str] = []
    given = [name for name, _ in written if name is not None]
    for name in given:
        if given.count(name) > 1:
            raise RequestError(f"source {name!r}", "two sources have this name", "give each its own NAME=URI")
    for written_name, uri in written:
        usual = written_name or default_name(uri)
        names.append(usual if written_name or not usual else distinct_name(usual, [*names, *given]))
    opened: list[Source] = []
    try:
        for name, (_, uri) in zip(names, written, strict=True):
            opened.append(open_source(uri, span=span, loop=loop, name=name))
        _check_sensors_differ(opened)
    except BaseException:
        for source in opened:
            source.close()
        raise
    return opened


def _check_sensors_differ(sources: Sequence[Source]) -> None:
    """Raise RequestError where two sources have a sensor of one name: recordings of one vehicle, say."""
    owners: dict[str, str] = {}
    for source in sources:
        for sensor in source.info.sensors:
            if sensor.name in owners:
                what = f"has a sensor {sensor.name!r}, and so has {owners[sensor.name]}"
                raise RequestError(source.info.uri, what, "give each a name of its own: NAME=PATH")
            owners[sensor.name] = source.info.uri


def check_uri(uri: str, *, span: Span | None = None, loop: int = 1) -> None:
    """Raise RequestError where a URI can be no source, whatever there is in the world; opens nothing."""
    scheme, rest = split_scheme(uri)
    if scheme in CAMERAS:
        _imported(CAMERAS[scheme][0])(uri)
        if loop != 1:
            raise RequestError(shown(uri), "is live, and cannot be looped", "loop a recording of it")
        if span not in (None, Span()):
            raise RequestError(
                shown(uri), "is live, and has no span", "give a recording, or neither start nor duration"
            )
    elif scheme in _LATER_SCHEMES:
        remedy = "record it, and give the recording"
        raise RequestError(shown(uri), f"cameras by {scheme}:// come in a later version", remedy)
    elif scheme not in ("file", "demo") and rest.startswith("//") and scheme:
        what = f"{scheme}:// is not known"
        raise RequestError(shown(uri), what, "give a path to a video, an image or a folder of images")


def recorded_name(uri: str) -> tuple[str, str]:
    """Name and URI under which a drive's sensors have the names that the drive gives them, unless NAME= is written."""
    written, rest = split_name(uri)
    if written is not None:
        return written, rest
    path = Path(unquote(split_scheme(uri)[1].removeprefix("//")) if split_scheme(uri)[0] == "file" else uri)
    reader = _folder_reader(path) if path.is_dir() else READERS_BY_SUFFIX.get(path.suffix.lower())
    if reader in WITH_CLOCKS:
        return "", uri
    return default_name(uri), uri


def default_name(uri: str) -> str:
    """The sensor's name where none is written: the stem of a file, or the name of a folder, a clip, a camera's host.

    Nothing for a drive that names its sensors itself.
    """
    scheme, rest = split_scheme(uri)
    if scheme in CAMERAS:
        where = split_scheme(shown(uri))[1].removeprefix("//").partition("?")[0]
        # Of a network camera the host without its port; of a device its file's name, or port and number.
        usual = {"v4l2": where.rpartition("/")[2], "csi": f"csi{where}"}
        return safe_name(usual.get(scheme) or re.sub(r":\d+$", "", where.split("/")[0]))
    path = Path(rest)
    if path.suffix.lower() in NAMED_INSIDE:
        return ""
    is_folder = os.path.isdir(path)  # noqa: PTH112  Path.is_dir raises on text too long for a path
    return safe_name(path.resolve().name if is_folder else path.stem)


def _open_once(uri: str, name: str, span: Span, clocks: Mapping[str, ClockPolicy] | None, in_nv12: bool) -> Source:
    scheme, rest = split_scheme(uri)
    if scheme == "demo":
        from sensors.drives.demo import open_demo

        return open_demo(rest, name, span)
    if scheme in CAMERAS:
        camera: Source = _imported(CAMERAS[scheme][1])(uri, name, in_nv12=in_nv12)
        return camera
    if scheme == "file":
        return _open_path(Path(unquote(rest.removeprefix("//"))), name, span, clocks)
    return _open_path(Path(uri), name, span, clocks)


def _open_path(path: Path, name: str, span: Span, clocks: Mapping[str, ClockPolicy] | None) -> Source:
    try:
        is_folder, is_file, is_there = path.is_dir(), path.is_file(), path.exists()
    except OSError as error:
        raise RequestError(str(path), f"cannot be looked at: {error.strerror}", "check the path") from error
    if is_folder:
        return _opened(_folder_reader(path), path, name, span, clocks)
    if not is_there:
        raise SourceNotFoundError(str(path), "does not exist", _near_spelling(path))
    if not is_file:
        raise RequestError(str(path), "is neither a file nor a folder", "give a recording")
    reader = READERS_BY_SUFFIX.get(path.suffix.lower())
    if reader is None:
        what = f"files with the ending {path.suffix!r} are not read"
        raise RequestError(str(path), what, f"use one of {' '.join(sorted(READERS_BY_SUFFIX))}")
    return _opened(reader, path, name, span, clocks)


def _opened(place: str, path: Path, name: str, span: Span, clocks: Mapping[str, ClockPolicy] | None) -> Source:
    reader: Any = _imported(place)
    if place in WITH_CLOCKS:
        drive: Source = reader(path, name, span, clocks)
        return drive
    source: Source = reader(path, name, span)
    return ReclockedSource(source, clocks) if clocks else source


def _folder_reader(path: Path) -> str:
    return next((reader for is_one, reader in FOLDERS.items() if _imported(is_one)(path)), _IMAGES)


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def _near_spelling(path: Path) -> str:
    try:
        siblings = [sibling.name for sibling in path.parent.iterdir()]
    except OSError as error:
        return f"its folder {path.parent} cannot be read either ({error.strerror}): check the path"
    near = get_close_matches(path.name, siblings, n=1)
    return f"did you mean {path.parent / near[0]}?" if near else "check the path"
