"""A mined dataset's folder, there whole or not at all: what trains, what a labeller reviews, and why each is in it.

`data.yaml`, `images/`, `labels/` are YOLO and `annotations/` COCO; `mined.json` and `reasons.csv` have every frame with
its reasons; `sheet.png` (`sheet-2.png` ...) shows them.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.datasets.writing import DatasetWriter
from perception.mining.mining import Mined, Mining, Pick
from perception.mining.sheet import CELLS, cell, sheet
from perception.whole_folder import check_folder_place, whole_folder
from sensors.frame import Frame
from sensors.yuv import bgr

MINED, REASONS = "mined.json", "reasons.csv"
FORMAT = 1  # of mined.json; keys are only ever added
_QUALITY = 95  # of JPEG, for frames that came as no file of their own
_KEPT = {"jpeg": ".jpg", "png": ".png"}


def check_place(folder: Path, *, replace_existing: bool) -> None:
    """Raise `UsageError` where the dataset cannot take this place. Call it before what takes long."""
    check_folder_place(folder, "mined dataset", MINED, replace_existing=replace_existing)


class _Stopped(Exception):
    """It was ended while pictures were read: nothing takes its place."""


def write_mined(mining: Mining, mined: Mined, folder: Path) -> bool:
    """Write the dataset, its reasons and its sheets; False where it was stopped, and then nothing is written.

    Raises `UsageError`, and what ends a source; `folder` is then as it was.
    """
    names = mined.model.labels
    files: dict[str, str] = {}
    try:
        with whole_folder(folder) as draft:
            writer = DatasetWriter(draft, names)
            cells: list[NDArray[np.uint8]] = []
            for number, (pick, frame) in enumerate(mining.pictures(mined), 1):
                image = np.ascontiguousarray(bgr(frame))
                content, suffix = _coded(frame, image)
                files[pick.stem] = f"images/{pick.split}/{pick.stem}{suffix}"
                size, labels = pick.candidate.frame.size, pick.labels
                name = f"{pick.stem}{suffix}"
                writer.add(pick.split, name, content, size, labels.boxes_xyxy, labels.classes, labels.scores)
                cells.append(cell(image, pick, names))
                if len(cells) == CELLS or number == len(mined.picks):
                    page = -(-number // CELLS)
                    _write_picture(draft / ("sheet.png" if page == 1 else f"sheet-{page}.png"), sheet(cells))
                    cells = []
            if mining.is_stopped:
                raise _Stopped
            writer.finish()
            rows = [_frame_facts(pick, files[pick.stem], mined) for pick in mined.picks]
            text = json.dumps({**facts(mined), **_made(), "frames": rows}, indent=1, ensure_ascii=False) + "\n"
            (draft / MINED).write_text(text, encoding="utf-8")
            _write_table(draft / REASONS, rows)
    except _Stopped:
        return False
    return True


def facts(mined: Mined) -> dict[str, Any]:
    """What was done and counted, as `--json` prints it and `mined.json` holds it beside its frames."""
    request = mined.request
    reasons = Counter(reason for pick in mined.picks for reason in pick.candidate.reasons)
    return {
        "format": FORMAT,
        "model": _bundle(mined.model),
        "teacher": None if mined.teacher is None else _bundle(mined.teacher),
        "classes": list(mined.model.labels),
        "settings": {
            "score": request.score,
            "sure": request.sure,
            "nms": request.nms,
            "count": request.count,
            "apart_s": request.apart_s,
            "val": request.val,
            "map": [list(pair) for pair in request.class_map],
            "start_s": request.span.start_ns / 1e9,
            "duration_s": None if request.span.duration_ns is None else request.span.duration_ns / 1e9,
        },
        "drives": [
            {
                "uri": drive.uri,
                "name": drive.name,
                "frames": drive.frames,
                "faults": drive.faults,
                "failed": drive.failed,
                "reasons": dict(drive.reasons),
            }
            for drive in mined.drives
        ],
        "picked": len(mined.picks),
        "splits": dict(Counter(pick.split for pick in mined.picks)),
        "labels": sum(len(pick.labels) for pick in mined.picks),
        "reasons": dict(reasons),
        "left_out_as_alike": mined.alike,
    }


def _bundle(bundle: Bundle) -> dict[str, str]:
    return {"name": bundle.name, "sha256": bundle.sha256}


def _made() -> dict[str, str]:
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"at": at, "by": f"edge-perception {version('edge-perception')}"}


def _frame_facts(pick: Pick, file: str, mined: Mined) -> dict[str, Any]:
    frame = pick.candidate.frame
    return {
        "file": file,
        "split": pick.split,
        "drive": mined.drives[frame.drive].name,
        "sensor": frame.sensor,
        "sequence": frame.sequence,
        "stamp_ns": frame.stamp_ns,
        "labels": len(pick.labels),
        "reasons": {reason: round(pick.candidate.weight_of(reason), 4) for reason in pick.candidate.reasons},
        "findings": [
            {
                "reason": finding.reason,
                "why": finding.why,
                "class": mined.model.labels[finding.kind],
                "score": round(finding.score, 4),
                "box_xyxy": [round(float(edge), 1) for edge in finding.box_xyxy],
            }
            for finding in pick.candidate.findings
        ],
    }


def _write_table(file: Path, rows: list[dict[str, Any]]) -> None:
    columns = ("file", "split", "drive", "sensor", "sequence", "stamp_ns", "labels")
    with file.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow([*columns, "reasons", "findings"])
        for row in rows:
            words = [f"{one['class']} {one['score']:.2f} {one['why']}" for one in row["findings"]]
            table.writerow([*(row[column] for column in columns), "; ".join(row["reasons"]), "; ".join(words)])


def _coded(frame: Frame, image: NDArray[np.uint8]) -> tuple[bytes, str]:
    """The image as a file, and its suffix: as it came where a file of its own shows exactly this image, else JPEG."""
    coded = frame.coded
    if coded is not None and coded.format in _KEPT:
        shown = cv2.imdecode(np.frombuffer(coded.data, np.uint8), cv2.IMREAD_COLOR)
        if shown is not None and np.array_equal(shown, image):
            return coded.data, _KEPT[coded.format]
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]), ".jpg"


def _write_picture(file: Path, image: NDArray[np.uint8]) -> None:
    file.write_bytes(bytes(cv2.imencode(file.suffix, image)[1]))
