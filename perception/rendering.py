"""What a person sees drawn on a frame: masks, boxes, ids, classes and scores, and the video that shows them."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, TypeAlias

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engines.drawing import draw_box, draw_text
from engines.results import Classification, ClassMap, CropClasses, Detections, Found, SegmentationMap

Colour: TypeAlias = tuple[int, int, int]  # B, G, R


class BoxStyle(NamedTuple):
    """How one box is drawn."""

    colour: Colour
    is_dashed: bool = False


_GOLDEN_ANGLE = 0.618033988749895  # of a turn: neighbouring ids get hues far apart
# Of masks, B, G, R: apart from each other and from asphalt, sky and trees.
_MASK_COLOURS = (
    (60, 200, 60),
    (230, 50, 255),
    (255, 150, 30),
    (0, 215, 255),
    (255, 255, 60),
    (60, 60, 255),
    (200, 90, 140),
    (150, 220, 190),
)
_MASK_OPACITY = 0.3  # inside: what lies under it stays in sight
_EDGE_OPACITY = 0.85  # so thin things, which are nothing but edge, are strong
_NOT_DRAWN = ("background", "other", "unlabelled", "unlabeled", "void")  # classes that say: nothing of interest
_IMAGE_CLASS_COLOUR = (235, 235, 235)
_MIN_HEIGHT = 540  # rows: smaller frames are enlarged, or their labels could not be read
_MOST_SIDE = 8192  # pixels: neither enlarged nor written beyond it; H.264's largest level ends there


def colour_of(track_id: int) -> tuple[int, int, int]:
    """Give a colour (B, G, R) that stays with a track id; light grey for a box that belongs to no track."""
    if track_id == 0:
        return (210, 210, 210)
    red, green, blue = colorsys.hsv_to_rgb((track_id * _GOLDEN_ANGLE) % 1.0, 0.75, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def draw(
    image: NDArray[np.uint8],
    detections: Sequence[Found],
    labels: Sequence[Sequence[str]],
    caption: str = "",
    box_styles: Sequence[Sequence[BoxStyle]] | None = None,
) -> NDArray[np.uint8]:
    """Draw on a copy of a BGR image, enlarged by a whole factor where it is small; one `labels` a network.

    `box_styles`: of each network's boxes, in their order; else a box has the colour of its track. Masks lie under all
    boxes, with a legend of the classes that are seen (and of what the whole image is) in the upper left corner. Behind
    a box's own class stands what a network of a second stage says of it. On top is what has an id, the best last.
    """
    factor = max(1, min(-(-_MIN_HEIGHT // image.shape[0]), _MOST_SIDE // image.shape[1]))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    enlarged = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) if factor > 1 else image.copy()
    canvas = np.asarray(enlarged, np.uint8)
    text_pixels = max(11.0, canvas.shape[0] / 54)
    legend: list[tuple[str, tuple[int, int, int]]] = []
    colours = cycle(_MASK_COLOURS)
    crops: dict[tuple[int, int], str] = {}  # what a second network says of a box, by (network, place) of it
    for found, names in zip(detections, labels, strict=True):
        if isinstance(found, SegmentationMap):
            for of_group in found.maps:
                legend += _draw_mask(canvas, of_group, names, colours)
        elif isinstance(found, Classification):
            legend.append((f"{names[found.classes[0]]} {found.scores[0]:.2f}", _IMAGE_CLASS_COLOUR))
        elif isinstance(found, CropClasses):
            for place, class_, score in zip(found.rows, found.classes, found.scores, strict=True):
                key = found.network, int(place)
                crops[key] = f"{crops.get(key, '')} > {names[class_]} {score:.2f}"
    for row, (name, colour) in enumerate(legend, 1):
        draw_text(canvas, name, 0, round(row * 2 * text_pixels), colour, text_pixels)
    for network, (found, names) in enumerate(zip(detections, labels, strict=True)):
        if not isinstance(found, Detections):
            continue
        for index in _drawing_order(found):
            track, class_ = int(found.track_ids[index]), int(found.classes[index])
            name = f"#{track} {names[class_]}" if track else names[class_]
            text = f"{name} {found.scores[index]:.2f}{crops.get((network, index), '')}"
            style = box_styles[network][index] if box_styles else BoxStyle(colour_of(track))
            box = found.boxes_xyxy[index] * factor
            draw_box(canvas, box, text, style.colour, text_pixels, is_dashed=style.is_dashed)
    if caption:
        draw_text(canvas, caption, 0, canvas.shape[0], (40, 40, 40), text_pixels)
    return canvas


def drawn_classes(names: Sequence[str]) -> list[int]:
    """Which classes of a group are things that are seen, and not what is left."""
    if len(names) == 2:
        return [1]  # the first of two is where the thing is not
    return [index for index, name in enumerate(names) if name.lower() not in _NOT_DRAWN]


def _drawing_order(found: Detections) -> list[int]:
    """Places of the boxes, the one on top last: with an id over without, so that it can be read; then the better."""
    return sorted(range(len(found)), key=lambda place: (found.track_ids[place] > 0, -place))


def _draw_mask(
    canvas: NDArray[np.uint8],
    found: ClassMap,
    labels: Sequence[str],
    colours: Iterator[tuple[int, int, int]],
) -> list[tuple[str, tuple[int, int, int]]]:
    """Draw one group's classes, translucent with a strong edge; name and colour of those that are seen.

    Every class takes a colour, seen or not: the next free one of a frame would flicker.
    """
    height, width = canvas.shape[:2]
    edge = max(2, round(height / 120))  # a painted line is some 10 of 540 rows thick at most
    kernel = np.ones((2 * edge + 1, 2 * edge + 1), np.uint8)
    names = labels[found.first_label : found.first_label + found.class_count]
    drawn = drawn_classes(names)
    seen: list[tuple[str, tuple[int, int, int]]] = []
    for index, colour in zip(drawn, colours, strict=False):
        coarse = np.asarray(found.classes == index, np.uint8)
        if not coarse.any():
            continue
        # Enlarged as grey and cut in the middle, or its edge would be a staircase.
        smooth = cv2.resize(coarse * np.uint8(255), (width, height), interpolation=cv2.INTER_LINEAR)
        mask = np.asarray(smooth > 127, np.uint8)
        inside = np.asarray(cv2.erode(mask, kernel, borderValue=1), np.bool_)
        for where, opacity in ((inside, _MASK_OPACITY), (mask.astype(np.bool_) & ~inside, _EDGE_OPACITY)):
            ink = np.array(colour) * opacity
            canvas[where] = (canvas[where] * (1 - opacity) + ink).astype(np.uint8)
        seen.append((names[index], colour))
    return seen


def video_size(width: int, height: int) -> tuple[int, int]:
    """Give the size of a video of such pictures: even, as its colours want it, and no longer than players take."""
    scale = min(1.0, _MOST_SIDE / max(width, height))
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


class VideoWriter:
    """An H.264 video of frames of one size with the stamps of the drive. A context manager.

    A frame of another size than the first is scaled to it; the first itself only where no player would take it.
    """

    _TIME_BASE = Fraction(1, 90_000)  # the usual clock of video: exact for 24, 25, 30 and 60 fps

    def __init__(self, path: Path, rate_hz: float | None) -> None:
        self._container = av.open(str(path), "w", format="mp4")
        self._rate = Fraction(rate_hz or 25).limit_denominator(1001)
        self._stream: av.VideoStream | None = None
        self._first_stamp_ns = 0
        self._last_pts = -1

    def write(self, image: NDArray[np.uint8], stamp_ns: int) -> None:
        """Append a BGR image taken at `stamp_ns`."""
        if self._stream is None:
            self._first_stamp_ns = stamp_ns
            self._stream = self._open_stream(*video_size(image.shape[1], image.shape[0]))
        stream = self._stream
        width, height = stream.width, stream.height
        # One pixel more is an odd size cut to the even one that yuv420p needs.
        if not (0 <= image.shape[1] - width <= 1 and 0 <= image.shape[0] - height <= 1):
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        image = image[:height, :width]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        pts = round((stamp_ns - self._first_stamp_ns) / 1e9 / self._TIME_BASE)
        self._last_pts = frame.pts = max(pts, self._last_pts + 1)
        frame.time_base = self._TIME_BASE
        self._container.mux(stream.encode(frame))

    def _open_stream(self, width: int, height: int) -> av.VideoStream:
        stream: av.VideoStream = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "21", "preset": "veryfast"}
        stream.codec_context.time_base = self._TIME_BASE
        return stream

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Finish the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
