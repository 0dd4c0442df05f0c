"""One library, looked at in a process of its own: what crashes or hangs there is an answer here.

Run as `python -c TEXT NAME` with this file's text. Prints one line of JSON: null where the package is not installed,
else what `facts.Module` (or, for the name `cuda`, `facts.CudaDriver`) holds.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path[:] = [place for place in sys.path if place]  # not what happens to lie in the current folder, json.py say

import ctypes
import importlib
import json
import re
from importlib.metadata import distributions, version
from importlib.util import find_spec
from itertools import count
from typing import Any

IMPORTED = {"pycuda": "pycuda.driver"}  # the part that needs the driver
DISTRIBUTIONS = {"pycuda": "pycuda"}  # which do not tell their version themselves
CODECS = ("h264", "hevc", "mjpeg")


def look_at(name: str) -> dict[str, Any] | None:
    """Import a package and ask it."""
    import engines  # noqa: F401  before ONNX Runtime and OpenVINO: they report to nobody then

    if find_spec(name) is None:
        return None
    try:
        module = importlib.import_module(IMPORTED.get(name, name))
        told = version(DISTRIBUTIONS[name]) if name in DISTRIBUTIONS else str(module.__version__)
        return {"version": told, "details": details(name, module)}
    except BaseException as error:
        return {"failure": f"{type(error).__name__}: {error}"}


def details(name: str, module: Any) -> dict[str, Any]:
    """What `facts.Module` says of each package."""
    if name == "pycuda":
        return {"cuda": ".".join(map(str, module.get_version()[:2]))}
    if name == "openvino":
        return {"onnx": find_spec("onnx") is not None}
    if name in ("tensorrt", "tensorrt_rtx"):
        wheel = re.compile(rf"{name}[-_.]cu(\d+)", re.IGNORECASE)
        found = {match[1] for one in distributions() if (match := wheel.match(one.metadata["Name"] or ""))}
        return {"cuda": max(found, key=int)} if found else {}
    if name == "av":
        from sensors.cameras.hardware import proven

        return {"decoders": codecs(module, "r"), "encoders": codecs(module, "w"), "hardware": proven()}
    return {}


def codecs(av: Any, mode: str) -> list[str]:
    """Which of `CODECS` this FFmpeg reads or writes."""
    there = []
    for name in CODECS:
        try:
            av.codec.Codec(name, mode)
        except Exception:  # its class differs between versions of PyAV
            continue
        there.append(name)
    return there


def look_at_cuda() -> dict[str, Any]:
    """Start the CUDA driver, and name its devices."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {"code": None, "gpus": []}
    from engines.gpu import find_gpu

    code = driver.cuInit(0)
    gpus: list[dict[str, Any]] = []
    for index in count():
        if code or (gpu := find_gpu(index)) is None:
            return {"code": code, "gpus": gpus}
        gpus.append(gpu.facts())
    raise AssertionError


if __name__ == "__main__":
    name = sys.argv[1]
    print(json.dumps(look_at_cuda() if name == "cuda" else look_at(name)))
