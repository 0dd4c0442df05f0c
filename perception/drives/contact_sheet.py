"""What each sensor of a drive saw, on one sheet: pictures with scans projected into them, and scans from above.

A block of tiles is a moment. Points lie in a picture through the drive's calibration, coloured by their distance: near
is red, far is blue. From above, x is to the right and y is up, each scan in its own axes; radar lies over lidar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.errors import UsageError
from sensors.calibration import Calibration
from sensors.clock_faults import in_words
from sensors.frame import Frame, Item, PointCloud, RadarScan
from sensors.opening import open_source, recorded_name
from sensors.source import SensorInfo, Span
from sensors.survey import Survey, survey_of
from sensors.yuv import bgr

MOMENTS = 4
TILE_WIDTH = 640
TILE_HEIGHT = 360
ACROSS = 3  # tiles beside each other
MOST_CAMERAS = 8  # of a moment
_AROUND_NS = 500_000_000  # how far from a moment a sensor's item may lie
_RANGE_M = 60.0  # of the view from above, in each direction
_FAR_M = 50.0  # where the colours end
_MOST_DRAWN = 60_000  # points of a scan
_BACK = (24, 24, 24)
_TEXT = (240, 240, 240)

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Moment:
    """What the sensors saw nearest to one stamp."""

    stamp_ns: int
    items: dict[str, Item]


def contact_sheet(uri: str, moments: int = MOMENTS) -> Image:
    """Draw a drive's sheet (H, W, 3) BGR. Raises `RequestError`, `SourceError`."""
    name, path = recorded_name(uri)
    with open_source(path, name=name) as source:
        info, survey = source.info, survey_of(source)
    stamps = _moments(survey, moments)
    if not stamps:
        raise UsageError(uri, "shows nothing: no frame and no scan of it is there", "give a drive with its files")
    found = [_seen_at(path, name, survey, stamp_ns, info.sensors) for stamp_ns in stamps]
    rows = [_row(moment, info.sensors, info.calibration) for moment in found]
    width = max(row.shape[1] for row in rows)
    return np.vstack([_padded(row, width) for row in rows])


def _moments(survey: Survey, count: int) -> list[int]:
    """Stamps, evenly among what is there of the sensor that sees least often."""
    seen = {}
    for sensor in survey.sensors:
        there = sensor.stamps_ns[~np.isin(sensor.numbers, sensor.without_file)]
        if sensor.kind in ("camera", "lidar", "radar") and len(there):
            seen[sensor.sensor] = (sensor.kind, there)
    if not seen:
        return []
    cameras = [there for kind, there in seen.values() if kind == "camera"]
    scans = [there for kind, there in seen.values() if kind == "lidar"]
    # Where a camera saw something too, the scans' moments: there are fewer.
    reference = min(scans or cameras or [there for _, there in seen.values()], key=len)
    places = np.unique(np.linspace(0, len(reference) - 1, min(count, len(reference))).round().astype(int))
    return [int(reference[place]) for place in places]


def _seen_at(path: str, name: str, survey: Survey, stamp_ns: int, sensors: Sequence[SensorInfo]) -> _Moment:
    first_ns = min(int(sensor.stamps_ns.min()) for sensor in survey.sensors if len(sensor.stamps_ns))
    start_ns = max(0, stamp_ns - first_ns - _AROUND_NS)
    nearest: dict[str, Item] = {}
    shown = {sensor.name for sensor in sensors if sensor.kind != "motion"}
    with open_source(path, name=name, span=Span(start_ns, 2 * _AROUND_NS)) as source:
        for item in source:
            if item.sensor not in shown or not isinstance(item, Frame | PointCloud | RadarScan):
                continue
            before = nearest.get(item.sensor)
            if before is None or abs(item.stamp_ns - stamp_ns) < abs(before.stamp_ns - stamp_ns):
                nearest[item.sensor] = item
    return _Moment(stamp_ns, nearest)


def _row(moment: _Moment, sensors: Sequence[SensorInfo], calibration: Calibration) -> Image:
    frames = [moment.items.get(sensor.name) for sensor in sensors if sensor.kind == "camera"][:MOST_CAMERAS]
    scans = [item for item in moment.items.values() if isinstance(item, PointCloud | RadarScan)]
    tiles = [_picture(frame, scans, calibration, moment) for frame in frames if isinstance(frame, Frame)]
    if scans:
        tiles.append(_from_above(scans, moment))
    while not tiles or len(tiles) % min(ACROSS, len(tiles)):
        tiles.append(np.full((TILE_HEIGHT, TILE_WIDTH, 3), _BACK, np.uint8))
    across = min(ACROSS, len(tiles))
    return np.vstack([np.hstack(tiles[first : first + across]) for first in range(0, len(tiles), across)])


