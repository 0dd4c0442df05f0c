"""`perception drive`: recorded drives looked at, converted, cut, mined and made whole. One file a verb."""

from __future__ import annotations

import typer

from perception.commands.drive.batch import batch
from perception.commands.drive.convert import convert, cut
from perception.commands.drive.info import info
from perception.commands.drive.mine import mine
from perception.commands.drive.recover import recover
from perception.commands.drive.view import view

app = typer.Typer(help="Recorded drives: info, convert, cut, view, mine, recover, batch.", no_args_is_help=True)


for verb in (info, convert, cut, view, mine, recover, batch):
    app.command(no_args_is_help=True)(verb)
