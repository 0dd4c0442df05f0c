"""A folder of images: order, stamps, what becomes BGR, and what is a fault."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import drive_media
import numpy as np
import pytest

from sensors.drives.images import ImageFolder, natural_order
from sensors.drives.whole_image import missing_end
from sensors.errors import RequestError
from sensors.frame import Fault, Frame, Item
from sensors.source import Span

MS = 1_000_000


def _read(path: Path) -> list[Item]:
    return list(ImageFolder(path, "front"))


def _image(item: Item) -> np.ndarray:
    assert isinstance(item, Frame), item
    return item.image


def _reason(item: Item) -> str:
    assert isinstance(item, Fault), item
    return item.reason


def test_frame2_comes_before_frame10(tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "images")
    for number, item in enumerate(_read(images)):
        assert np.array_equal(_image(item), drive_media.picture(number))


def test_natural_order_holds_for_any_mixture_of_names() -> None:
    names = ["b1", "10", "a", "a10b2", "a2b10", "a02b1", "2", "", "frame-1", "frame1"]
    ordered = sorted((Path(name) for name in names), key=natural_order)
    assert [str(path) for path in ordered].index("2") < [str(path) for path in ordered].index("10")
    assert [str(path) for path in ordered].index("a2b10") < [str(path) for path in ordered].index("a10b2")


def test_stamps_are_the_index_over_the_rate(tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "images", 4)
    assert [item.stamp_ns for item in _read(images)] == [0, 100 * MS, 200 * MS, 300 * MS]
    at_30 = ImageFolder(images, "front", rate_hz=30)
    assert [item.stamp_ns for item in at_30] == [0, 33_333_333, 66_666_667, 100_000_000]


def test_a_span_takes_its_start_and_leaves_its_end(tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "images")
    source = ImageFolder(images, "front", Span(200 * MS, 300 * MS))
    assert source.info.sensors[0].count == 3
    assert [(item.sequence, item.stamp_ns // MS) for item in source] == [(0, 200), (1, 300), (2, 400)]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tiff", ".ppm", ".PNG"])
def test_every_kind_of_image_is_read(suffix: str, tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "images", 2, suffix)
    assert [_image(item).shape for item in _read(images)] == [(48, 64, 3)] * 2


def test_grey_alpha_and_16_bits_become_8_bit_bgr(tmp_path: Path) -> None:
    grey = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20
    cv2.imwrite(str(tmp_path / "1.png"), (grey >> 8).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.dstack([(grey >> 8).astype(np.uint8)] * 3 + [grey.astype(np.uint8)]))
    cv2.imwrite(str(tmp_path / "3.png"), grey)
    for item in _read(tmp_path):
        image = _image(item)
        assert image.dtype == np.uint8
        assert np.array_equal(image[..., 0], image[..., 2])
        assert np.abs(image[..., 0].astype(int) - (grey >> 8)).max() <= 1


def test_images_may_differ_in_size(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), drive_media.picture(1, 64, 48))
    cv2.imwrite(str(tmp_path / "2.png"), drive_media.picture(2, 30, 20))
    assert [_image(item).shape for item in _read(tmp_path)] == [(48, 64, 3), (20, 30, 3)]


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF segment with one tag, the orientation, into a JPEG."""
    tag = b"\x01\x12" + b"\x00\x03" + b"\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\x00\x00"
    exif = b"Exif\x00\x00" + b"MM\x00\x2a\x00\x00\x00\x08" + b"\x00\x01" + tag + b"\x00\x00\x00\x00"
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    plain = cv2.imencode(".jpg", drive_media.picture(1))[1].tobytes()
    (tmp_path / "1.jpg").write_bytes(plain)
    (tmp_path / "2.jpg").write_bytes(_with_orientation(plain, 6))
    stored, turned = _read(tmp_path)
    assert np.array_equal(_image(turned), cv2.rotate(_image(stored), cv2.ROTATE_90_CLOCKWISE))


def test_files_that_cannot_be_read_are_faults_and_the_rest_still_comes(tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "images", 6)
    (images / "frame1.png").write_bytes(b"")
    (images / "frame2.png").write_text("not an image")
    (images / "frame3.png").unlink()
    (images / "frame3.png").symlink_to(images / "gone.png")
    items = _read(images)
    assert [type(item) for item in items] == [Frame, Fault, Fault, Fault, Frame, Frame]
    assert "frame1.png: is empty" in _reason(items[1])
    assert "not an image" in _reason(items[2])
    assert "No such file" in _reason(items[3])
    assert [item.sequence for item in items] == list(range(6))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_an_image_cut_short_is_a_fault_and_not_half_grey(suffix: str, share: float, tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "images", 1, suffix)
    file = images / f"frame0{suffix}"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    assert "is cut short" in _reason(_read(images)[0])


def test_an_image_of_absurd_size_is_a_fault_in_one_line(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    images = drive_media.write_images(tmp_path / "images", 2)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    (images / "frame0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    absurd, sound = _read(images)
    assert _reason(absurd).startswith("frame0.png: cannot be decoded: pixels <= ")
    assert len(_reason(absurd)) < 100
    assert isinstance(sound, Frame)


def test_the_end_of_a_thumbnail_is_not_the_end_of_a_jpeg() -> None:
    jpeg = cv2.imencode(".jpg", drive_media.picture(1))[1].tobytes()
    thumbnail = b"\xff\xe1" + (len(jpeg) + 2).to_bytes(2, "big") + jpeg
    with_thumbnail = jpeg[:2] + thumbnail + jpeg[2:]
    assert missing_end(with_thumbnail) is None
    assert missing_end(with_thumbnail[:-2]) is not None
    assert missing_end(jpeg + b"a maker's trailer") is None


def test_hidden_files_folders_and_other_files_are_no_images(tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "images", 2)
    (images / "._frame0.png").write_bytes(b"notes of another program")
    (images / "folder.png").mkdir()
    (images / "notes.txt").write_text("a note")
    assert len(_read(images)) == 2


def test_a_folder_without_images_says_which_files_would_be_read(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no images in it.*\.jpg"):
        ImageFolder(tmp_path, "front")
