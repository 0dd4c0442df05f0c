"""A dataset that is written is the one that is read, as YOLO and as COCO."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.datasets import open_dataset
from engines.datasets.writing import DatasetWriter

pytest.importorskip("yaml", reason="reads data.yaml")

WIDTH, HEIGHT = 97, 61
edges_x = st.floats(0, WIDTH - 1)
edges_y = st.floats(0, HEIGHT - 1)
sides = st.floats(0.5, 60)
boxes = st.lists(st.tuples(edges_x, edges_y, sides, sides, st.integers(0, 2)), max_size=5)
name = st.text(min_size=1, max_size=12).filter(lambda text: text == text.strip())
names = st.lists(name, min_size=3, max_size=3, unique=True)
PICTURE = bytes(cv2.imencode(".png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1])


@settings(deadline=None, max_examples=25)
@given(st.lists(boxes, min_size=1, max_size=4), names)
def test_what_is_written_is_read_again(images: list[list[tuple[float, ...]]], classes: list[str]) -> None:
    if not any(images):
        images[0] = [(1, 1, 9, 9, 0)]
    tables = [np.array(rows, np.float64).reshape(-1, 5) for rows in images]
    clipped = [
        np.clip(np.column_stack([table[:, :2], table[:, :2] + table[:, 2:4]]), 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        for table in tables
    ]
    with tempfile.TemporaryDirectory() as place:
        writer = DatasetWriter(Path(place), classes)
        for number, (table, corners) in enumerate(zip(tables, clipped, strict=True)):
            kinds, scores = table[:, 4].astype(np.int32), np.full(len(table), 0.5)
            writer.add("train", f"{number}.png", PICTURE, (WIDTH, HEIGHT), corners, kinds, scores)
        writer.finish()
        for path in ("data.yaml", "annotations/instances_train.json"):
            read = open_dataset(Path(place) / path, "train")
            assert read.classes == tuple(classes)
            assert [image.path.name for image in read.images] == [f"{number}.png" for number in range(len(images))]
            for image, table, corners in zip(read.images, tables, clipped, strict=True):
                assert image.classes.tolist() == table[:, 4].astype(int).tolist()
                np.testing.assert_allclose(image.boxes_xyxy(WIDTH, HEIGHT), corners, atol=0.02)


def test_only_splits_that_have_images_are_named(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, ["car"])
    writer.add("val", "a.png", PICTURE, (WIDTH, HEIGHT), np.array([[0, 0, 9, 9.0]]), np.zeros(1, int), np.ones(1))
    writer.finish()
    assert (tmp_path / "data.yaml").read_text() == 'path: .\nval: images/val\nnames:\n  0: "car"\n'
    assert (tmp_path / "labels" / "val" / "a.txt").read_text() == "0 0.046392 0.073770 0.092784 0.147541\n"
