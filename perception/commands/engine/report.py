"""`perception engine report`: the page of a training, made again."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perception.commands.engine.training import require_training

if TYPE_CHECKING:
    from engines.training.datasets import Mixture


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training, finished or not.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Default: what it was trained on, if that is still there.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="The part of the data to judge by; default: train's --validate.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the paths in a mixture.toml begin; default: its folder.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
) -> None:
    """Write RUN/report.html again: curves, accuracy, confusion, best and worst predictions, settings and data.

    It is one file that needs no network. Of a training that was killed its last checkpoint is judged.
    """
    require_training()
    from engines.errors import DatasetError
    from engines.training import checkpoint
    from engines.training.datasets import open_mixture
    from engines.training.report import write_report
    from engines.training.request import Request, read_request
    from engines.training.tasks import task_of
    from engines.training.trainer import export_checkpoint

    labels = task_of(checkpoint.load(run / checkpoint.CHECKPOINT)["recipe"]["network"]).labels
    noted = read_request(run)
    given = data is not None
    if data is not None:
        request: Request | None = Request.of(data, root, noted.split if noted else "train", split)
    else:
        request = noted

    def opened(name: str | None) -> Mixture | None:
        """A part of the data; None of data that was noted and is not there any more."""
        if request is None or name is None or not (given or Path(request.data).exists()):
            return None
        return open_mixture(
            Path(request.data), name, root=None if request.root is None else Path(request.root), labels=labels
        )

    with tempfile.TemporaryDirectory() as place:
        bundle = export_checkpoint(run / checkpoint.CHECKPOINT, Path(place) / "bundle")
        judged_on = split or (request.validate if request else None)
        learnt_from = None
        with suppress(DatasetError) if given else nullcontext():  # what is given may be there to judge by alone
            learnt_from = opened(request.split) if request and noted else None
        file = write_report(run, bundle, opened(judged_on), learnt_from, threads=threads)
    print(f"wrote {file}")
