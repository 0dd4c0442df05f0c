"""CURVE keys: who may read a stream, and how a reader knows that it is the right one.

Both ends have a folder of the same shape, made by `perception keys new NAME`:

    NAME/NAME.key_secret    the pair, never handed over, mode 0600
    NAME/NAME.key           the public key, to hand over
    NAME/readers/*.key      on the publishing side: the readers' public keys, who may read

The files are ZeroMQ certificates, as pyzmq's `zmq.auth` and CZMQ read them. A pair is 32 bytes each, written as Z85.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth import load_certificate
from zmq.utils import z85

from perception.errors import UsageError

READERS = "readers"
PUBLIC_SUFFIX, SECRET_SUFFIX = ".key", ".key_secret"
KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One end's keys, in Z85."""

    public: bytes
    secret: bytes = field(repr=False)


def new_keys(name: str, parent: Path) -> Path:
    """Make the folder `parent`/`name` with a new pair and an empty list of readers; returns it.

    Raises `UsageError` where it exists (keys are never overwritten) or cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"name {name!r}", "is no name for keys", "use letters, digits, - and _")
    folder = parent / name
    if os.path.lexists(folder):
        raise UsageError(str(folder), "exists already, and keys are never overwritten", "choose another name or place")
    public, secret = zmq.curve_keypair()
    draft: Path | None = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=parent))  # for its owner alone
        (draft / READERS).mkdir()
        _write(draft / f"{name}{PUBLIC_SUFFIX}", 0o644, public)
        _write(draft / f"{name}{SECRET_SUFFIX}", 0o600, public, secret)
        draft.rename(folder)
    except OSError as error:
        raise UsageError(str(folder), f"cannot be written ({error.strerror})", "choose another place") from None
    finally:
        if draft and draft.exists():
            shutil.rmtree(draft)
    return folder


def load_pair(folder: Path) -> KeyPair:
    """Read an end's own keys. Raises `UsageError` where there are none, or others can read them."""
    try:
        files = sorted(folder.glob(f"*{SECRET_SUFFIX}")) if folder.is_dir() else None
    except OSError as error:
        raise UsageError(str(folder), f"cannot be read ({error.strerror})", "check who owns it") from None
    make = "make one with `perception keys new NAME`"
    if files is None:
        raise UsageError(str(folder), "is no folder of keys", make)
    if len(files) != 1:
        what = "more than one secret key" if files else "no secret key (*.key_secret)"
        raise UsageError(str(folder), f"holds {what}", "keep one" if files else make)
    path = files[0]
    public, secret = _read(path)
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(str(path), f"can be read by others (mode {mode & 0o777:04o})", f"run `chmod 600 {path}`")
    if secret is None:
        raise UsageError(str(path), "holds no secret key", make)
    if zmq.curve_public(secret) != public:
        raise UsageError(str(path), "its public key does not belong to its secret key", make)
    return KeyPair(public, secret)


def load_public(path: Path) -> bytes:
    """Read a public key that was handed over, in Z85. Raises `UsageError` on what is none."""
    public, secret = _read(path)
    if secret is not None:
        raise UsageError(str(path), "holds a secret key, which is never handed over", "give the NAME.key beside it")
    return public


class ReaderList:
    """The public keys under `readers/`, read again whenever a file there has changed. One thread's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / READERS
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._allowed: frozenset[bytes] = frozenset()
        self.problems: tuple[str, ...] = ()  # files that are no public keys, in words

    def __contains__(self, public: bytes) -> bool:
        return public in self.allowed()

    def allowed(self) -> frozenset[bytes]:
        """The keys that may read now, in Z85. A file that is none allows nobody; so does a missing folder."""
        try:
            with os.scandir(self._folder) as entries:
                files = [entry for entry in entries if entry.name.endswith(PUBLIC_SUFFIX)]
                seen = tuple(sorted((e.name, e.stat().st_mtime_ns, e.stat().st_size) for e in files))
        except OSError as error:
            self._seen, self._allowed = None, frozenset()
            self.problems = (f"{self._folder}: cannot be read ({error.strerror})",)
            return self._allowed
        if seen != self._seen:
            keys, problems = set(), []
            for name, _, _ in seen:
                try:
                    keys.add(load_public(self._folder / name))
                except UsageError as error:
                    problems.append(str(error))
            self._seen, self._allowed, self.problems = seen, frozenset(keys), tuple(problems)
        return self._allowed


def _write(path: Path, mode: int, public: bytes, secret: bytes | None = None) -> None:
    kind = "SECRET: never hand this file over" if secret else "public: hand this file over"
    text = f'# CURVE certificate, {kind}\n\nmetadata\ncurve\n    public-key = "{public.decode()}"\n'
    if secret:
        text += f'    secret-key = "{secret.decode()}"\n'
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        os.fsync(file.fileno())


def _read(path: Path) -> tuple[bytes, bytes | None]:
    """The keys in one file, checked to be keys."""
    try:
        if not path.is_file():  # a pipe would block
            raise UsageError(str(path), "is no file", "give the path of a NAME.key")
        public, secret = load_certificate(path)
        for key in (public, secret):
            if key is not None and (len(key) != KEY_BYTES * 5 // 4 or z85.encode(z85.decode(key)) != key):
                raise ValueError
    except OSError as error:
        raise UsageError(str(path), f"cannot be read ({error.strerror})", "check its path and owner") from None
    except UsageError:
        raise
    except Exception:  # whatever the parser and Z85 make of foreign bytes
        raise UsageError(str(path), "is no file of CURVE keys", "make one with `perception keys new NAME`") from None
    return public, secret
