"""`perception drive`: recorded drives looked at, converted, cut and made whole. One file a verb."""

from __future__ import annotations

import typer

from perception.commands.drive.recover import recover

app = typer.Typer(help="Recorded drives: info, convert, cut, view, recover.", no_args_is_help=True)


@app.callback()
def _drive() -> None:
    """A verb of its own, also while there is only one."""


app.command(no_args_is_help=True)(recover)
