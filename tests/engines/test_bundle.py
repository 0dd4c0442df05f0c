"""A bundle's folder: what is read, what is refused, and what its hash covers."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import tiny_networks
from hypothesis import given
from hypothesis import strategies as st

from engines.bundle import Bundle, load_bundle, parse_labels, parse_settings
from engines.decoders import build_decoder
from engines.errors import BundleError
from engines.letterbox import Fit
from engines.passport import read_passport
from engines.runtime import open_engine

SETTINGS = """decoder = "yolov8"
input = { width = 64, height = 32, layout = "NHWC", colour = "RGB", batch = 5 }
fit = "stretch"
pad = 7
scale = 0.5
mean = [1.0, 2, 3.5]
std = [0.5, 1, 2]
outputs = { predictions = "output 0" }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_networks.make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def folder(made: Bundle, tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(made.folder, tmp_path / "tiny"))


def parsed(text: str) -> object:
    return parse_settings(text.encode(), "bundle.toml")


def test_every_key_is_read() -> None:
    settings = parse_settings(SETTINGS.encode(), "bundle.toml")
    assert settings.decoder == "yolov8"
    assert (settings.input.width, settings.input.height) == (64, 32)
    assert (settings.input.layout, settings.input.colour, settings.input.batch) == ("NHWC", "RGB", 5)
    assert settings.outputs == {"predictions": "output 0"}
    pixels = settings.pixels
    assert (pixels.colour, pixels.fit, pixels.pad, pixels.scale) == ("RGB", Fit.STRETCH, 7, 0.5)
    assert (pixels.mean, pixels.std) == ((1.0, 2.0, 3.5), (0.5, 1.0, 2.0))


def test_what_is_not_said_has_the_designs_defaults() -> None:
    text = (
        'decoder = "yolox"\ninput = {width = 8, height = 9, colour = "BGR"}\nfit = "letterbox-top-left"\noutputs = {}\n'
    )
    settings = parse_settings(text.encode(), "bundle.toml")
    assert settings.input.layout == "NCHW"
    assert (settings.pad, settings.scale, settings.mean, settings.std) == (114, 1.0, (0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("pad = 7", "pad = 7\npadding = 3", r"bundle\.toml: padding: is no key here; did you mean 'pad'"),
        (
            "width = 64",
            'width = 64, name = "x"',
            r"input\.name: is no key here; known are batch, colour, height",
        ),
        ("width = 64", "width = 0", r"input\.width: .*greater than or equal to 1"),
        ("width = 64", "width = 100000", r"input\.width: .*less than or equal to 8192"),
        ("width = 64,", "", r"input\.width: is missing"),
        ('"NHWC"', '"HWC"', r"input\.layout: .*'NCHW' or 'NHWC'"),
        ('"RGB"', '"rgb"', r"input\.colour: "),
        ('"stretch"', '"letterbox"', r"fit: .*'letterbox-top-left'"),
        ("pad = 7", "pad = 256", "pad: "),
        ("std = [0.5, 1, 2]", "std = [0.5, 0, 2]", r"std\.1: "),
        ("std = [0.5, 1, 2]", "std = [0.5, inf, 2]", r"std\.1: "),
        ("mean = [1.0, 2, 3.5]", "mean = [1.0, nan, 3.5]", r"mean\.1: "),
        ("mean = [1.0, 2, 3.5]", "mean = [1.0, 2]", r"mean\.2: is missing"),
        ("scale = 0.5", "scale = -1", "scale: "),
        ("pad = 7", "pad = ", r"bundle\.toml: is not TOML \(.*line 4"),
        ("pad = 7", f"pad = {'9' * 6000}", "is not TOML"),
        ("pad = 7", f"pad = {'[' * 20_000}", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_key(line: str, instead: str, message: str) -> None:
    assert line in SETTINGS
    with pytest.raises(BundleError, match=message) as caught:
        parsed(SETTINGS.replace(line, instead))
    assert caught.value.exit_code == 2
    assert caught.value.remedy


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_a_bundle_error(text: bytes) -> None:
    for content in (text, SETTINGS.encode() + text, SETTINGS.encode().replace(b"7", text[:9])):
        with suppress(BundleError):
            parse_settings(content, "bundle.toml")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=6,
)


def toml(value: object) -> str:
    import json

    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return {"None": '""', "inf": "inf", "-inf": "-inf", "nan": "nan"}.get(str(value)) or json.dumps(value)


@given(st.sampled_from([line.partition(" = ")[0] for line in SETTINGS.splitlines()]), values)
def test_any_value_of_any_key_is_a_setting_or_a_bundle_error(key: str, value: object) -> None:
    lines = [line for line in SETTINGS.splitlines() if not line.startswith(f"{key} = ")]
    with suppress(BundleError):
        parsed("\n".join([*lines, f"{key} = {toml(value)}"]))


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_labels_or_a_bundle_error(content: bytes) -> None:
    labels: tuple[str, ...] = ("refused",)
    with suppress(BundleError):
        labels = parse_labels(content, "labels.txt")
    assert labels
    assert all(label and label == label.strip() for label in labels)


@given(st.lists(st.from_regex(r"[a-zA-Zäß車]([a-z ]{0,8}[a-z])?", fullmatch=True), min_size=1, max_size=9))
def test_labels_are_read_as_written(labels: list[str]) -> None:
    text = "\n".join(labels)
    for content in (text, text + "\n", text + "\n\n \n", "\ufeff" + text, text.replace("\n", "\r\n")):
        assert parse_labels(content.encode(), "labels.txt") == tuple(labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no class name"),
        (b"\n \n", "holds no class name"),
        (b"car\n\nbus\n", "line 2 is empty"),
        (b"car\xff\n", "is not UTF-8"),
    ],
)
def test_labels_that_are_none_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parse_labels(content, "labels.txt")


@pytest.mark.parametrize("name", ["bundle.toml", "model.onnx", "labels.txt"])
def test_a_bundle_that_lacks_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"has no {name}"):
        load_bundle(folder)


