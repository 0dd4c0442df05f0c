"""A trained network as ONNX: BatchNorm folded away, pixels of 0 to 255 in, what its decoder reads out.

A detector's layout is that of the `yolov8` decoder, (1, 4 + classes, N): boxes in pixels, then a score a class. Others
give their logits. Opset 17, plain operators only, so that TensorRT from 8.6 on, OpenVINO and ONNX Runtime run it all.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.bundle import Bundle
from engines.importing import ImportOptions, import_network
from engines.letterbox import Fit
from engines.training.networks.backbone import FULL_SCALE, Backbone
from engines.training.networks.blocks import ConvBnRelu, Residual
from engines.training.networks.detector import BOX, Detector, Grid, Head

OPSET = 17
INPUT, OUTPUT, CLASSES_OUTPUT = "image", "predictions", "classes"
FIT, CROP_FIT, PAD = Fit.LETTERBOX_TOP_LEFT, Fit.LETTERBOX_CENTRED, 114
AnyNetwork = TypeVar("AnyNetwork", bound=Backbone)


class Exported(nn.Module):
    """A detector that decodes its boxes: (1, 3, H, W) BGR 0 to 255 -> (1, 4 + classes, N)."""

    def __init__(self, detector: Detector, width: int, height: int) -> None:
        super().__init__()
        self.detector = fold(detector)
        grid = Grid.of(width, height)
        self.centres = nn.Buffer(grid.centres[None])
        self.strides = nn.Buffer(grid.strides[None, None])

    def forward(self, image: Tensor) -> Tensor:
        raw = self.detector(image)
        centres = raw[:, :2] * self.strides + self.centres
        sizes = torch.exp(raw[:, 2:BOX]) * self.strides
        return torch.cat([centres, sizes, torch.sigmoid(raw[:, BOX:])], dim=1)


class JoinedHead(nn.Module):
    """A head whose two last convolutions are one: as many layers fewer that an engine has to start and stay float."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.trunk = head.trunk
        self.channels = BOX + head.class_count
        self.predict = nn.Conv2d(head.box.in_channels, self.channels, 1)
        assert head.box.bias is not None
        assert head.classes.bias is not None
        with torch.no_grad():
            self.predict.weight.copy_(torch.cat([head.box.weight, head.classes.weight]))
            self.predict.bias = nn.Parameter(torch.cat([head.box.bias, head.classes.bias]))

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = self.predict(self.trunk(x))
        return predicted.reshape(-1, self.channels, int(x.shape[2]) * int(x.shape[3]))


def fold(network: AnyNetwork) -> AnyNetwork:
    """The same network in fewer layers: BatchNorm, the scaling of pixels and a head's two ends are joined to others."""
    folded = copy.deepcopy(network).float().cpu().eval()
    for block in folded.modules():
        if isinstance(block, ConvBnRelu | Residual) and isinstance(block.norm, nn.BatchNorm2d):
            block.conv = fuse_conv_bn_eval(block.conv, block.norm)
            block.norm = nn.Identity()
    with torch.no_grad():
        folded.stem.conv.weight /= FULL_SCALE
    folded.scale = 1.0
    if isinstance(folded, Detector):
        folded.heads = nn.ModuleList(JoinedHead(head) for head in folded.heads if isinstance(head, Head))
    return folded


def onnx_of(detector: Detector, labels: Sequence[str], width: int, height: int) -> Any:
    """A detector as an `onnx.ModelProto`, checked; its class names are in its metadata."""
    return _onnx_of(Exported(detector, width, height), OUTPUT, labels, width, height)


def _onnx_of(
    network: nn.Module, output: str, labels: Sequence[str], width: int, height: int, *, free_batch: bool = False
) -> Any:
    import onnx

    buffer: Any = io.BytesIO()  # which the exporter writes to, whatever its annotation says
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the exporter that needs no further package
        warnings.simplefilter("ignore", TracerWarning)  # the input's size is fixed, as it says
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, height, width),),
            buffer,
            input_names=[INPUT],
            output_names=[output],
            dynamic_axes={name: {0: "images"} for name in (INPUT, output)} if free_batch else None,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    own_constants(model.graph)
    onnx.helper.set_model_props(model, {"names": str(dict(enumerate(labels)))})
    onnx.checker.check_model(model, full_check=True)
    return model


def own_constants(graph: Any) -> int:
    """Give every user of a shared constant a copy of its own; the number of copies.

    The exporter keeps one of several equal constants and passes it on through Identity nodes. Quantisers then find
    convolutions whose bias is no constant, and leave them in float: INT8 was slower than float so.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    passed_on = [node for node in graph.node if node.op_type == "Identity" and node.input[0] in constants]
    for node in passed_on:
        twin = graph.initializer.add()
        twin.CopyFrom(constants[node.input[0]])
        twin.name = node.output[0]
        graph.node.remove(node)
    return len(passed_on)


def export_bundle(
    detector: Detector,
    labels: Sequence[str],
    size: tuple[int, int],
    folder: Path,
    *,
    trained: Mapping[str, Any] | None = None,
    replace_existing: bool = False,
) -> Bundle:
    """Write a detector as a bundle of this input size (width, height). Raises `BundleError`.

    `trained`: what its passport says of how it was trained.
    """
    options = ImportOptions(decoder="yolov8", fit=FIT, **_pixels(trained))
    return _write(onnx_of(detector, labels, *size), folder, options, replace_existing=replace_existing)


def export_class_bundle(
    network: Backbone,
    labels: Sequence[str],
    size: tuple[int, int],
    folder: Path,
    *,
    decoder: str,
    fit: Fit,
    trained: Mapping[str, Any] | None = None,
    replace_existing: bool = False,
) -> Bundle:
    """The same of a network whose logits are what its decoder reads: a classifier, a segmenter."""
    options = ImportOptions(decoder=decoder, fit=fit, **_pixels(trained))
    # A classifier may look at all of a frame's detections at once.
    model = _onnx_of(fold(network), CLASSES_OUTPUT, labels, *size, free_batch=decoder == "classification")
    return _write(model, folder, options, replace_existing=replace_existing)


def _pixels(trained: Mapping[str, Any] | None) -> dict[str, Any]:
    """What all bundles that are exported here have in common."""
    return {"colour": "BGR", "scale": 1.0, "pad": PAD, "history": {"trained": trained} if trained else None}


def _write(model: Any, folder: Path, options: ImportOptions, *, replace_existing: bool) -> Bundle:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        file.write_bytes(model.SerializeToString())
        return import_network(file, folder, options, replace_existing=replace_existing)
