"""Networks of a few kilobytes that see: what they put out is a plain function of the image, known here too.

Every one is a detector of the yolov8 family. Its first box (class 0, 1 or 2) scores the mean of the blue, green or
red channel, and is the wider the more blue there is; its second box is always there. So an answer says which image
it belongs to, and an image that came into the wrong place shows.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.bundle import Bundle
from engines.decoders.grids import total_cells
from engines.importing import ImportOptions, import_network
from engines.letterbox import Fit

SIDE = 32  # pixels of the input, both ways
LABELS = ("blue", "green", "red")
OUTPUT = "boxes"
WHITE = 0.95  # of full scale: a mean of blue above it is what `on_white` means
BOX, STEADY_BOX = (8.0, 12.0), (22.0, 20.0, 12.0, 16.0)  # centre of the first; centre and size of the second
BOX_SIZE, STEADY_SCORE = (8.0, 10.0), 0.7

OPTIONS = ImportOptions(decoder="yolov8", colour="BGR", scale=1 / 255)  # as the networks here are meant

OnWhite = Literal["answers", "fails", "nan"]
Convolutions = Literal["", "plain", "fragile"]
LARGE = 1000.0  # what a fragile network's fourth channel is of the first: a step of INT8 that fits it hides the others


def weights(cells: int, classes: int = len(LABELS)) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight (3, rows * cells) and bias (rows * cells,) from the channels' means to the output, rows 4 + classes."""
    weight = np.zeros((3, 4 + classes, cells), np.float32)
    bias = np.zeros((4 + classes, cells), np.float32)
    bias[:4, 0] = (*BOX, *BOX_SIZE)
    weight[0, 2, 0] = 8  # wider with blue
    for channel in range(3):
        weight[channel, 4 + channel, 0] = 1
    bias[:4, 1] = STEADY_BOX
    bias[4 + 2, 1] = STEADY_SCORE
    return weight.reshape(3, -1), bias.reshape(-1)