def _picture(frame: Frame, scans: Sequence[PointCloud | RadarScan], calibration: Calibration, moment: _Moment) -> Image:
    image = np.ascontiguousarray(bgr(frame))
    scale = min(TILE_WIDTH / image.shape[1], TILE_HEIGHT / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    tile = np.full((TILE_HEIGHT, TILE_WIDTH, 3), _BACK, np.uint8)
    drawn = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    caption = f"{frame.sensor}  {_apart(frame, moment)}"
    for scan in scans:
        projection = calibration.into(scan.sensor, frame.sensor)
        if projection is None:
            continue
        points = _points(scan)
        pixels, depths = projection.to_pixels(points)
        camera = calibration.camera(frame.sensor)
        if camera is not None and camera.width and camera.width != image.shape[1]:
            pixels *= image.shape[1] / camera.width
        _draw(drawn, pixels * scale, depths, 3 if isinstance(scan, RadarScan) else 1)
        caption += f"  + {scan.sensor}"
    tile[: size[1], : size[0]] = drawn
    return _captioned(tile, caption)


def _draw(image: Image, pixels: NDArray[np.float64], depths: NDArray[np.float64], radius: int) -> None:
    inside = (depths > 0) & (pixels >= 0).all(axis=1) & (pixels < (image.shape[1], image.shape[0])).all(axis=1)
    order = np.argsort(-depths[inside])  # the nearest last, on top
    places, colours = pixels[inside][order].astype(int), _colours(depths[inside][order])
    for (x, y), colour in zip(places.tolist(), colours.tolist(), strict=True):
        cv2.circle(image, (x, y), radius, colour, -1)


def _from_above(scans: Sequence[PointCloud | RadarScan], moment: _Moment) -> Image:
    """Lidars first, then what radars saw; a grid of 20 m."""
    tile = np.full((TILE_HEIGHT, TILE_WIDTH, 3), _BACK, np.uint8)
    scale = TILE_HEIGHT / 2 / _RANGE_M
    centre = np.array([TILE_WIDTH / 2, TILE_HEIGHT / 2])
    for metres in range(20, int(_RANGE_M) + 1, 20):
        cv2.circle(tile, (TILE_WIDTH // 2, TILE_HEIGHT // 2), round(metres * scale), (60, 60, 60), 1)
    caption = "from above"
    for scan in sorted(scans, key=lambda one: isinstance(one, RadarScan)):
        points = _points(scan)
        places = np.rint(centre + points[:, :2] * scale * [1, -1]).astype(int)
        inside = (places >= 0).all(axis=1) & (places < (TILE_WIDTH, TILE_HEIGHT)).all(axis=1)
        if isinstance(scan, PointCloud):
            heights = np.clip((points[inside, 2] + 2.5) / 5, 0, 1) if points.shape[1] > 2 else np.zeros(inside.sum())
            tile[places[inside, 1], places[inside, 0]] = _spectrum(1 - heights)
        else:
            _draw_targets(tile, places[inside], _strength(scan)[inside])
        caption += f"  {scan.sensor} {_apart(scan, moment)}"
    return _captioned(tile, caption)


def _draw_targets(tile: Image, places: NDArray[np.int_], strength: NDArray[np.float32] | None) -> None:
    """Few targets as rings, an image's many cells as their brightness."""
    if len(places) > 2000:
        bright = np.zeros(tile.shape[:2], np.float32)
        np.maximum.at(bright, (places[:, 1], places[:, 0]), 1.0 if strength is None else strength)
        tile[:] = np.maximum(tile, (bright[:, :, None] * np.array([80, 255, 160])).astype(np.uint8))
        return
    for x, y in places.tolist():
        cv2.circle(tile, (x, y), 4, (80, 255, 160), 1)


def _points(scan: PointCloud | RadarScan) -> NDArray[np.float32]:
    """x, y and z of a scan's points, some of them where they are too many."""
    table = scan.points if isinstance(scan, PointCloud) else scan.targets
    columns = [scan.fields.index(name) for name in ("x", "y", "z") if name in scan.fields]
    points = table[:, columns]
    if points.shape[1] == 2:
        points = np.hstack([points, np.zeros((len(points), 1), np.float32)])
    if isinstance(scan, PointCloud):
        points = points[:: max(1, len(points) // _MOST_DRAWN)]
    return np.asarray(points, np.float32)


def _strength(scan: RadarScan) -> NDArray[np.float32]:
    """How much came back, 0..1 of the most, with what is weak left dark."""
    if "intensity" not in scan.fields:
        return np.ones(len(scan.targets), np.float32)
    values = scan.targets[:, scan.fields.index("intensity")]
    return np.asarray(np.clip((values / max(1.0, float(values.max()))) * 1.6 - 0.4, 0, 1), np.float32)


def _colours(depths: NDArray[np.float64]) -> Image:
    return _spectrum(np.clip(depths / _FAR_M, 0, 1))


def _spectrum(shares: NDArray[np.floating]) -> Image:
    """0 is red, 1 is blue: (N, 3)."""
    grey = ((1 - shares) * 255).astype(np.uint8)[:, None]
    if not len(grey):
        return np.empty((0, 3), np.uint8)
    return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_JET)[:, 0], np.uint8)


def _apart(item: Item, moment: _Moment) -> str:
    difference = item.stamp_ns - moment.stamp_ns
    return f"{'+' if difference >= 0 else ''}{in_words(difference)}"


def _captioned(tile: Image, text: str) -> Image:
    cv2.rectangle(tile, (0, TILE_HEIGHT - 20), (TILE_WIDTH, TILE_HEIGHT), (0, 0, 0), -1)
    cv2.putText(tile, text, (6, TILE_HEIGHT - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT, 1, cv2.LINE_AA)
    return tile


def _padded(row: Image, width: int) -> Image:
    missing = width - row.shape[1]
    return np.asarray(cv2.copyMakeBorder(row, 0, 0, 0, missing, cv2.BORDER_CONSTANT, value=_BACK), np.uint8)
