"""`perception view`: a stream as a page in the browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_PORT = 8550


def view(
    endpoint: Annotated[str, typer.Argument(help="The publisher's address, for example tcp://127.0.0.1:5555")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The page's port on this machine; 0 takes a free one")
    ] = DEFAULT_PORT,
    keys: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="This reader's own keys, made by `perception keys new`")
    ] = None,
    server_key: Annotated[
        Path | None, typer.Option(metavar="NAME.key", help="The publisher's public key; goes with --keys")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Read from the network without keys")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser; only say where the page is")] = False,
) -> None:
    """Show a stream in the browser: pictures with boxes, rates, latencies, and what was dropped, failed or lost.

    The page is served to this machine alone. It waits for a publisher that is not there, or starts again. Ends on
    Ctrl-C (130) or SIGTERM (0), or with 2 if the publisher does not let this reader in.
    """
    from perception.commands.signals import INTERRUPTED, EndedEarly, Signals
    from perception.view import Viewer

    try:
        with (
            Signals() as caught,
            Viewer(endpoint, port=port, keys=keys, server_key=server_key, insecure=insecure) as viewer,
        ):
            caught.then(viewer.stop)
            print(f"the page is at {viewer.url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
            if not no_open:
                _open(viewer.url)
            viewer.run()
    except EndedEarly as ended:
        raise typer.Exit(ended.exit_code) from None
    if caught.interrupted:
        raise typer.Exit(INTERRUPTED)


def _open(url: str) -> None:
    """Open a browser where there is a desktop; without one, Python would start one in this very terminal."""
    import os
    import webbrowser

    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin":
        webbrowser.open(url)
