"""The table of a batch: a row a detection, as Parquet.

A frame on which nothing was found, or that failed, has one row without a detection: every frame is in the table.
Reference: <https://parquet.apache.org/docs/file-format/>, written with pyarrow.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from perception.errors import UsageError
from perception.message import FrameMessage, Status, decode_message
from perception.pipeline import Result

_ROWS_AT_ONCE = 50_000  # of a row group; some 5 MB in memory


class Column(NamedTuple):
    """One column; the description stands in the file, too."""

    name: str
    type: str  # as pyarrow calls it
    description: str


COLUMNS = (
    Column("drive", "string", "the drive's name in the batch; its recording is DRIVE.mcap"),
    Column("sensor", "string", "the camera's name in the recording"),
    Column("frame_sequence", "int64", "which frame of the sensor, from 0"),
    Column("stamp_ns", "int64", "when the sensor took it, ns on the drive's own clock"),
    Column("image_width", "int32", "pixels; 0 where the frame could not be decoded"),
    Column("image_height", "int32", "pixels; 0 where the frame could not be decoded"),
    Column("status", "string", "OK, INFERENCE_FAILED or DECODE_FAILED"),
    Column("network", "string", "the bundle's name; this and the rest are null where nothing was found"),
    Column("class_index", "int32", "place in the bundle's labels"),
    Column("class_name", "string", "what the bundle calls it"),
    Column("score", "float", "0 to 1"),
    Column("track_id", "int64", "lasts over the frames of a sensor; 0: belongs to no track"),
    Column("left", "float", "of the box, pixels of the source image"),
    Column("top", "float", "of the box, pixels of the source image"),
    Column("right", "float", "of the box, pixels of the source image"),
    Column("bottom", "float", "of the box, pixels of the source image"),
)
_OF_FRAMES = 7  # columns that a frame without a detection has


def pyarrow_parquet() -> tuple[Any, Any]:
    """The libraries `pyarrow` and `pyarrow.parquet`. Raises `UsageError` where they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            "the table", "needs pyarrow, which is not installed", "pip install 'edge-perception[batch]'"
        ) from None
    return pyarrow, pyarrow.parquet


class TableWriter:
    """One drive's rows, written while it is replayed: an observer of the pipeline, and a context manager."""

    def __init__(self, path: Path, drive: str) -> None:
        self._pyarrow, parquet = pyarrow_parquet()
        self._path = path
        self._drive = drive
        self._schema = _schema(self._pyarrow)
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[tuple[Any, ...]] = []
        self.rows = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Finish the file; it is on the disk when this returns."""
        self._flush()
        self._writer.close()
        with self._path.open("rb") as file:
            os.fsync(file.fileno())

    def __call__(self, result: Result) -> None:
        """Take in what was found on one frame."""
        if result.frame is None and result.status is Status.OK:
            return  # a scan, on which nothing was looked for
        message = decode_message(result.payload)
        assert isinstance(message, FrameMessage)
        self._rows += _rows(message, self._drive)
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        self._writer.write_table(self._pyarrow.table(columns, schema=self._schema))
        self.rows += len(self._rows)
        self._rows.clear()


def merge(parts: Iterable[Path], target: Path) -> int:
    """Write the tables of several drives as one, one after the other; how many rows that are."""
    pyarrow, parquet = pyarrow_parquet()
    rows = 0
    with parquet.ParquetWriter(target, _schema(pyarrow), compression="zstd") as writer:
        for part in parts:
            with parquet.ParquetFile(part) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE):
                    writer.write_batch(batch)
                    rows += batch.num_rows
    return rows


def _schema(pyarrow: Any) -> Any:
    types = {"string": pyarrow.string(), "int64": pyarrow.int64(), "int32": pyarrow.int32(), "float": pyarrow.float32()}
    return pyarrow.schema(
        [pyarrow.field(c.name, types[c.type], metadata={"description": c.description}) for c in COLUMNS]
    )


def _rows(message: FrameMessage, drive: str) -> list[tuple[Any, ...]]:
    frame = (
        drive,
        message.sensor,
        message.frame_sequence,
        message.stamp_ns,
        message.image_width,
        message.image_height,
        message.status.name,
    )
    found = message.detections
    if not len(found):
        return [frame + (None,) * (len(COLUMNS) - _OF_FRAMES)]
    return [
        (*frame, message.networks[network].name, class_index, class_name, score, track_id, *box)
        for network, class_index, class_name, score, track_id, box in zip(
            message.network_indexes,
            found.classes.tolist(),
            message.class_names,
            found.scores.tolist(),
            found.track_ids.tolist(),
            found.boxes_xyxy.tolist(),
            strict=True,
        )
    ]
