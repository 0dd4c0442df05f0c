"""`perception engine export`: a bundle of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception.commands.arguments import parse_size
from perception.commands.engine.training import require_training


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="checkpoint.pt of a training.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the new bundle.")],
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Of the input; default: what it is trained at.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle of that name.")] = False,
) -> None:
    """Make a bundle of a training's checkpoint, finished or not: of its averaged weights."""
    require_training()
    from engines.training.trainer import export_checkpoint

    bundle = export_checkpoint(checkpoint, output, parse_size(size), replace_existing=force)
    print(f"{output}: {', '.join(bundle.labels)}")
