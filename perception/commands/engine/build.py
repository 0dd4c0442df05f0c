"""`perception engine build`: a TensorRT plan of a bundle."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from perception.commands.signals import INTERRUPTED


def build(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="An INT8 bundle, or a float one for --precision fp16.")
    ],
    device: Annotated[str, typer.Option(metavar="cuda:N|dla:N", help="What the plan is for.")] = "cuda:0",
    flavor: Annotated[str, typer.Option(help="tensorrt, or tensorrt_rtx for RTX cards.")] = "tensorrt",
    precision: Annotated[str, typer.Option(help="int8 or fp16.")] = "int8",
    require_int8: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Refuse where a smaller share of convolutions is INT8.")
    ] = 0.0,
    require_dla: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Refuse where fewer convolutions are on the DLA.")
    ] = 0.0,
    workspace: Annotated[int, typer.Option(min=16, metavar="MIB", help="Memory that the builder may try with.")] = 1024,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: in the bundle's plans/.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a plan of that name.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the plan's passport.")] = False,
) -> None:
    """Make a TensorRT plan of a bundle, with a passport, and say in which precision each convolution runs.

    A plan is good for one version of TensorRT and one kind of GPU: build it where it will run. Ctrl-C leaves nothing.
    """
    from engines.bundle import load_bundle
    from engines.plans.build import build as make
    from engines.plans.preparing import PlanRequest
    from engines.tensorrt_library import FLAVORS
    from perception.errors import UsageError

    for option, value, allowed in (("--flavor", flavor, FLAVORS), ("--precision", precision, ("int8", "fp16"))):
        if value not in allowed:
            raise UsageError(f"{option} {value}", "is unknown", f"use one of {', '.join(allowed)}")
    if require_dla and not device.startswith("dla"):
        raise UsageError("--require-dla", f"is for plans of a DLA, and --device is {device}", "add --device dla:0")
    began_s = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began_s:5.0f} s  {line}", file=sys.stderr, flush=True)

    request = PlanRequest(flavor, device, precision, require_int8, require_dla, workspace)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        plan = make(load_bundle(bundle), request, output, replace_existing=force, say=say)
    except KeyboardInterrupt:
        print("cancelled; nothing was written", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)  # before TensorRT 10 nothing stops the builder's thread
    finally:
        signal.signal(signal.SIGTERM, before)
    if json_:
        print(json.dumps(plan.passport))
        return
    report, facts = plan.report, plan.passport
    print(
        f"{plan.folder}: {facts['flavor']} {facts['version']}, {facts['plan_bytes'] / 1e6:.1f} MB "
        f"in {facts['seconds']} s"
    )
    print(
        f"  {report.int8} of {len(report.layers)} convolutions in INT8 ({report.share:.1%}); "
        f"{report.intended} have scales"
    )
    if report.is_for_dla:
        on_gpu = [layer.name for layer in report.layers if not layer.on_dla]
        behind = f"; elsewhere, or not sure: {', '.join(on_gpu)}" if on_gpu else ""
        print(f"  {report.on_dla} of them on the DLA ({report.dla_share:.1%}){behind}")
    for layer in report.surprises:
        print(f"  {layer.name} runs in {layer.runs_in}: {'; '.join(layer.why) or 'the builder does not tell'}")
    in_float = [layer.name for layer in report.layers if not layer.has_scales]
    if in_float and report.intended:
        print(f"  float as in the bundle: {', '.join(in_float)}")