def test_what_is_no_folder_is_refused_with_the_command_that_makes_one(folder: Path) -> None:
    with pytest.raises(BundleError, match="there is no such bundle; make one with `perception engine import"):
        load_bundle(folder.with_name("tyni"))
    with pytest.raises(BundleError, match=r"is a file, .* `perception engine import .*model\.onnx"):
        load_bundle(folder / "model.onnx")


def test_an_unknown_decoder_is_named_with_the_nearest_known() -> None:
    message = r'decoder "yolo8" is unknown \(did you mean "yolov8"\?\); use one of classification, nanodet'
    with pytest.raises(BundleError, match=message):
        build_decoder("yolo8", {"predictions": (7, 21)}, 32, 32)
    with pytest.raises(BundleError, match='decoder "resnet" is unknown; use one of'):
        build_decoder("resnet", {}, 32, 32)


def test_a_decoder_that_does_not_fit_says_what_was_expected_and_found() -> None:
    message = r'decoder "yolox" does not fit model\.onnx: expected .*\[1,21,5\+classes\].*; found .*\[7,21\]'
    with pytest.raises(BundleError, match=message):
        build_decoder("yolox", {"predictions": (7, 21)}, 32, 32)


@pytest.mark.parametrize("name", ["bundle.toml", "model.onnx", "labels.txt"])
def test_the_hash_changes_with_each_of_its_three_files(folder: Path, name: str) -> None:
    before = load_bundle(folder).sha256
    path = folder / name
    path.write_bytes(path.read_bytes() + (b"more\n" if name == "labels.txt" else b"\n"))
    assert load_bundle(folder).sha256 != before


def test_the_hash_knows_where_one_file_ends_and_the_next_begins(folder: Path) -> None:
    before = load_bundle(folder).sha256
    settings, labels = (folder / "bundle.toml").read_bytes(), (folder / "labels.txt").read_bytes()
    (folder / "bundle.toml").write_bytes(settings + b"#")
    (folder / "labels.txt").write_bytes(labels)
    assert load_bundle(folder).sha256 != before


def test_the_hash_does_not_cover_the_passport_nor_the_folders_name(folder: Path, made: Bundle) -> None:
    (folder / "passport.json").write_text("{}")
    renamed = folder.rename(folder.with_name("other"))
    assert load_bundle(renamed).sha256 == made.sha256
    assert load_bundle(renamed).name == "other"


def test_a_name_is_the_folders_however_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert load_bundle(".").name == "tiny"


def test_a_model_that_is_none_is_refused_when_it_is_opened(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"no network")
    with pytest.raises(BundleError, match=r"model\.onnx: does not load in ONNX Runtime"):
        open_engine(load_bundle(folder))


def test_a_spoiled_passport_is_named(folder: Path) -> None:
    assert read_passport(folder)["imported"]["decoder"] == "yolov8"
    for content in ("{", "[]"):
        (folder / "passport.json").write_text(content)
        with pytest.raises(BundleError, match=r"passport\.json: "):
            read_passport(folder)
    (folder / "passport.json").unlink()
    assert read_passport(folder) == {}
