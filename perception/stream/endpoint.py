"""Which addresses a stream may have: this machine's own, or any with keys (or where asked for without)."""

from __future__ import annotations

import ipaddress
import re
import socket
import stat
from pathlib import Path

from perception.errors import UsageError

EXAMPLES = "use tcp://127.0.0.1:5555 or ipc:///run/perception.sock"
MAX_IPC_PATH_BYTES = 107  # sockaddr_un.sun_path on Linux, less its closing zero
_TCP = re.compile(r"tcp://(?P<host>\[[^\]]*\]|[^:/]*):(?P<port>\*|\d{1,5})")


def published(endpoint: str, *, anywhere: bool = False) -> str:
    """Check an endpoint to publish on and return it as ZeroMQ binds it; port 0 or `*` asks for a free one.

    `anywhere`: the stream has keys, or needs none by request, and may leave this machine.
    """
    if endpoint.startswith("ipc://"):
        _check_ipc_is_free(endpoint, _ipc_path(endpoint))
        return endpoint
    host, port = _tcp(endpoint, anywhere)
    return f"tcp://{host}:{'*' if port in ('*', '0') else port}"


def check_published(endpoint: str, *, anywhere: bool = False) -> None:
    """Raise `UsageError` where an endpoint could never be published on, whoever has it just now."""
    if endpoint.startswith("ipc://"):
        _ipc_path(endpoint)
    else:
        _tcp(endpoint, anywhere)


def subscribed(endpoint: str, *, anywhere: bool = False) -> str:
    """Check an endpoint to read from and return it as ZeroMQ connects to it. `anywhere` as in `published`."""
    if endpoint.startswith("ipc://"):
        _ipc_path(endpoint)
        return endpoint
    host, port = _tcp(endpoint, anywhere)
    if host in ("", "*"):
        raise UsageError(endpoint, "a reader has to know the host", "give the publisher's address")
    if port in ("*", "0"):
        raise UsageError(endpoint, "a reader has to know the port", "use the one that the publisher printed")
    return f"tcp://{host}:{port}"


def is_ipv6(endpoint: str) -> bool:
    """Whether ZeroMQ has to be told that IPv6 is meant."""
    return endpoint.startswith("tcp://[")


def _tcp(endpoint: str, anywhere: bool) -> tuple[str, str]:
    match = _TCP.fullmatch(endpoint)
    if match is None:
        raise UsageError(endpoint, "is no endpoint of the form tcp://HOST:PORT or ipc://PATH", EXAMPLES)
    host, port = match["host"], match["port"]
    if port != "*" and int(port) > 65535:
        raise UsageError(endpoint, f"there is no port {port}", "ports go up to 65535")
    if host == "localhost":  # ZeroMQ would look for a network interface of this name
        host = "127.0.0.1"
    try:
        is_local = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        is_local = False
    if not is_local and not anywhere:
        raise UsageError(
            endpoint,
            "is open to the network, and a network stream needs keys",
            "make them with `perception keys new NAME` and give --keys FOLDER (a reader: --server-key too; a vehicle's "
            "file: keys); or --insecure lets anybody read",
        )
    return host, port


def _ipc_path(endpoint: str) -> Path:
    path = endpoint.removeprefix("ipc://")
    if path in ("", "*"):
        raise UsageError(endpoint, "names no path", EXAMPLES)
    if len(path.encode()) > MAX_IPC_PATH_BYTES:
        raise UsageError(endpoint, f"the path is longer than {MAX_IPC_PATH_BYTES} bytes", "choose a shorter one")
    return Path(path)


def _check_ipc_is_free(endpoint: str, path: Path) -> None:
    """Refuse what ZeroMQ would delete: it removes whatever lies at the path, a file or a live socket."""
    if not path.parent.is_dir():
        raise UsageError(endpoint, f"the folder {path.parent} does not exist", "create it, or choose another path")
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise UsageError(endpoint, "there is a file that is no socket", "choose another path, or remove the file")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # left behind by a publisher that was killed; ZeroMQ replaces it
        except OSError as error:
            raise UsageError(endpoint, f"cannot be used ({error.strerror})", "choose another path") from error
    raise UsageError(endpoint, "a publisher is there already", "stop it, or choose another path")
