"""A dataset of boxes written so that trainers and labelling tools read it: as YOLO and as COCO JSON at once.

`data.yaml`, `images/SPLIT/`, `labels/SPLIT/` is the layout of Ultralytics' description and of CVAT's format of that
name; `annotations/instances_SPLIT.json` beside it is COCO's (https://cocodataset.org/#format-data).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ANNOTATIONS, SETTINGS = "annotations", "data.yaml"


class DatasetWriter:
    """Writes into a folder image by image; it is a dataset once `finish` has been called."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder = folder
        self._classes = tuple(classes)
        self._coco: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def add(
        self,
        split: str,
        name: str,
        content: bytes,
        size: tuple[int, int],
        boxes_xyxy: NDArray[np.floating],
        classes: NDArray[np.integer],
        scores: NDArray[np.floating],
    ) -> None:
        """Write an image file and its N boxes, in pixels of the image of `size` (width, height), inside it.

        `scores` (N,) stand in the COCO file, where some tools show them; YOLO has no place for them.
        """
        width, height = size
        for part, file, data in (
            ("images", name, content),
            ("labels", f"{Path(name).stem}.txt", _yolo(boxes_xyxy, classes, size).encode()),
        ):
            place = self._folder / part / split / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        table = self._coco.setdefault(split, {"images": [], "annotations": []})
        image = len(table["images"]) + 1
        table["images"].append({"id": image, "file_name": name, "width": width, "height": height})
        for box, kind, score in zip(boxes_xyxy.tolist(), classes.tolist(), scores.tolist(), strict=True):
            left, top, right, bottom = (round(edge, 2) for edge in box)
            table["annotations"].append(
                {
                    "id": len(table["annotations"]) + 1,
                    "image_id": image,
                    "category_id": kind + 1,  # tools take 0 for the background
                    "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
                    "area": round((right - left) * (bottom - top), 2),
                    "iscrowd": 0,
                    "segmentation": [],
                    "score": round(score, 4),
                }
            )

    def finish(self) -> None:
        """Write what describes it all: `data.yaml` and a COCO file a split."""
        splits = "".join(f"{split}: images/{split}\n" for split in sorted(self._coco))
        names = "".join(f"  {index}: {_quoted(name)}\n" for index, name in enumerate(self._classes))
        (self._folder / SETTINGS).write_text(f"path: .\n{splits}names:\n{names}", encoding="utf-8")
        categories = [{"id": number, "name": name} for number, name in enumerate(self._classes, 1)]
        (self._folder / ANNOTATIONS).mkdir(exist_ok=True)
        for split, table in self._coco.items():
            file = self._folder / ANNOTATIONS / f"instances_{split}.json"
            file.write_text(json.dumps({**table, "categories": categories}, indent=1) + "\n", encoding="utf-8")


def _quoted(name: str) -> str:
    """A name as YAML has it: JSON's string, but that YAML does not join the halves of what lies beyond 16 bits."""
    inner = "".join(json.dumps(letter)[1:-1] if ord(letter) < 1 << 16 else letter for letter in name)
    return f'"{inner}"'


def _yolo(boxes_xyxy: NDArray[np.floating], classes: NDArray[np.integer], size: tuple[int, int]) -> str:
    parts = np.asarray(boxes_xyxy, np.float64) / np.array([*size, *size])
    centres, sides = (parts[:, :2] + parts[:, 2:]) / 2, parts[:, 2:] - parts[:, :2]
    return "".join(
        f"{kind} {' '.join(f'{value:.6f}' for value in row)}\n"
        for kind, row in zip(classes.tolist(), np.hstack([centres, sides]).tolist(), strict=True)
    )
