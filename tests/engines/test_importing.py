"""From an ONNX file to a bundle that works, or to an error and nothing on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import drive_media
import numpy as np
import onnx
import pytest
import tiny_networks
from onnx import TensorProto, helper
from tiny_networks import LABELS, OPTIONS, SEGMENTER_LABELS, write_labels, write_network, write_segmenter

from engines.bundle import Bundle, load_bundle
from engines.decoders import build_decoder
from engines.errors import BundleError
from engines.importing import ImportOptions, coco_labels, import_network
from engines.letterbox import Fit
from engines.passport import read_passport
from engines.probe import Finding, advice, probe
from engines.results import Classification, Detections, Found, SegmentationMap, Thresholds
from engines.runtime import open_engine
from sensors.opening import open_source

NAMES = str(list(LABELS))


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def found(bundle: Bundle, image: Any) -> Detections:
    """What a bundle detects on an image, through its engine and decoder."""
    boxes = everything_found(bundle, image)
    assert isinstance(boxes, Detections)
    return boxes


def everything_found(bundle: Bundle, image: Any) -> Found:
    with open_engine(bundle, slots=1) as engine:
        place = engine.place(image.shape[1], image.shape[0])
        engine.stage(0, 0, image, place)
        engine.submit(0, 1)
        outputs = engine.wait(0).rows[0]
        shapes = {role: values.shape for role, values in outputs.items()}
        shape = bundle.settings.input
        decoder = build_decoder(bundle.settings.decoder, shapes, shape.width, shape.height)
        return decoder.decode(outputs, place, Thresholds(score=0.05))


def test_settings_come_back_as_they_were_given(tmp_path: Path) -> None:
    model = write_network(tmp_path / "tiny.onnx")
    options = ImportOptions(
        decoder="yolov8",
        labels=str(write_labels(tmp_path / "names.txt")),
        colour="BGR",
        scale=1 / 3,
        mean=(1.5, 2.0, 1e-7),
        std=(0.1, 1e20, 58.395),
        fit=Fit.LETTERBOX_TOP_LEFT,
        pad=3,
    )
    bundle = import_network(model, tmp_path / "bundle", options)
    assert load_bundle(tmp_path / "bundle") == bundle
    pixels = bundle.settings.pixels
    assert (pixels.colour, pixels.scale, pixels.mean, pixels.std) == ("BGR", 1 / 3, options.mean, options.std)
    assert (pixels.fit, pixels.pad) == (Fit.LETTERBOX_TOP_LEFT, 3)
    assert bundle.labels == LABELS
    assert bundle.settings.outputs == {"predictions": "boxes"}
    assert bundle.model.read_bytes() == model.read_bytes()


def test_what_is_not_said_is_the_familys_way(tmp_path: Path) -> None:
    bundle = import_network(write_network(tmp_path / "tiny.onnx", names=NAMES), tmp_path / "b", ImportOptions())
    settings = bundle.settings
    assert (settings.decoder, settings.input.colour, settings.scale) == ("yolov8", "RGB", 1 / 255)
    assert (settings.fit, settings.pad) == (Fit.LETTERBOX_CENTRED, 114)
    assert (settings.input.width, settings.input.height, settings.input.layout) == (32, 32, "NCHW")


@pytest.mark.parametrize(
    "names",
    ["['blue', 'green', 'red']", "{0: 'blue', 1: 'green', 2: 'red'}", "{2: 'red', 0: ' blue', 1: 'gr\\neen'}"],
)
def test_class_names_are_read_from_the_metadata(tmp_path: Path, names: str) -> None:
    model = write_network(tmp_path / "tiny.onnx", names=names)
    labels = import_network(model, tmp_path / "b", ImportOptions()).labels
    assert [label.replace("gr een", "green") for label in labels] == list(LABELS)


@pytest.mark.parametrize(
    "names", [None, "", "{0: 1, 1: 2}", "{'a': 'b'}", "{{}}", "{[]: 1}", "(" * 400, "__import__('os')"]
)
def test_metadata_that_names_nothing_is_said(tmp_path: Path, names: str | None) -> None:
    model = write_network(tmp_path / "tiny.onnx", names=names)
    with pytest.raises(BundleError, match=r"tiny\.onnx: says nothing of its 3 classes' names; give --labels FILE"):
        import_network(model, tmp_path / "b", ImportOptions())


def test_the_number_of_labels_has_to_be_the_networks(tmp_path: Path) -> None:
    model = write_network(tmp_path / "tiny.onnx", names="['a', 'b']")
    with pytest.raises(BundleError, match=r"its metadata: names 2 classes, and tiny\.onnx has 3"):
        import_network(model, tmp_path / "b", ImportOptions())
    with pytest.raises(BundleError, match="--labels coco: names 80 classes"):
        import_network(model, tmp_path / "b", ImportOptions(labels="coco"))
    with pytest.raises(BundleError, match=r"nowhere\.txt: cannot be read \(No such file"):
        import_network(model, tmp_path / "b", ImportOptions(labels=str(tmp_path / "nowhere.txt")))
    assert tree(tmp_path) == {"tiny.onnx"}


def test_coco_has_its_80_names_in_order() -> None:
    labels = coco_labels()
    assert len(labels) == 80
    assert (labels[0], labels[2], labels[7], labels[79]) == ("person", "car", "truck", "toothbrush")


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_classifier_is_recognised_and_whether_its_softmax_is_inside(
    softmax: bool, layout: Any, tmp_path: Path
) -> None:
    bundle = tiny_networks.make_classifier_bundle(tmp_path / "colours", softmax=softmax, layout=layout, free_batch=True)
    assert bundle.settings.decoder == "classification"
    assert bundle.settings.outputs == {"probabilities" if softmax else "logits": "classes"}
    seen = everything_found(bundle, tiny_networks.solid(0, 255, 0))
    assert isinstance(seen, Classification)
    assert bundle.labels[seen.classes[0]] == "green"
    assert seen.scores[0] == pytest.approx(1, abs=1e-3)
    assert seen.scores.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("free_batch", "asked", "batch"), [(True, None, 8), (True, 1, 1), (True, 3, 3), (False, None, 1), (False, 1, 1)]
)
def test_a_classifier_of_a_free_batch_takes_several_images_at_once(
    free_batch: bool, asked: int | None, batch: int, tmp_path: Path
) -> None:
    model = tiny_networks.write_classifier(tmp_path / "colours.onnx", free_batch=free_batch)
    bundle = import_network(model, tmp_path / "b", ImportOptions(colour="BGR", batch=asked))
    assert bundle.settings.input.batch == batch
    with open_engine(bundle, "onnxruntime") as engine:
        assert engine.max_rows == batch


def test_a_batch_axis_that_is_free_in_name_alone_is_none(tmp_path: Path) -> None:
    model = onnx.load(tiny_networks.write_classifier(tmp_path / "colours.onnx"))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    model.graph.node[-1].output[0] = "all"
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["all"], ["classes"], axes=[0], keepdims=1))
    onnx.save(model, tmp_path / "mean.onnx")
    assert import_network(tmp_path / "mean.onnx", tmp_path / "b", ImportOptions(colour="BGR")).settings.input.batch == 1
    with pytest.raises(BundleError, match=r"says batch = 4, and of 4 images its output 'classes' is \[1, 3\]"):
        import_network(tmp_path / "mean.onnx", tmp_path / "c", ImportOptions(colour="BGR", batch=4))


def test_more_images_at_once_than_a_network_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="says batch = 4, and its network takes 1 at a time"):
        import_network(write_network(tmp_path / "tiny.onnx", names=NAMES), tmp_path / "b", replace(OPTIONS, batch=4))
    assert tree(tmp_path) == {"tiny.onnx"}


def test_a_second_output_needs_its_role_named(tmp_path: Path) -> None:
    model = write_network(tmp_path / "two.onnx", second_output=True, names=NAMES)
    with pytest.raises(BundleError, match="decoder 'yolov8' does not fit: expected 1 output"):
        import_network(model, tmp_path / "b", OPTIONS)
    with pytest.raises(
        BundleError, match=r"--outputs predictions=scores: there is no such output; it has boxes \[1, 7"
    ):
        import_network(model, tmp_path / "b", replace(OPTIONS, outputs={"predictions": "scores"}))
    with pytest.raises(BundleError, match="expected the one role 'predictions'; found boxes"):
        import_network(model, tmp_path / "b", replace(OPTIONS, outputs={"boxes": "boxes"}))
    bundle = import_network(model, tmp_path / "b", replace(OPTIONS, outputs={"predictions": "boxes"}))
    assert bundle.settings.outputs == {"predictions": "boxes"}
    assert len(found(bundle, tiny_networks.solid(200))) == 2


def test_a_free_size_needs_to_be_given(tmp_path: Path) -> None:
    model = write_network(tmp_path / "free.onnx", free_size=True, size=(64, 32), names=NAMES)
    with pytest.raises(BundleError, match=r"has no fixed size; give one with --size WIDTHxHEIGHT"):
        import_network(model, tmp_path / "b", OPTIONS)
    bundle = import_network(model, tmp_path / "b", replace(OPTIONS, size=(64, 32)))
    assert (bundle.settings.input.width, bundle.settings.input.height) == (64, 32)
    assert len(found(bundle, tiny_networks.solid(200, size=(200, 100)))) == 2


def test_a_fixed_size_cannot_be_given_otherwise(tmp_path: Path) -> None:
    model = write_network(tmp_path / "tiny.onnx", names=NAMES)
    with pytest.raises(BundleError, match="its input is fixed at 32x32; leave --size away"):
        import_network(model, tmp_path / "b", replace(OPTIONS, size=(64, 32)))
    import_network(model, tmp_path / "b", replace(OPTIONS, size=(32, 32)))


def test_channels_last_give_the_boxes_of_channels_first(tmp_path: Path) -> None:
    first = tiny_networks.make_bundle(tmp_path / "nchw", size=(64, 32))
    last = tiny_networks.make_bundle(tmp_path / "nhwc", size=(64, 32), layout="NHWC")
    assert last.settings.input.layout == "NHWC"
    for number in range(4):
        image = drive_media.picture(4 * number, 90, 70)
        one, other = found(first, image), found(last, image)
        assert len(one) >= 1
        np.testing.assert_allclose(other.boxes_xyxy, one.boxes_xyxy, atol=1e-3)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-5)
        assert other.classes.tolist() == one.classes.tolist()


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    model = write_network(tmp_path / "tiny.onnx", names=NAMES)
    import_network(model, tmp_path / "b", OPTIONS)
    (tmp_path / "b" / "labels.txt").write_text("my\nown\nnames\n")
    before = load_bundle(tmp_path / "b").sha256
    with pytest.raises(BundleError, match="exists already; choose another folder, or replace it with --force"):
        import_network(model, tmp_path / "b", OPTIONS)
    assert load_bundle(tmp_path / "b").sha256 == before


def test_force_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    model = write_network(tmp_path / "tiny.onnx", names=NAMES)
    import_network(model, tmp_path / "b", OPTIONS)
    (tmp_path / "b" / "labels.txt").write_text("my\nown\nnames\n")
    assert import_network(model, tmp_path / "b", OPTIONS, replace_existing=True).labels == LABELS
    holiday = tmp_path / "holiday"
    holiday.mkdir()
    (holiday / "photo.jpg").write_bytes(b"precious")
    (tmp_path / "file").write_bytes(b"precious")
    before = tree(tmp_path)
    for other in (holiday, tmp_path / "file"):
        with pytest.raises(BundleError, match="exists and is no bundle"):
            import_network(model, other, OPTIONS, replace_existing=True)
    assert tree(tmp_path) == before
    assert (holiday / "photo.jpg").read_bytes() == (tmp_path / "file").read_bytes() == b"precious"


def test_force_keeps_the_old_bundle_where_the_new_one_is_wrong(tmp_path: Path) -> None:
    import_network(write_network(tmp_path / "tiny.onnx", names=NAMES), tmp_path / "b", OPTIONS)
    before = load_bundle(tmp_path / "b").sha256
    broken = write_network(tmp_path / "nan.onnx", names=NAMES, always_nan=True)
    with pytest.raises(BundleError):
        import_network(broken, tmp_path / "b", OPTIONS, replace_existing=True)
    assert load_bundle(tmp_path / "b").sha256 == before


def external_data(path: Path) -> Path:
    """A network that keeps its weights in a file beside it."""
    model = onnx.load(str(write_network(path, names=NAMES)))
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=500)
    return path


def unknown_operator(path: Path) -> Path:
    value = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 7, 21])
    graph = helper.make_graph([helper.make_node("Perceive", ["image"], ["out"])], "g", [value], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def network(**arguments: Any) -> Callable[[Path], Path]:
    return lambda path: write_network(path, names=NAMES, **arguments)


def folder_instead(path: Path) -> Path:
    path.mkdir()
    return path


WRONG = {
    "missing": (lambda path: path, "there is no such file"),
    "folder": (folder_instead, "cannot be read"),
    "empty": (written(b""), "is empty"),
    "garbage": (written(b"\x00garbage" * 50), "does not load in ONNX Runtime"),
    "text": (written(b"hello, I am a network\n"), "does not load in ONNX Runtime"),
    "half a file": (lambda path: written(network()(path).read_bytes()[:400])(path), "does not load in ONNX Runtime"),
    "unknown operator": (unknown_operator, "does not load in ONNX Runtime"),
    "newer opset": (network(opset=999), "does not load in ONNX Runtime"),
    "NaN": (network(always_nan=True), "holds NaN or infinity on a plain grey image"),
    "two inputs": (network(inputs=2), "has 2 inputs"),
    "bytes in": (network(input_type=TensorProto.DOUBLE), "does not load|which is no single float32 image"),
    "external data": (external_data, r"keeps its weights in a second file"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_network_of_ours_leaves_nothing_behind(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    model = make(tmp_path / "network.onnx")
    before = tree(tmp_path)
    with pytest.raises(BundleError, match=message) as caught:
        import_network(model, tmp_path / "new" / "deep" / "bundle", OPTIONS)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_an_error_in_one_line(tmp_path: Path) -> None:
    model = write_network(tmp_path / "tiny.onnx", names=NAMES)
    for folder in (tmp_path / "tiny.onnx" / "bundle", tmp_path / ("x" * 300), tmp_path / "new" / ("x" * 300) / "b"):
        with pytest.raises(BundleError, match=r"cannot be written \("):
            import_network(model, folder, OPTIONS)
    assert tree(tmp_path) == {"tiny.onnx"}


def test_an_unknown_decoder_is_refused_with_the_nearest(tmp_path: Path) -> None:
    model = write_network(tmp_path / "tiny.onnx", names=NAMES)
    with pytest.raises(BundleError, match=r'decoder "yolov9" is unknown \(did you mean "yolov8"\?\)'):
        import_network(model, tmp_path / "b", replace(OPTIONS, decoder="yolov9"))
    with pytest.raises(BundleError, match=r"decoder 'nanodet' does not fit: .*; use --decoder yolov8"):
        import_network(model, tmp_path / "b", replace(OPTIONS, decoder="nanodet"))
    assert tree(tmp_path) == {"tiny.onnx"}


def test_the_passport_says_what_it_was_made_of(tmp_path: Path) -> None:
    import hashlib

    model = write_network(tmp_path / "tiny.onnx", names=NAMES)
    import_network(model, tmp_path / "b", OPTIONS)
    imported = read_passport(tmp_path / "b")["imported"]
    assert imported["from"] == "tiny.onnx"
    assert imported["onnx_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert imported["decoder"] == "yolov8"
    assert imported["metadata"] == {"names": NAMES}
    assert imported["by"].startswith("edge-perception ")
    assert json.loads((tmp_path / "b" / "passport.json").read_text())["passport_version"] == 1


def test_a_bundle_may_be_read_by_everyone(tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "b")
    assert bundle.folder.stat().st_mode & 0o777 == 0o755
    assert tree(bundle.folder) == {"bundle.toml", "model.onnx", "labels.txt", "passport.json"}


def test_the_probe_tries_other_colours_and_another_scale_too(tmp_path: Path) -> None:
    model = write_network(tmp_path / "tiny.onnx", names=NAMES)
    drive = drive_media.write_images(tmp_path / "drive")
    right = import_network(model, tmp_path / "right", OPTIONS)
    with open_source(str(drive)) as source:
        findings = probe(right, source)
    assert [finding.how for finding in findings] == ["as imported", "--colour RGB", "--scale 1"]
    assert findings[0].boxes >= 1
    assert set(findings[0].classes) <= set(LABELS)


def finding(how: str, boxes: int, mean_score: float = 0.5) -> Finding:
    return Finding(how, boxes, mean_score, {})


@pytest.mark.parametrize(
    ("imported", "other", "says"),
    [
        (finding("as imported", 30), finding("--colour RGB", 45), None),
        (finding("as imported", 10), finding("--colour RGB", 25), "with --colour RGB it finds 25 boxes instead of 10"),
        (finding("as imported", 4, 0.7), finding("--scale 1", 28, 0.68), None),
        (finding("as imported", 4), finding("--scale 1", 45), "with --scale 1 it finds 45 boxes instead of 4"),
        (finding("as imported", 0), finding("--scale 1", 2), "it finds nothing"),
        (finding("as imported", 0), finding("--scale 1", 3), "with --scale 1 it finds 3 boxes instead of 0"),
        (finding("as imported", 40, 0.9), finding("--scale 1", 70, 0.35), None),
    ],
)
def test_advice_is_given_for_a_large_gain_only(imported: Finding, other: Finding, says: str | None) -> None:
    hint = advice([imported, other])
    assert hint is None if says is None else hint is not None and hint.startswith(says)


def test_roles_name_the_groups_whatever_the_outputs_are_called(tmp_path: Path) -> None:
    model = write_segmenter(tmp_path / "swapped.onnx", outputs=("shade", "colour"))
    labels = str(write_labels(tmp_path / "names.txt", SEGMENTER_LABELS))
    options = ImportOptions(labels=labels, colour="BGR", outputs={"colour": "shade", "how dark": "colour"})
    bundle = import_network(model, tmp_path / "b", options)
    assert bundle.settings.decoder == "segmentation"
    assert bundle.settings.outputs == {"colour": "shade", "how dark": "colour"}
    masks = everything_found(bundle, tiny_networks.solid(0, 90, 0, size=(90, 50)))
    assert isinstance(masks, SegmentationMap)
    assert [(one.group, bundle.labels[one.first_label + one.classes[0, 0]]) for one in masks.maps] == [
        ("colour", "green"),
        ("how dark", "dark"),
    ]


def test_the_order_of_the_roles_is_that_of_the_labels(tmp_path: Path) -> None:
    model = write_segmenter(tmp_path / "tiny.onnx")
    labels = str(write_labels(tmp_path / "names.txt", ("light", "dark", *LABELS)))
    options = ImportOptions(labels=labels, colour="BGR", outputs={"shade": "shade", "colour": "colour"})
    bundle = import_network(model, tmp_path / "b", options)
    masks = everything_found(bundle, tiny_networks.solid(0, 90, 0))
    assert isinstance(masks, SegmentationMap)
    assert [bundle.labels[one.first_label + one.classes[0, 0]] for one in masks.maps] == ["dark", "green"]


def test_groups_that_nobody_named_are_numbered(tmp_path: Path) -> None:
    labels = str(write_labels(tmp_path / "names.txt", SEGMENTER_LABELS))
    model = write_segmenter(tmp_path / "tiny.onnx", stride=4)
    bundle = import_network(model, tmp_path / "b", ImportOptions(labels=labels))
    assert bundle.settings.outputs == {"group_1": "colour", "group_2": "shade"}


def test_a_group_of_two_classes_names_itself(tmp_path: Path) -> None:
    options = ImportOptions(decoder="segmentation", outputs={"night": "shade"})
    bundle = import_network(write_segmenter(tmp_path / "tiny.onnx"), tmp_path / "b", options)
    assert bundle.labels == ("background", "night")


def test_a_group_of_more_classes_needs_its_labels(tmp_path: Path) -> None:
    model = write_segmenter(tmp_path / "tiny.onnx")
    options = ImportOptions(outputs={"colour": "colour", "night": "shade"})
    with pytest.raises(
        BundleError, match=r"says nothing of its 5 classes' names \(3 of colour, then 2 of night\); give --labels FILE"
    ):
        import_network(model, tmp_path / "b", options)
    with pytest.raises(BundleError, match=r"names 3 classes, and tiny\.onnx has 5 \(3 of colour, then 2 of night\)"):
        import_network(model, tmp_path / "b", replace(options, labels=str(write_labels(tmp_path / "names.txt"))))
    assert tree(tmp_path) == {"tiny.onnx", "names.txt"}


@pytest.mark.parametrize("last", ["Sigmoid", "ArgMax"])
def test_a_channel_that_is_decided_inside_the_network_is_refused(tmp_path: Path, last: Any) -> None:
    model = write_segmenter(tmp_path / "tiny.onnx", last=last)
    options = ImportOptions(decoder="segmentation", outputs={"night": "shade"})
    with pytest.raises(BundleError, match=r"its output shade holds no logits, .*; export the network without its last"):
        import_network(model, tmp_path / "b", options)
    assert tree(tmp_path) == {"tiny.onnx"}


def test_a_detector_is_no_segmenter(tmp_path: Path) -> None:
    model = write_network(tmp_path / "tiny.onnx", names=NAMES)
    with pytest.raises(BundleError, match=r"'segmentation' does not fit: expected outputs of .*; use --decoder yolov8"):
        import_network(model, tmp_path / "b", replace(OPTIONS, decoder="segmentation"))
    with pytest.raises(BundleError, match=r"\[1,7,21\]"):
        import_network(model, tmp_path / "b", replace(OPTIONS, decoder="segmentation", outputs={"road": "boxes"}))
    assert tree(tmp_path) == {"tiny.onnx"}


def test_the_probe_shows_where_each_group_lies(tmp_path: Path) -> None:
    bundle = tiny_networks.make_segmenter_bundle(tmp_path / "b")
    drive = tmp_path / "drive"
    drive.mkdir()
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :16, 1] = 200  # a green, dark quarter on the left
    picture[:, 16:, 0] = picture[:, 16:, 1] = 255  # the rest as blue as green, and light
    for number in range(3):
        cv2.imwrite(str(drive / f"{number}.png"), picture)
    with open_source(str(drive)) as source:
        findings = probe(bundle, source)
    colour, shade = findings[0].groups
    assert (colour.group, colour.output, shade.group) == ("colour", "colour", "shade")
    assert colour.shares == pytest.approx({"blue": 0.75, "green": 0.25, "red": 0})
    assert shade.shares == pytest.approx({"light": 0.75, "dark": 0.25})
    assert colour.sketch == shade.sketch == ("########" + 24 * ".",) * 18
    assert advice(findings) is None


def test_a_thin_line_is_seen_in_a_sketch(tmp_path: Path) -> None:
    bundle = tiny_networks.make_segmenter_bundle(tmp_path / "b", size=(256, 36))
    (tmp_path / "drive").mkdir()
    picture = np.full((36, 256, 3), 255, np.uint8)
    picture[:, 101] = 0
    cv2.imwrite(str(tmp_path / "drive" / "0.png"), picture)
    with open_source(str(tmp_path / "drive")) as source:
        _, shade = probe(bundle, source)[0].groups
    assert shade.sketch == ("." * 25 + "#" + "." * 38,) * 18


def test_the_probe_says_that_a_group_is_one_class_everywhere(tmp_path: Path) -> None:
    bundle = tiny_networks.make_segmenter_bundle(tmp_path / "b")
    (tmp_path / "drive").mkdir()
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :, 2] = 255
    cv2.imwrite(str(tmp_path / "drive" / "0.png"), picture)
    with open_source(str(tmp_path / "drive")) as source:
        hint = advice(probe(bundle, source))
    assert hint is not None
    assert hint.startswith("shade is dark everywhere: check --colour")


def test_a_probe_without_a_frame_is_refused(tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "b")
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / "0.png").write_bytes(b"")
    with open_source(str(tmp_path / "drive")) as source, pytest.raises(BundleError, match="gives no frame to probe"):
        probe(bundle, source)