def answer(tensor: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """What a tiny network puts out for an input tensor (3, height, width), (7, cells), in plain numpy."""
    weight, bias = weights(cells)
    means = tensor.reshape(3, -1).mean(axis=1)
    return (means @ weight + bias).reshape(-1, cells).astype(np.float32)


def write_network(
    path: Path,
    *,
    size: tuple[int, int] = (SIDE, SIDE),
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    free_size: bool = False,
    free_batch: bool = False,
    on_white: OnWhite = "answers",
    always_nan: bool = False,
    second_output: bool = False,
    work: int = 0,
    names: str | None = None,
    opset: int = 13,
    input_type: int = TensorProto.FLOAT,
    inputs: int = 1,
    classes: int = len(LABELS),
    convolutions: Convolutions = "",
) -> Path:
    """Write one. `size` is (width, height); `work` is the side of an image that it folds for nothing, to be slow;
    `names` goes into the metadata as exporters write class names; of more `classes` it finds only the first three.
    `convolutions` puts two before the rest that change nothing; of `fragile` ones the second, `conv2`, sees nothing
    with one scale for all of its input, since a channel that nobody needs is far larger than the others.
    """
    width, height = size
    cells = total_cells(width, height)
    weight, bias = weights(cells, classes)
    if always_nan:
        bias[-1] = np.nan  # of a score
    constants = {
        "weight": weight,
        "bias": bias,
        "shape": np.array([-1 if free_batch else 1, 4 + classes, cells], np.int64),
    }
    nodes: list[Any] = []
    rows: list[Any] = ["height", "width"] if free_size else [height, width]
    image = "image"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
        image = "planes"
    if convolutions:
        channels = 4 if convolutions == "fragile" else 3
        widened = np.eye(channels, 3, dtype=np.float32)
        widened[3:, 0] = LARGE
        constants |= {"w1": widened[..., None, None], "w2": np.eye(3, channels, dtype=np.float32)[..., None, None]}
        nodes += [
            helper.make_node("Conv", [image, "w1"], ["conv1"]),
            helper.make_node("Relu", ["conv1"], ["relu1"]),
            helper.make_node("Conv", ["relu1", "w2"], ["conv2"]),
        ]
        image = "conv2"
    nodes += [
        helper.make_node("GlobalAveragePool", [image], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["flat"]),
    ]
    flat = "flat"
    if on_white != "answers":
        flat = "judged"
        constants |= {"blue": np.array([0], np.int64), "white": np.float32([WHITE])}
        nodes.append(helper.make_node("Gather", ["means", "blue"], ["mean_blue"], axis=1))
    if on_white == "fails":  # one value goes missing, so that the rest cannot be added to as many as there should be
        constants |= {
            "nothing": np.linspace(0, 1e-7, bias.size, dtype=np.float32)[None],  # zeros would be optimised away
            "count": np.array([bias.size], np.int64),
            "first": np.array([0], np.int64),
            "along": np.array([1], np.int64),
        }
        nodes += [
            helper.make_node("Div", ["mean_blue", "white"], ["ratio"]),
            helper.make_node("Floor", ["ratio"], ["whole"]),
            helper.make_node("Cast", ["whole"], ["missing"], to=TensorProto.INT64),
            helper.make_node("Reshape", ["missing", "along"], ["missing_1d"]),
            helper.make_node("Sub", ["count", "missing_1d"], ["end"]),
            helper.make_node("Slice", ["flat", "first", "end", "along"], ["rest"]),
            helper.make_node("Add", ["rest", "nothing"], ["judged"]),
        ]
    elif on_white == "nan":  # the root of a negative number
        nodes += [
            helper.make_node("Sub", ["white", "mean_blue"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Sub", ["root", "root"], ["nothing"]),
            helper.make_node("Add", ["flat", "nothing"], ["judged"]),
        ]
    if work:
        constants |= {
            "no_region": np.float32([]),
            "no_scales": np.float32([]),
            "large": np.array([1, 3, work, work], np.int64),
            "kernel": np.full((32, 3, 5, 5), 1e-3, np.float32),
            "zero": np.float32([0]),
        }
        nodes += [
            helper.make_node("Resize", [image, "no_region", "no_scales", "large"], ["enlarged"], mode="linear"),
            helper.make_node("Conv", ["enlarged", "kernel"], ["folded"]),
            helper.make_node("ReduceMax", ["folded"], ["most"], keepdims=0),
            helper.make_node("Mul", ["most", "zero"], ["worthless"]),
            helper.make_node("Add", [flat, "worthless"], ["worked"]),
        ]
        flat = "worked"
    nodes.append(helper.make_node("Reshape", [flat, "shape"], [OUTPUT]))
    batch: Any = "images" if free_batch else 1
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, 4 + classes, cells])]
    if second_output:
        outputs.append(helper.make_tensor_value_info("means", TensorProto.FLOAT, [1, 3]))
    shape = [batch, 3, *rows] if layout == "NCHW" else [batch, *rows, 3]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", input_type, shape)]
        + [helper.make_tensor_value_info(f"more{n}", TensorProto.FLOAT, [1]) for n in range(1, inputs)],
        outputs,
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if names is not None:
        helper.set_model_props(model, {"names": names})
    onnx.save(model, str(path))
    return path


SEGMENTER_LABELS = (*LABELS, "light", "dark")


