"""A frame's masks of both sides, drawn side by side: the classes, and below them where they differ."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.gate.box_pictures import ALONE, BOTH
from perception.gate.mask_figures import ClassIndexes, Groups, SeenMasks, in_one_size
from perception.gate.worst import Pair, failure_caption, jpeg
from perception.rendering import Colour, draw, drawn_classes
from sensors.frame import Frame
from sensors.yuv import bgr

_OPACITY = 0.85  # of what differs
_GREY = 0.6  # of the picture under it: colours are for the masks


def pictures(frame: Frame, baseline: SeenMasks, candidate: SeenMasks, groups: Groups) -> tuple[Pair, ...]:
    """All groups in their classes' colours; then what is seen by both, and by one side only."""
    sides = (baseline, candidate)
    labels = [name for names in groups.values() for name in names]
    classes = [jpeg(draw(bgr(frame), [seen.found], [labels])) for seen in sides]
    alone = [_where_alone(bgr(frame), *pair, groups) for pair in ((baseline, candidate), (candidate, baseline))]
    return Pair(classes[0], classes[1]), Pair(jpeg(alone[0]), jpeg(alone[1]), "where they differ")


def failure_picture(frame: Frame, seen: SeenMasks | None, failure: str, groups: Groups) -> bytes:
    """A side of a frame that the other side, or this one, could not answer."""
    if seen is None:
        return jpeg(draw(bgr(frame), [], [], failure_caption(failure)))
    return jpeg(draw(bgr(frame), [seen.found], [[name for names in groups.values() for name in names]]))


def _where_alone(image: NDArray[np.uint8], one: SeenMasks, other: SeenMasks, groups: Groups) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    canvas = draw(np.asarray(grey * _GREY, np.uint8), [], [])  # as large as the pictures of the classes
    masks = [(one.of(group), other.of(group), names) for group, names in groups.items()]
    both = [
        (here, in_one_size(here, there), np.isin(here, drawn_classes(names)))
        for here, there, names in masks
        if here is not None and there is not None
    ]
    for here, there, is_thing in both:
        _paint(canvas, is_thing & (here == there), BOTH)
    for here, there, is_thing in both:  # over all that is alike: a group that agrees must not hide one that does not
        _paint(canvas, is_thing & (here != there), ALONE)
    return canvas


def _paint(canvas: NDArray[np.uint8], where: NDArray[np.bool_] | ClassIndexes, colour: Colour) -> None:
    size = (canvas.shape[1], canvas.shape[0])
    mask = cv2.resize(where.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    canvas[mask] = (canvas[mask] * (1 - _OPACITY) + np.array(colour) * _OPACITY).astype(np.uint8)
