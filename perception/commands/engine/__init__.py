"""`perception engine`: networks trained, made into bundles, looked at, measured and built. One file a verb."""

from __future__ import annotations

import typer

from perception.commands.engine.bench import bench
from perception.commands.engine.build import build
from perception.commands.engine.calibrate import calibrate
from perception.commands.engine.evaluate import evaluate
from perception.commands.engine.export import export
from perception.commands.engine.import_ import import_
from perception.commands.engine.inspect import inspect
from perception.commands.engine.prune import prune
from perception.commands.engine.report import report
from perception.commands.engine.train import train
from perception.commands.engine.tune import tune

app = typer.Typer(
    help="Networks as bundles: import, inspect, bench, evaluate, calibrate, build, train, tune, prune, export, report.",
    no_args_is_help=True,
)
app.command("import", no_args_is_help=True)(import_)
app.command()(inspect)
app.command()(bench)
for verb in (evaluate, calibrate, build, train, tune, prune, export, report):
    app.command(no_args_is_help=True)(verb)
