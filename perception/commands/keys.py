"""`perception keys`: who may read a stream that leaves this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Keys of streams: who may read one that leaves this machine.")


@app.callback()
def _keys() -> None:
    """A verb of its own, also while there is only one."""


@app.command(no_args_is_help=True)
def new(
    name: Annotated[str, typer.Argument(help="Whose keys: a vehicle, or a reader.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Where to make the folder NAME.")] = Path(),
) -> None:
    """Make a pair of keys, in a folder of its own, for either end of a stream.

    The publisher's NAME.key goes to each reader, for --server-key; each reader's NAME.key goes into the readers/ of the
    publisher's folder. The .key_secret files stay where they are.
    """
    from perception.stream.keys import new_keys

    folder = new_keys(name, out)
    print(f"wrote {folder}: hand over {folder / name}.key, keep the .key_secret; use with --keys {folder}")