def write_segmenter(
    path: Path,
    *,
    size: tuple[int, int] = (SIDE, SIDE),
    outputs: tuple[str, str] = ("colour", "shade"),
    stride: int = 1,
    last: Literal["", "Sigmoid", "ArgMax"] = "",
    on_white: Literal["answers", "nan"] = "answers",
) -> Path:
    """Write one of per-pixel classes: which of blue, green, red is the strongest (3 channels), and whether the three
    together are less than half of full scale (1 logit). `last` is done to the second. Pixels go in BGR, 0 to 1.
    """
    width, height = size
    constants = {
        "as_it_is": np.eye(3, dtype=np.float32)[..., None, None],
        "dimmer": np.full((1, 3, 1, 1), -1 / 3, np.float32),
        "half": np.float32([0.5]),
        "white": np.float32([WHITE]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "as_it_is"], ["colours"], strides=[stride, stride]),
        helper.make_node("Conv", ["image", "dimmer", "half"], ["dark"], strides=[stride, stride]),
    ]
    if on_white == "nan":
        nodes += [
            helper.make_node("Sub", ["white", "colours"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Sub", ["root", "root"], ["nothing"]),
            helper.make_node("Add", ["colours", "nothing"], [outputs[0]]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["colours"], [outputs[0]]))
    arguments = {"axis": 1} if last == "ArgMax" else {}
    nodes.append(helper.make_node(last or "Identity", ["dark"], [outputs[1]], **arguments))
    rows, columns = -(-height // stride), -(-width // stride)
    second_type = TensorProto.INT64 if last == "ArgMax" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])],
        [
            helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, [1, 3, rows, columns]),
            helper.make_tensor_value_info(outputs[1], second_type, [1, 1, rows, columns]),
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def make_segmenter_bundle(folder: Path, **network: Any) -> Bundle:
    """Write one and import it as the bundle `folder`, with the groups `colour` and `dark`."""
    folder.parent.mkdir(exist_ok=True)
    model = write_segmenter(folder.with_suffix(".onnx"), **network)
    options = ImportOptions(
        labels=str(write_labels(folder.with_suffix(".txt"), SEGMENTER_LABELS)),
        colour="BGR",
        outputs={"colour": "colour", "shade": "shade"},
    )
    return import_network(model, folder, options)


def write_classifier(
    path: Path,
    *,
    size: tuple[int, int] = (SIDE, SIDE),
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    softmax: bool = False,
    free_batch: bool = False,
    on_white: Literal["answers", "nan"] = "answers",
    names: str | None = str(list(LABELS)),
) -> Path:
    """Write one that says which of blue, green, red a picture has most of: logits of ten times the channels' means, for
    pixels of 0 to 1. `softmax`: is taken inside.
    """
    width, height = size
    constants = {"ten": np.float32([10]), "white": np.float32([WHITE])}
    nodes = []
    image = "image"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
        image = "planes"
    nodes += [
        helper.make_node("GlobalAveragePool", [image], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Mul", ["means", "ten"], ["tenfold"]),
    ]
    last = "tenfold"
    if on_white == "nan":
        nodes += [
            helper.make_node("Sub", ["white", "means"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Sub", ["root", "root"], ["nothing"]),
            helper.make_node("Add", [last, "nothing"], ["judged"]),
        ]
        last = "judged"
    nodes.append(helper.make_node("Softmax" if softmax else "Identity", [last], ["classes"]))
    batch: Any = "batch" if free_batch else 1
    shape = [batch, 3, height, width] if layout == "NCHW" else [batch, height, width, 3]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if names is not None:
        helper.set_model_props(model, {"names": names})
    onnx.save(model, str(path))
    return path


def make_classifier_bundle(folder: Path, *, fit: Fit | None = None, **network: Any) -> Bundle:
    """Write one and import it as the bundle `folder`."""
    folder.parent.mkdir(exist_ok=True)
    model = write_classifier(folder.with_suffix(".onnx"), **network)
    return import_network(model, folder, ImportOptions(colour="BGR", fit=fit))


def write_labels(path: Path, labels: tuple[str, ...] = LABELS) -> Path:
    path.write_text("".join(f"{label}\n" for label in labels))
    return path


def make_bundle(folder: Path, *, batch: int = 1, **network: Any) -> Bundle:
    """Write a network and import it as the bundle `folder`. `batch`: images that go in at once at most."""
    model = write_network(folder.with_suffix(".onnx"), names=str(list(LABELS)), free_batch=batch > 1, **network)
    return import_network(model, folder, replace(OPTIONS, batch=batch))


def solid(blue: int, green: int = 0, red: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.uint8]:
    """An image of one colour; `size` is (width, height)."""
    return np.full((size[1], size[0], 3), (blue, green, red), np.uint8)


if __name__ == "__main__":  # python tests/tiny_networks.py OUT.onnx: one with the classes of `--labels coco`
    write_network(Path(sys.argv[1]), classes=80)
