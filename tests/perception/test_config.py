"""A vehicle's file: what is right in it is taken, what is wrong is named by its key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny_networks
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import BundleError
from engines.settings_file import parse
from perception.config import (
    CameraSettings,
    NetworkSettings,
    PublishSettings,
    RecordingSettings,
    Vehicle,
    VehicleSettings,
)
from perception.errors import UsageError
from perception.network import Crops
from sensors.errors import EdgePerceptionError

GOOD = """
[[camera]]
name = "front"
uri = "drives/front.mp4"
every = 2
ignore = [[[0, 0.9], [1, 0.9], [1, 1]]]
[[camera]]
name = "rear"
uri = "rtsp://user:secret@10.0.0.7/stream"
[[network]]
bundle = "bundles/tiny"
thresholds = { default = 0.4, red = 0.25 }
nms = 0.5
[publish]
endpoint = "tcp://127.0.0.1:0"
keys = "keys/vehicle"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vehicle")
    (path / "bundles").mkdir()
    tiny_networks.make_bundle(path / "bundles" / "tiny")
    tiny_networks.make_classifier_bundle(path / "bundles" / "colours")
    return path


def vehicle(folder: Path, text: str | bytes) -> Vehicle:
    path = folder / "vehicle.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Vehicle(path)


def test_everything_that_is_said_is_taken(folder: Path) -> None:
    found = vehicle(folder, GOOD)
    front, rear = found.settings.camera
    assert (front.camera.every, rear.camera.every) == (2, 1)
    assert front.camera.ignore == (((0, 0.9), (1, 0.9), (1, 1)),)
    assert found.sources == {
        "front": str(folder / "drives" / "front.mp4"),
        "rear": "rtsp://user:secret@10.0.0.7/stream",
    }
    (thresholds,) = found.thresholds
    assert thresholds.per_class(3).tolist() == pytest.approx([0.4, 0.4, 0.25])
    assert thresholds.nms_iou == 0.5
    assert found.settings.publish is not None
    assert found.keys == folder / "keys" / "vehicle"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("every = 2", "evry = 2", "camera.0.evry: is no key here; did you mean 'every'?"),
        ("nms = 0.5", "xyz = 0.5", "network.0.xyz: is no key here; known are bundle, crops_classes"),
        ("[publish]", "[publsh]", "publsh: is no key here; did you mean 'publish'?"),
        ("every = 2", 'every = "two"', "camera.0.every: input should be a valid integer"),
        ("every = 2", 'every = "2"', "camera.0.every: input should be a valid integer"),
        ("every = 2", 'loop = "yes"', "camera.0.loop: input should be a valid boolean"),
        ("every = 2", "loop = 1", "camera.0.loop: input should be a valid boolean"),
        ("nms = 0.5", "nms = 2000-01-01", "network.0.nms: input should be a valid number"),
        ("nms = 0.5", "nms = nan", "network.0.nms: input should be a finite number"),
        ('bundle = "bundles/tiny"', "bundle = 1", "network.0.bundle: input should be a valid string"),
        ("every = 2", "every = 0", "camera.0.every: input should be greater than or equal to 1"),
        ('name = "rear"', 'name = "front"', "camera: 2 cameras have the name 'front'; give each its own"),
        ('name = "rear"', 'name = "re ar"', "camera.1.name: the name 're ar' has other characters"),
        ('name = "rear"', "", "camera.1.name: is missing"),
        ("red = 0.25", "redd = 0.25", "network.0.thresholds.redd: is no class of tiny; did you mean 'red'?"),
        ("red = 0.25", "red = 1.5", "network.0.thresholds.red: input should be less than or equal to 1"),
        ("[1, 0.9], [1, 1]", "[1, 9.0], [1, 1]", "camera.0.ignore.0.1.1: input should be less than or equal to 1"),
        ('uri = "rtsp', 'loop = true\nuri = "rtsp', "camera.1.loop: is live, and cannot be looped; loop a recording"),
        ("10.0.0.7/", "10.0.0.7:0/", "camera.1.uri: has no port 0; give a port from 1 to 65535"),
        (", [1, 0.9], [1, 1]", "", "camera.0.ignore.0: tuple should have at least 3 items"),
        ("every = 2", "every =", "is not TOML"),
        (GOOD, "", "camera: is missing"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(folder: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as raised:
        vehicle(folder, GOOD.replace(old, new, 1))
    assert str(raised.value).startswith(f"{folder / 'vehicle.toml'}: {message}")
    assert "--check" in str(raised.value)


def test_a_bundle_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"toml: network\.0\.bundle: .*bundles/tyni: there is no such bundle"):
        vehicle(folder, GOOD.replace("bundles/tiny", "bundles/tyni"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read"):
        Vehicle(tmp_path / "none.toml")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused_in_words(folder: Path, content: bytes) -> None:
    with pytest.raises(EdgePerceptionError):
        vehicle(folder, content)


def test_the_example_has_every_key_and_is_good(folder: Path, tmp_path: Path) -> None:
    example = (Path(__file__).parents[2] / "deploy" / "vehicle.toml").read_text()
    people = example.replace("bundles/road", str(folder / "bundles" / "tiny")).replace("person = ", "red = ")
    people = people.replace("# [[network]]", "[[network]]").replace("# bundle =", "bundle =")
    people = people.replace("# crops_", "crops_").replace("bundles/signs", str(folder / "bundles" / "colours"))
    people = people.replace('crops_of = "road"', 'crops_of = "tiny"').replace("traffic_sign", "red")
    settings = vehicle(tmp_path, people).settings
    assert settings.publish is not None
    for part in (settings.camera[0], settings.publish, settings.record, settings):
        assert part.model_fields_set == set(type(part).model_fields)
    keys = set().union(*(network.model_fields_set for network in settings.network))
    assert keys == set(NetworkSettings.model_fields)
    assert settings.network[1].crops == Crops("tiny", ("red",), 16, 16)


CROPS = """
[[network]]
bundle = "bundles/colours"
crops_of = "tiny"
crops_classes = ["red"]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'crops_of = "tiny"',
            'crops_of = "tny"',
            "network.1.crops_of: ",
        ),
        ('crops_of = "tiny"', "", "network.1: crops_classes: no crops_of is given; name the network"),
        ('["red"]', '["rot"]', "which is no class of tiny"),
        ("bundles/colours", "bundles/tiny", "its decoder is yolov8"),
        ('["red"]', '["red"]\ncrops_most = 0', "network.1.crops_most: input should be greater than or equal to 1"),
        ('["red"]', '["red"]\ncrops_min_px = nan', "network.1.crops_min_px: input should be a finite number"),
    ],
)
def test_a_second_stage_that_does_not_fit_is_named_with_its_key(old: str, new: str, message: str, folder: Path) -> None:
    vehicle(folder, GOOD + CROPS)
    with pytest.raises(UsageError) as error:
        vehicle(folder, GOOD + CROPS.replace(old, new))
    assert message in str(error.value)


def test_the_example_shows_every_key_and_is_read() -> None:
    text = (Path(__file__).parents[2] / "deploy" / "vehicle.toml").read_text()
    for table, kind in (
        ("camera", CameraSettings),
        ("network", NetworkSettings),
        ("publish", PublishSettings),
        ("record", RecordingSettings),
    ):
        assert re.search(rf"^(# )?\[+{table}\]+", text, re.MULTILINE)
        for key in kind.model_fields:
            assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), f"{table}.{key}"
    assert set(VehicleSettings.model_fields) == {"camera", "network", "publish", "record"}
    assert parse(text.encode(), VehicleSettings).network[0].bundle == Path("bundles/road")
