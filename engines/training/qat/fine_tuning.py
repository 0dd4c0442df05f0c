"""A trained detector fine-tuned in INT8, from its checkpoint to the INT8 bundle, in the order in which it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.bundle import LABELS, MODEL, PASSPORT, SETTINGS, Bundle
from engines.errors import TrainingError
from engines.inference import decoder_for
from engines.new_bundle import check_place, write_bundle
from engines.passport import calibrated_passport, to_text
from engines.quantize.calibration import scales_sha256
from engines.quantize.float_network import FloatNetwork, prepare
from engines.quantize.placement import place
from engines.quantize.ranges import measure_ranges
from engines.runtime import open_engine
from engines.training import checkpoint
from engines.training.batches import Pictures, Share, batches
from engines.training.datasets import Mixture, letterboxed
from engines.training.device import choose_device
from engines.training.export import FIT
from engines.training.log import TrainingLog
from engines.training.optimisation import learning_rate, make_optimiser
from engines.training.qat.fake_quantised import FakeQuantised
from engines.training.report.judging import judge
from engines.training.settings import Machine, Settings
from engines.training.tasks import DETECTION
from engines.training.trainer import augmentation_of, check_finite, export_checkpoint

RATE = 1e-4  # where none is asked for: a twentieth of what a training begins with, so that what was learnt stays
METHOD = "mse"  # of the activations' scales, which stay as they are: the weights learn to do with them
_MEASURED_ON = 64  # pictures
_FOREVER = 1 << 40  # steps, of one that ends by the clock


def fine_tune(  # noqa: PLR0915  one piece, to be read from top to bottom
    start_from: Path,
    mixture: Mixture,
    folder: Path,
    settings: Settings,
    machine: Machine,
    *,
    validation: Mixture | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    shows_bar: bool = True,
    say: Callable[[str], None] = lambda _line: None,
) -> Bundle | None:
    """Fine-tune the network of a checkpoint with its values rounded, and write it as the INT8 bundle `folder`/bundle.

    None where it was stopped before its end: nothing but its curve is left then. `settings` say how long, in which
    batches and at which rate; network and size are the checkpoint's. `validation`: images on which the float network,
    INT8 by measured scales alone, and INT8 as fine-tuned are judged; `say` is told, and the passport keeps it.
    Raises `TrainingError`, `DatasetError`, `BundleError`; `DivergedError` when the loss is no number any more.
    """
    # --- from what: the network as its bundle has it, and where its values are rounded
    torch.set_num_threads(machine.threads)
    torch.manual_seed(settings.seed)
    device = choose_device(machine.device)
    state = checkpoint.load(start_from)
    if tuple(state["classes"]) != mixture.classes:
        known = ", ".join(state["classes"])
        raise TrainingError(str(start_from), f"has the classes {known}", f"the data has {', '.join(mixture.classes)}")
    check_place(folder / "bundle", replace_existing=False)
    size = state["recipe"]["width"], state["recipe"]["height"]
    with TemporaryDirectory() as scratch:
        in_float = export_checkpoint(start_from, Path(scratch) / f"{folder.resolve().name}-float")
        float_network = prepare(in_float.model)
        raw = raw_output(float_network)
        placement = place(float_network)
        rng = np.random.default_rng(settings.seed)
        chosen = rng.permutation(len(mixture))[:_MEASURED_ON].tolist()
        ranges = measure_ranges(
            float_network, placement.tensors, lambda: _inputs(mixture, chosen, size), machine.threads
        )
        scales = {tensor: ranges.scale(tensor, METHOD) for tensor in placement.tensors}
        network = FakeQuantised(float_network, placement, scales).to(device)
        before = network.file().SerializeToString()

        # --- loop: as in `trainer`, without what is for hours: no averages, no checkpoints, no mixed precision
        folder.mkdir(parents=True, exist_ok=True)
        steps = _FOREVER if settings.minutes else max(1, round(settings.epochs * len(mixture) / settings.batch))
        augmentation = augmentation_of(state)
        if not settings.flip:
            augmentation = replace(augmentation, flip=0)
        pictures = Pictures(mixture, size, augmentation, settings.seed, DETECTION.picture)
        stream = batches(
            pictures, Share(settings.batch), DETECTION.target, first_step=0, steps=steps, workers=machine.workers
        )
        optimiser = make_optimiser(settings.optimiser, network, settings.weight_decay)
        loss_of = DETECTION.loss(mixture, size, device)
        step, began = 0, time.monotonic()
        log = TrainingLog(folder, parts=DETECTION.parts, measure=DETECTION.measure, first_step=0, shows_bar=shows_bar)
        with log:
            while step < steps:
                if should_stop():
                    return None
                step_began = time.monotonic()
                progress = (step_began - began) / 60 / settings.minutes if settings.minutes else step / steps
                if progress >= 1:
                    break
                rate = learning_rate(
                    step, progress, full=settings.rate or RATE, warm_up_steps=min(settings.warm_up_steps, steps // 10)
                )
                for group in optimiser.param_groups:
                    group["lr"] = rate
                batch = next(stream)
                waited_s = time.monotonic() - step_began
                optimiser.zero_grad(set_to_none=True)
                found = network(batch.images.to(device).float(), raw)
                loss = loss_of(found, [target.to(device) for target in batch.targets])
                check_finite("loss", loss.total.detach(), step, batch, mixture, lambda: start_from)
                loss.total.backward()  # type: ignore[no-untyped-call]
                length = nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
                check_finite("gradient's length", length, step, batch, mixture, lambda: start_from)
                optimiser.step()
                now = time.monotonic()
                row = {
                    "step": step,
                    "loss": float(loss.total.detach()),
                    **{name: float(value) for name, value in loss.parts.items()},
                    "rate": rate,
                    "gradient": float(length),
                    "images_per_s": settings.batch / (now - step_began),
                    "waiting": waited_s / (now - step_began),
                }
                step += 1
                log.step(row, (now - began) / 60 / settings.minutes if settings.minutes else step / steps)

        # --- what comes of it
        model = network.file().SerializeToString()
        judged: dict[str, float] = {}
        if validation is not None:
            files = {"float32": in_float.model.read_bytes(), "int8_before": before, "int8": model}
            judged = _judged(in_float, files, validation, Path(scratch), machine.threads)
            say(
                f"AP50 on {len(validation)} images: float {judged['float32']:.3f}, INT8 {judged['int8_before']:.3f}, "
                f"fine-tuned {judged['int8']:.3f}"
            )
        facts = {
            "method": f"{METHOD}, then {step} steps of quantisation-aware training",
            "weight_bits": 8,
            "layers": len(float_network.layers),
            "left_in_float": [],
            "int8_share_of_multiplications": 1.0,
            "scales_sha256": scales_sha256(network.file()),
            "frames": {"sources": [part.name for part in mixture.parts], "calibrated_on": len(chosen)},
            "fine_tuned": {
                **settings.recipe,
                **{key: state["recipe"][key] for key in ("network", "width", "height")},
                "flip": augmentation.flip > 0,
            },
            "judged": {"onnxruntime": {"ap50": judged}} if judged else {},
        }
        return _written(in_float, model, folder / "bundle", facts)


def raw_output(network: FloatNetwork) -> str:
    """The tensor of a detector's file that its loss is of: boxes in cells and logits, before they are decoded.

    Raises `TrainingError` for another kind of network.
    """
    joined = network.producers.get(network.proto.graph.output[0].name)
    for kind, position in (("Concat", -1), ("Sigmoid", 0), ("Slice", 0)):
        if joined is None or joined.op_type != kind:
            raise TrainingError("--qat", "the network is no detector of ours", "give the checkpoint of a detector")
        name = joined.input[position]
        joined = network.producers.get(name)
    return str(name)


def _inputs(mixture: Mixture, chosen: list[int], size: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    """Pictures as they are at run time, (1, 3, H, W)."""
    for index in chosen:
        image = letterboxed(mixture.read(index), *size, FIT).image
        yield np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)


def _judged(
    in_float: Bundle, files: dict[str, bytes], validation: Mixture, scratch: Path, threads: int
) -> dict[str, float]:
    """AP50 of each file as a bundle of its own."""
    bundles = {name: _written(in_float, model, scratch / name, {}) for name, model in files.items()}
    return {name: round(judge(bundle, validation, threads=threads).ap50, 4) for name, bundle in bundles.items()}


def _written(in_float: Bundle, model: bytes, folder: Path, facts: dict[str, Any]) -> Bundle:
    files = {
        SETTINGS: (in_float.folder / SETTINGS).read_bytes(),
        LABELS: (in_float.folder / LABELS).read_bytes(),
        MODEL: model,
        PASSPORT: to_text(calibrated_passport(in_float, model, facts)).encode(),
    }

    def try_out(bundle: Bundle) -> None:
        with open_engine(bundle, "onnxruntime", slots=1, threads=1) as engine:
            decoder_for(bundle, engine)

    return write_bundle(folder, files, try_out)
