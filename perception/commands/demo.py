"""`perception demo`: real street footage through the network that comes along; needs no network and no data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perception.pipeline import Result

CLIP = "demo:bikes"
LASTED_S = 1.0  # an id that was there so long is told of at the end


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.mp4", help="Where the drive goes, with what was found.")
    ] = Path("demo.mp4"),
) -> None:
    """Show what this does: replay real street footage, print what is found each second, and write it as a video.

    The network is the one that comes along; the footage comes with `pip install 'edge-perception[demo]'`.
    """
    from engines import default_bundle
    from engines.bundle import load_bundle
    from perception.commands.signals import INTERRUPTED, EndedEarly, Signals
    from perception.replay import Replay, ReplayRequest
    from perception.summary import in_words

    bundle = load_bundle(default_bundle())
    seen = EachSecond(bundle.labels)
    request = ReplayRequest(sources=[CLIP], models=[str(bundle.folder)], render=output)
    try:
        with Signals() as caught, Replay(request, observers=[seen]) as run:
            caught.then(run.stop)
            print(f"{CLIP} through {bundle.name} ({', '.join(bundle.labels)}) on {run.networks[0].engine.name}")
            run.run()
            figures = in_words(run.summary())
    except EndedEarly as ended:
        raise typer.Exit(ended.exit_code) from None
    print("\n".join([seen.in_sum(), *figures, f"wrote {output}; open it to see what was found"]))
    print("Next, with a drive of yours:  perception replay drive.mp4 --render seen.mp4")
    if caught.interrupted:
        raise typer.Exit(INTERRUPTED)


class EachSecond:
    """An observer that prints, once for each second of the drive, what is in view: ids, classes, scores."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._next_s = 0
        self._tracks: dict[int, tuple[str, int, int]] = {}  # id: class, first and last stamp

    def __call__(self, result: Result) -> None:
        """Look at a result, and print it where it begins a new second."""
        from engines.results import Detections

        in_view: list[str] = []
        for found in result.detections:
            if not isinstance(found, Detections):
                continue
            for track, index, score in zip(found.track_ids, found.classes, found.scores, strict=True):
                name, stamp_ns = self._labels[index], result.entry.stamp_ns
                if track:
                    _, since_ns, _ = self._tracks.get(int(track), (name, stamp_ns, stamp_ns))
                    self._tracks[int(track)] = (name, since_ns, stamp_ns)
                in_view.append(f"{name} #{track} {score:.2f}" if track else f"{name} {score:.2f}")
        if result.entry.stamp_ns >= self._next_s * 1e9:
            print(f"{self._next_s:4d} s  {', '.join(in_view) or 'nothing'}", flush=True)
            self._next_s = int(result.entry.stamp_ns // 1_000_000_000) + 1

    def in_sum(self) -> str:
        """What was followed for a while, by class, in words."""
        lasted = Counter(
            name for name, since_ns, until_ns in self._tracks.values() if until_ns - since_ns >= LASTED_S * 1e9
        )
        found = ", ".join(f"{name} {count}" for name, count in lasted.most_common()) or "nothing"
        return f"followed for a second or more: {found}"
