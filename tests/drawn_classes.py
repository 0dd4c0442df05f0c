"""Images by class, drawn: bright discs and squares on a dark ground."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_drawn_classes(folder: Path, images: int = 8, split: str = "train", seed: int = 0) -> Path:
    """So many images of 64x64 in `folder`/`split`/CLASS. Gives `folder`."""
    rng = np.random.default_rng(seed)
    for number in range(images):
        image = rng.integers(0, 60, (64, 64, 3), np.uint8)
        x, y = rng.integers(20, 44, 2).tolist()
        if number % 2 == 0:
            cv2.circle(image, (x, y), 16, (40, 200, 250), -1)
        else:
            cv2.rectangle(image, (x - 15, y - 15), (x + 15, y + 15), (250, 80, 60), -1)
        place = folder / split / ("disc", "square")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number}.png"), image)
    return folder
