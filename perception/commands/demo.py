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
SCORE = 0.2  # smallest: the network that comes along is careful (its CARD.md)
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
    from engines.results import Thresholds
    from perception.commands.signals import INTERRUPTED, EndedEarly, Signals
    from perception.replay import Replay, ReplayRequest
    from perception.summary import in_words

    bundle = load_bundle(default_bundle())
    seen = EachSecond(bundle.labels)
    request = ReplayRequest(
        sources=[CLIP], models=[str(bundle.folder)], thresholds=Thresholds(score=SCORE), render=output
    )
    try:
        with Signals() as caught, Replay(request, observers=[seen]) as run:
            caught.then(run.stop)
            print(f"{CLIP} through {bundle.name} ({', '.join(bundle.labels)}) on {run.networks[0].engine.name}")
            run.run()
            seen.print_second()
            figures = in_words(run.summary())
    except EndedEarly as ended:
        raise typer.Exit(ended.exit_code) from None
    print("\n".join([seen.in_sum(), *figures, f"wrote {output}; open it to see what was found"]))
    print("Next, with a drive of yours:  perception replay drive.mp4 --render seen.mp4")
    if caught.interrupted:
        raise typer.Exit(INTERRUPTED)


class EachSecond:
    """An observer that prints, for each second of the drive, what was in view in it: ids, classes, best scores."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._second = 0
        self._in_view: dict[str, float] = {}  # of this second: what, and its best score
        self._tracks: dict[int, tuple[str, int, int]] = {}  # id: class, first and last stamp

    def __call__(self, result: Result) -> None:
        """Look at a result; where it begins a new second, print the one before."""
        from engines.results import Detections

        stamp_ns = result.entry.stamp_ns
        while stamp_ns >= (self._second + 1) * 1_000_000_000:
            self.print_second()
        for found in result.detections:
            if not isinstance(found, Detections):
                continue
            for track, index, score in zip(found.track_ids, found.classes, found.scores, strict=True):
                name = self._labels[index]
                if track:
                    _, since_ns, _ = self._tracks.get(int(track), (name, stamp_ns, stamp_ns))
                    self._tracks[int(track)] = (name, since_ns, stamp_ns)
                what = f"{name} #{track}" if track else name
                self._in_view[what] = max(float(score), self._in_view.get(what, 0.0))

    def print_second(self) -> None:
        """Print the second that ends here, the surest first."""
        surest = sorted(self._in_view.items(), key=lambda item: -item[1])
        words = ", ".join(f"{what} {score:.2f}" for what, score in surest) or "nothing"
        print(f"{self._second:4d} s  {words}", flush=True)
        self._second += 1
        self._in_view.clear()

    def in_sum(self) -> str:
        """What was followed for a while, by class, in words."""
        lasted = Counter(
            name for name, since_ns, until_ns in self._tracks.values() if until_ns - since_ns >= LASTED_S * 1e9
        )
        found = ", ".join(f"{name} {count}" for name, count in lasted.most_common()) or "nothing"
        return f"followed for a second or more: {found}"
