"""`perception engine bench`: how fast the raw engine is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from perception.commands.arguments import OR_DEFAULT


def bench(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help=OR_DEFAULT)] = None,
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or tensorrt_rtx.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    in_flight: Annotated[int, typer.Option(min=1, max=16, help="Inferences at once; a run has 2, on a GPU 3.")] = 2,
    batch: Annotated[int, typer.Option(min=1, help="Images an inference, where the bundle takes several.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long each measurement takes.")] = 3.0,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the raw engine: inference alone, with its slots kept full; then the pipeline round it, without decoding.

    Of a plan the figures go into its passport, beside the GPU and its driver. On a GPU each query has its copies (H2D,
    D2H) and preprocessing in it, in trtexec's sense of the words.
    """
    from engines import default_bundle
    from engines.bench import measure
    from engines.bundle import load_bundle
    from engines.measured import note
    from engines.runtime import open_engine
    from perception.cores import running_on, split_cores
    from perception.errors import UsageError
    from perception.network import network_on
    from perception.pipeline_speed import measure_pipeline

    loaded = load_bundle(bundle or default_bundle())
    engine_cores, other_cores = split_cores(threads)  # as a replay has them
    with running_on(engine_cores):
        opened = open_engine(loaded, engine, slots=in_flight, threads=threads)
    with opened:
        if batch > opened.max_rows:
            what = f"is more than {loaded.name} takes on {opened.name}: {opened.max_rows}"
            remedy = "import it with a larger --batch, where its batch axis is free"
            if opened.device.startswith("dla"):
                remedy = "a DLA takes one: bench a plan of the GPU"
            raise UsageError(f"--batch {batch}", what, remedy)
        with running_on(other_cores):
            speed = measure(opened, seconds, batch=batch)
            network = network_on(loaded, opened)
            pipeline = measure_pipeline(network, in_flight, seconds) if batch == 1 else None
        name, device, notes = opened.name, opened.device, (*opened.notes, *speed.remarks)
    latency = {key: round(value, 4) for key, value in speed.latency_ms.items()}
    measured = {"fps": round(speed.fps, 3), "latency_ms": latency, "in_flight": speed.in_flight, "batch": speed.batch}
    plan = note(loaded, name, "speed", measured)
    if json_:
        facts = {
            "fps": round(speed.fps, 3),
            "latency_ms": latency,
            "engine": name,
            "device": device,
            "threads": threads,
            "in_flight": speed.in_flight,
            "batch": speed.batch,
            "gpu_ms": {
                stage: {key: round(value, 4) for key, value in of_stage.items()}
                for stage, of_stage in speed.gpu_ms.items()
            },
            "pipeline": pipeline.facts() if pipeline else None,
            "notes": notes,
        }
        print(json.dumps(facts))
        return
    how = f"{threads} thread{'s' if threads > 1 else ''}" if not speed.gpu_ms else "a GPU"
    each = f" of {speed.batch} images" if speed.batch > 1 else ""
    print(f"{name} on {device}, {how}, {speed.in_flight} in flight, {speed.inferences} inferences{each}")
    print(f"{speed.fps:.1f} fps, latency p50 {latency['p50']:.2f} ms, p99 {latency['p99']:.2f} ms")
    for stage, of_stage in speed.gpu_ms.items():
        figures = ", ".join(f"{key} {value:.3f}" for key, value in of_stage.items())
        print(f"  {stage:<10} {figures} ms")
    if pipeline:
        p50, p99 = (f"{value:.2f} ms" if value is not None else "-" for value in pipeline.added_latency_ms.values())
        print(
            f"pipeline: {pipeline.fps:.1f} fps, {pipeline.of_engine:.3f} of the engine's in turns, "
            f"{pipeline.cpu_ms_per_frame:.2f} ms of CPU a frame; "
            f"at {pipeline.rate:.0f} frames/s it adds p50 {p50}, p99 {p99}"
        )
    for one in notes:
        print(f"note: {one}")
    if plan is not None:
        print(f"noted in {plan}/passport.json")
