"""A dataset that anything can learn: bright discs and squares on dark noise, drawn anew for each test."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("disc", "square")
_COLOURS = ((40, 200, 250), (250, 80, 60))


def write_drawn_dataset(folder: Path, *, images: int = 8, size: tuple[int, int] = (128, 96), seed: int = 0) -> Path:
    """Write a YOLO dataset of one split, train; give its data.yaml."""
    rng = np.random.default_rng(seed)
    width, height = size
    for part in ("images", "labels"):
        (folder / part / "train").mkdir(parents=True)
    for number in range(images):
        image = rng.integers(0, 60, (height, width, 3), np.uint8)
        lines = []
        for kind in range(2):  # one of each, side by side
            radius = int(rng.integers(10, 20))
            x = int(rng.integers(radius, width // 2 - radius)) + kind * width // 2
            y = int(rng.integers(radius, height - radius))
            if kind == 0:
                cv2.circle(image, (x, y), radius, _COLOURS[0], -1)
            else:
                cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), _COLOURS[1], -1)
            lines.append(f"{kind} {x / width} {y / height} {2 * radius / width} {2 * radius / height}")
        cv2.imwrite(str(folder / "images" / "train" / f"{number}.png"), image)
        (folder / "labels" / "train" / f"{number}.txt").write_text("\n".join(lines) + "\n")
    settings = folder / "data.yaml"
    settings.write_text(f"train: images/train\nnames: [{', '.join(CLASSES)}]\n")
    return settings
