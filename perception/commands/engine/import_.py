"""`perception engine import`: a bundle of an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perception.commands.arguments import one_of, parse_size, split_pair

if TYPE_CHECKING:
    from engines.bundle import Bundle

Vector = tuple[float, float, float]


def import_(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The network to import.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the new bundle.")],
    decoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="classification, nanodet, segmentation, yolov8 or yolox; default: recognised."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Class names, one a line (of several groups one after the other), or `coco`; "
            "default: the model's metadata, or for groups of two classes `background` and the role.",
        ),
    ] = None,
    colour: Annotated[str | None, typer.Option(metavar="BGR|RGB", help="Order of the input's channels.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="A pixel x of 0..255 goes in as (x * scale - mean) / std.")
    ] = None,
    mean: Annotated[Vector | None, typer.Option(help="In the order of the channels.")] = None,
    std: Annotated[Vector | None, typer.Option(help="In the order of the channels.")] = None,
    fit: Annotated[
        str | None, typer.Option(metavar="FIT", help="letterbox-top-left, letterbox-centred or stretch.")
    ] = None,
    pad: Annotated[int | None, typer.Option(min=0, max=255, help="Grey around a letterboxed image.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="For a network whose input size is free.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Images that go in at once at most, for a network whose batch axis is free; "
            "default: 8 for a classifier, which may look at a frame's detections, else 1.",
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=NAME",
            help="A decoder's role and the output that plays it; may be given again. "
            "For segmentation a role is the name of a group of classes, for example drivable or lanes.",
        ),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Run it on this video or folder and say, or sketch, what it finds."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle of that name.")] = False,
) -> None:
    """Make a bundle of an ONNX file. What is not said is taken from the decoder's family.

    The finished bundle is run once before it takes its name: it is there and works, or it is not there.
    """
    from engines.importing import ImportOptions, import_network
    from sensors.opening import open_source

    options = ImportOptions(
        decoder=decoder,
        labels=labels,
        colour=one_of("--colour", colour, ("BGR", "RGB")),
        mean=mean,
        std=std,
        scale=scale,
        fit=_fit(fit),
        pad=pad,
        size=parse_size(size),
        batch=batch,
        outputs=_roles(outputs) if outputs else None,
    )
    if probe:
        open_source(probe).close()  # a wrong name is said before anything is written
    bundle = import_network(model, output, options, replace_existing=force)
    settings = bundle.settings
    at_once = f", {settings.input.batch} images at once" if settings.input.batch > 1 else ""
    print(
        f"{output}: {settings.decoder}, {settings.input.width}x{settings.input.height} {settings.input.colour}, "
        f"{settings.fit.value}, {len(bundle.labels)} classes{at_once}"
    )
    if probe:
        _probe(bundle, probe)
    unnamed = [role for role in settings.outputs if role.startswith("group_")]
    if settings.decoder == "segmentation" and not outputs and unnamed:
        roles = " ".join(f"--outputs NAME={output}" for output in settings.outputs.values())
        where = "the sketches" if probe else "a sketch of each (--probe SOURCE)"
        print(f"  its groups have no names yet; what they are, {where} may show. Name them: {roles} --force")


def _probe(bundle: Bundle, uri: str) -> None:
    from engines.probe import advice, probe
    from sensors.opening import open_source

    with open_source(uri) as source:
        findings = probe(bundle, source)
    for seen in findings[0].groups:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in list(seen.shares.items())[:6])
        print(f"  {seen.group}, from the output {seen.output!r}: {shares}")
        print("\n".join(f"    {line}" for line in seen.sketch))
    things = "frames" if bundle.settings.decoder == "classification" else "boxes"
    for finding in findings:
        if finding.groups:
            continue
        classes = ", ".join(f"{name} {count}" for name, count in list(finding.classes.items())[:6])
        print(f"  {finding.how:<14} {finding.boxes:>4} {things}, mean score {finding.mean_score:.2f}  {classes}")
    if hint := advice(findings):
        print(f"  {hint}")


def _fit(text: str | None) -> Any:
    from engines.letterbox import Fit

    name = one_of("--fit", text, tuple(fit.value for fit in Fit))
    return None if name is None else Fit(name)


def _roles(pairs: list[str]) -> dict[str, str]:
    from perception.errors import UsageError

    roles: dict[str, str] = {}
    for pair in pairs:
        role, name = split_pair("--outputs", pair, "ROLE=NAME", "predictions=output0")
        if role in roles:
            raise UsageError(f"--outputs {pair}", f"names the role {role} again", "give each output a role of its own")
        roles[role] = name
    return roles
