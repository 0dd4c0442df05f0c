"""The one command, `perception`: its verbs, and how an error reaches a person."""

from __future__ import annotations

import sys

import typer

from perception.commands.engine import app as engine_app
from perception.commands.replay import replay
from perception.commands.subscribe import subscribe
from sensors.errors import EdgePerceptionError

app = typer.Typer(
    name="perception",
    help="Perception for vehicles: a drive goes in, a stream of detections comes out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(no_args_is_help=True)(replay)
app.command(no_args_is_help=True)(subscribe)
app.add_typer(engine_app, name="engine")


def main() -> None:
    """Run the command line. What a person can mend is said in one line, without a traceback."""
    try:
        app()
    except EdgePerceptionError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
