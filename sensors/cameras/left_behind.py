"""Threads that are still in FFmpeg, waiting for a camera that nobody waits for any more."""

from __future__ import annotations

import threading
import weakref

_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def may_be_left_behind(thread: threading.Thread) -> None:
    """Remember it as one that a program may leave behind when it ends."""
    _threads.add(thread)


def is_any_left_behind() -> bool:
    """Whether a program that ends now must do so by `os._exit`.

    While it connects, FFmpeg asks PyAV every 0.1 s whether to go on, which takes Python's lock: a segmentation fault
    once the interpreter is torn down and the process is not yet gone.
    """
    return any(thread.is_alive() for thread in _threads)
