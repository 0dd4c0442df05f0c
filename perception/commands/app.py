"""The one command, `perception`: its verbs, and how an error reaches a person."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from perception.commands.dataset import app as dataset_app
from perception.commands.demo import demo
from perception.commands.doctor import doctor
from perception.commands.drive import app as drive_app
from perception.commands.engine import app as engine_app
from perception.commands.gate import gate
from perception.commands.keys import app as keys_app
from perception.commands.record import record
from perception.commands.replay import replay
from perception.commands.run import run
from perception.commands.signals import INTERRUPTED, cleaned_up
from perception.commands.subscribe import subscribe
from perception.commands.view import view
from sensors.cameras.left_behind import is_any_left_behind
from sensors.errors import EXIT_BROKE, EdgePerceptionError

app = typer.Typer(
    name="perception",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command(no_args_is_help=True)(replay)
app.command(no_args_is_help=True)(run)
app.command(no_args_is_help=True)(record)
app.command(no_args_is_help=True)(gate)
app.command(no_args_is_help=True)(subscribe)
app.command(no_args_is_help=True)(view)
app.command()(doctor)
app.add_typer(dataset_app, name="dataset")
app.add_typer(drive_app, name="drive")
app.add_typer(engine_app, name="engine")
app.add_typer(keys_app, name="keys")


def main() -> None:
    """Run the command line. What a person can mend is said in one line, without a traceback."""
    try:
        _run()
    except SystemExit as ended:
        if is_any_left_behind():
            sys.stderr.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 0)
        raise


def _run() -> None:
    try:
        try:
            with cleaned_up():
                app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:  # before or after `app`, which ends with the same
        sys.exit(INTERRUPTED)
    except EdgePerceptionError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a closed pipe: what was checked when it was opened can still break
        what = error.strerror or str(error)
        print(f"error: {error.filename or 'output'}: {what}; check the disk's space and who reads", file=sys.stderr)
        # What is still buffered cannot be written either; Python would try, and complain, on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKE)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("edge-perception"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Perception for vehicles: a drive goes in, a stream of detections comes out."""
