"""The real Python bindings of a TensorRT version, importable without its libraries.

The bindings link to libnvinfer and others, and want a handful of factory functions of them. Empty libraries of the
same names, whose functions all give a null pointer, are enough to see every class, method and enum of that version.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

# version -> distribution, the lowest 8.x, the 10.x of JetPack 6 and 7 and their neighbours, 11.x
VERSIONS = {
    "8.6.1": "tensorrt-bindings",
    "10.0.1": "tensorrt-cu12-bindings",
    "10.3.0": "tensorrt-cu12-bindings",
    "10.13.3.9": "tensorrt-cu12-bindings",
    "10.16.1.11": "tensorrt-cu12-bindings",
    "11.0.0.114": "tensorrt-cu13-bindings",
    "11.4.0.106": "tensorrt-cu13-bindings",
}
_NEEDED = re.compile(r"\[(libnv\w+\.so[.\d]*)\]")
_FROM_ELSEWHERE = re.compile(r"^(_?Py|_ITM_|__|_ZGT|dl(open|close|sym|error)|pthread_)")


def fetch(version: str, folder: Path) -> Path | None:
    """Download the bindings' wheel; None where it cannot be had (no network, no wheel for this Python)."""
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    run = subprocess.run([*words, f"{VERSIONS[version]}=={version}"], capture_output=True, check=False, timeout=120)
    return next(folder.glob("*.whl"), None) if run.returncode == 0 else None


def unpack(wheel: Path, folder: Path) -> None:
    """Make `import tensorrt` work with `folder` on the path."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (extension,) = folder.glob("tensorrt*/tensorrt*.so")
    wanted = _output("readelf", "-d", str(extension))
    undefined = [line.split()[-1] for line in _output("nm", "-D", "--undefined-only", str(extension)).splitlines()]
    functions = sorted({name for name in undefined if "@" not in name and not _FROM_ELSEWHERE.match(name)})
    libraries = folder / "tensorrt_libs"
    libraries.mkdir()
    source = libraries / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in functions))
    for name in _NEEDED.findall(wanted):
        place = str(libraries / name)
        _output("gcc", "-shared", "-fPIC", "-w", "-o", place, f"-Wl,-soname,{name}", str(source))
    (libraries / "__init__.py").write_text(
        "import ctypes, pathlib\n"
        "for _ in sorted(pathlib.Path(__file__).parent.glob('*.so*')): ctypes.CDLL(str(_), ctypes.RTLD_GLOBAL)\n"
    )
    package = extension.parent.name
    if package != "tensorrt":
        (folder / "tensorrt").mkdir(exist_ok=True)
        (folder / "tensorrt" / "__init__.py").write_text(
            f"import tensorrt_libs\nfrom {package} import *\nfrom {package} import __version__\n"
        )


def _output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
