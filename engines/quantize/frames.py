"""Pictures of recorded drives: some to calibrate on, and others to judge by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import DatasetError
from engines.letterbox import Geometry, geometry
from sensors.frame import Fault, Frame
from sensors.source import Source
from sensors.yuv import bgr

FEWEST = 8  # to calibrate on, and to judge by; fewer say little about either
_STRETCHES = 8  # of a drive, every other one for judging: neighbouring frames hardly differ


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame, scaled already to its place in the network's input: (height, width, 3) BGR of the place's size."""

    pixels: NDArray[np.uint8]
    place: Geometry


@dataclass(frozen=True, slots=True)
class Pictures:
    """Frames of some drives, in two halves that share none."""

    sources: tuple[str, ...]
    calibrating: tuple[Picture, ...]
    judging: tuple[Picture, ...]

    @property
    def sha256(self) -> str:
        """Of the pixels that were calibrated on, in their order."""
        digest = hashlib.sha256()
        for picture in self.calibrating:
            digest.update(repr(picture.pixels.shape).encode())
            digest.update(picture.pixels.tobytes())
        return digest.hexdigest()


def take_pictures(
    bundle: Bundle, sources: Sequence[Source], count: int, say: Callable[[str], None] = lambda _line: None
) -> Pictures:
    """Take up to `count` frames for each half, evenly over the drives. Raises `DatasetError` where there are too few.

    A drive is cut into eight stretches, which go to the halves in turns; the next drive begins in the other half.
    """
    halves: tuple[list[Picture], list[Picture]] = ([], [])
    share = -(-2 * count // len(sources))
    for number, source in enumerate(sources):
        taken = _spread(bundle, source, share, say)
        stretch = max(1, -(-len(taken) // _STRETCHES))
        for index, picture in enumerate(taken):
            halves[(number + index // stretch) % 2].append(picture)
    uris = tuple(source.info.uri for source in sources)
    if min(map(len, halves)) < FEWEST:
        raise DatasetError(
            ", ".join(uris),
            f"gives {len(halves[0])} frames to calibrate on and {len(halves[1])} to judge by, and {FEWEST} are needed",
            "give a longer drive, or --frames once more",
        )
    return Pictures(uris, *(tuple(_evenly(half, count)) for half in halves))


def _spread(bundle: Bundle, source: Source, count: int, say: Callable[[str], None]) -> list[Picture]:
    """Take `count` frames, spread evenly over a source whose length nobody knows; all where it has fewer."""
    if source.info.live:
        raise DatasetError(source.info.uri, "is live", "record a drive, and give the recording")
    taken: list[Picture] = []  # every so-manieth frame, never more than twice what is wanted
    every = 1
    frames = faults = 0
    for item in source:
        if not isinstance(item, Frame):
            faults += isinstance(item, Fault)
            continue
        if frames % every == 0:
            if len(taken) == 2 * count:
                taken = taken[::2]
                every *= 2
            if frames % every == 0:
                taken.append(_picture(bundle, item))
        frames += 1
        item.release()
    if faults:
        say(f"{source.info.uri}: {faults} damaged frames were passed over")
    return _evenly(taken, count)


def _evenly(taken: list[Picture], count: int) -> list[Picture]:
    """Give at most `count` of them, the first and the last among them."""
    chosen = np.linspace(0, len(taken) - 1, min(count, len(taken))).round().astype(int)
    return [taken[index] for index in chosen]


def _picture(bundle: Bundle, frame: Frame) -> Picture:
    image = bgr(frame)
    size = bundle.settings.input
    place = geometry(bundle.settings.fit, frame.width, frame.height, size.width, size.height)
    scaled = cv2.resize(image, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
    return Picture(np.asarray(scaled, np.uint8), place)
