"""What is said of images' licences beside them."""

from __future__ import annotations

from pathlib import Path

from engines.datasets.licences import licences_of


def images(folder: Path, *names: str) -> list[Path]:
    return [folder / "images" / "train" / name for name in names]


def made(folder: Path) -> Path:
    (folder / "images" / "train").mkdir(parents=True)
    return folder


def test_nothing_said_is_nothing_found(tmp_path: Path) -> None:
    assert licences_of(images(made(tmp_path / "a"), "1.jpg")) == []


def test_a_table_counts_the_images_that_are_asked_for(tmp_path: Path) -> None:
    folder = made(tmp_path / "a")
    rows = "split,file,licence\ntrain,1.jpg,CC BY 2.0\ntrain,2.jpg,CC BY 2.0\ntrain,3.jpg,MIT\ntrain,4.jpg,GPL\n"
    (folder / "attribution.csv").write_text(rows)
    (folder / "frames.csv").write_text("file,drive\n1.jpg,a\n")
    found = licences_of(images(folder, "1.jpg", "2.jpg", "3.jpg"))
    assert found == ["CC BY 2.0: 2 images (attribution.csv)", "MIT: 1 images (attribution.csv)"]


def test_settings_and_files_are_quoted(tmp_path: Path) -> None:
    folder = made(tmp_path / "a")
    (folder / "data.yaml").write_text("names: [car]\nroboflow:\n  license: CC BY 4.0\n")
    (folder / "LICENSE.txt").write_text("\n\n  The MIT License \nmore\n")
    assert licences_of(images(folder, "1.jpg")) == ["CC BY 4.0 (data.yaml)", "The MIT License (LICENSE.txt)"]


def test_of_a_licences_file_the_line_is_quoted_that_names_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "a")
    for text, line in (
        ("# Cars\nThe licence is stated below.\nLicense: CC BY 4.0\n", "License: CC BY 4.0"),
        ("# Cars\nThe licence is ours.\n", "The licence is ours."),
        ("# Cars\nAsk us.\n", "# Cars"),
        ("\n", "empty"),
    ):
        (folder / "LICENCE").write_text(text)
        assert licences_of(images(folder, "1.jpg")) == [f"{line} (LICENCE)"]


def test_only_what_is_a_licence_is_read_as_one(tmp_path: Path) -> None:
    folder = made(tmp_path / "a")
    (folder / "data.yaml").write_text("license:\nnames: [car]\n")
    (folder / "license_plates.txt").write_text("AB-123\n")
    (folder / "licences.csv").write_bytes("\ufefffile,licence\n1.jpg,CC BY 4.0\n".encode())
    assert licences_of(images(folder, "1.jpg")) == ["CC BY 4.0: 1 images (licences.csv)"]


def test_what_is_no_table_and_no_text_stops_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path / "a")
    (folder / "a.csv").write_bytes(b"\x00\xff,licence\n\x00")
    (folder / "b.csv").write_text("")
    (folder / "LICENSE").mkdir()
    assert licences_of([*images(folder, "1.jpg"), Path("/nowhere/train.zip/dog/1.jpg")]) == []
