"""Where the installed command begins: Ctrl-C ends it quietly while its code is still being loaded, some 0.1 s.

Imports nothing of ours at the top, or that would be loaded before Ctrl-C is looked after.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Load the command line and run it."""
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else ignored, as in a shell's background
    if is_heard:
        # At once: an exception would be a traceback, and what is being imported may turn it into another one.
        signal.signal(signal.SIGINT, lambda number, _frame: os._exit(128 + number))
    from perception.commands.app import main as run

    if is_heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
