"""`perception engine inspect`: what a bundle is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from perception.commands.arguments import OR_DEFAULT


def inspect(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help=OR_DEFAULT)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print what a bundle is: input, outputs, classes, hash and passport."""
    from engines import default_bundle
    from engines.bundle import load_bundle
    from engines.passport import read_passport
    from engines.runtime.onnxruntime import open_session, signature_of

    loaded = load_bundle(bundle or default_bundle())
    settings = loaded.settings
    signature = signature_of(open_session(loaded.model, threads=1))
    facts: dict[str, Any] = {
        "bundle": loaded.name,
        "sha256": loaded.sha256,
        "model_bytes": loaded.model.stat().st_size,
        **settings.model_dump(mode="json"),
        "onnx_inputs": [str(tensor) for tensor in signature.inputs],
        "onnx_outputs": [str(tensor) for tensor in signature.outputs],
        "labels": list(loaded.labels),
        "passport": read_passport(loaded.folder),
    }
    if json_:
        print(json.dumps(facts))
        return
    imported = facts["passport"].get("imported", {})
    size = settings.input
    rows = {
        "bundle": f"{loaded.name}  ({facts['model_bytes'] / 1e6:.1f} MB)",
        "sha256": loaded.sha256,
        "decoder": settings.decoder,
        "input": f"{size.width}x{size.height} {size.layout} {size.colour}, {settings.fit.value}, pad {settings.pad}"
        + (f", up to {size.batch} images at once" if size.batch > 1 else ""),
        "pixels": f"(x * {settings.scale:g} - {list(settings.mean)}) / {list(settings.std)}",
        "roles": ", ".join(f"{role} = {name}" for role, name in settings.outputs.items()),
        "onnx in": "; ".join(facts["onnx_inputs"]),
        "onnx out": "; ".join(facts["onnx_outputs"]),
        "classes": f"{len(loaded.labels)}: {', '.join(loaded.labels[:12])}{', ...' if len(loaded.labels) > 12 else ''}",
        "imported": f"from {imported.get('from', '?')} at {imported.get('at', '?')} by {imported.get('by', '?')}",
    }
    if calibrated := facts["passport"].get("calibrated"):
        in_int8 = calibrated["layers"] - len(calibrated["left_in_float"])
        frames = calibrated["frames"]
        rows["int8"] = (
            f"of {calibrated['from']}, {in_int8} of {calibrated['layers']} layers, {calibrated['method']}, "
            f"by {frames['calibrated_on']} frames of {', '.join(frames['sources'])} at {calibrated['at']}"
        )
    for name, value in rows.items():
        print(f"{name:<9} {value}")
