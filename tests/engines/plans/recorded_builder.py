"""Our build against real bindings whose factories give null: only what this version's classes have can be called.

Run as a program with the bindings on the path. Builder, network, config and parser are objects that take exactly the
attributes of the version's own classes; any other raises. Prints the flags that were set, or what failed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from engines.plans import building
from engines.plans.building import BuildSettings, Shapes, build_plan
from engines.plans.dla import wants_implicit_scales
from engines.tensorrt_library import open_library


class Only:
    """Answers what `real`, a class of the bindings, has, and nothing else."""

    def __init__(self, real: type, **answers: Any) -> None:
        object.__setattr__(self, "_real", real)
        object.__setattr__(self, "_answers", answers)
        object.__setattr__(self, "calls", [])

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self._real, name):
            raise AttributeError(f"{self._real.__name__}.{name} is not in this version")
        if name in self._answers:
            return self._answers[name]
        return lambda *words: self.calls.append((name, words))

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(self._real, name):
            raise AttributeError(f"{self._real.__name__}.{name} is not in this version")
        self._answers[name] = value


def main(int8: bool, dla: bool) -> None:
    library = open_library("tensorrt")
    trt = library.trt
    cache = Only(trt.ITimingCache, serialize=lambda: b"timed")
    config = Only(trt.IBuilderConfig, create_timing_cache=lambda _content: cache)
    tensor = Only(trt.ITensor, shape=(-1, 3, 32, 32), name="image")
    between, last = Only(trt.ITensor, name="between"), Only(trt.ITensor, name="last")
    layers = [
        Only(
            trt.ILayer,
            name=name,
            type=kind,
            num_outputs=1,
            get_input=lambda _index, taken=taken: taken,
            get_output=lambda _index, made=made: made,
        )
        for name, kind, taken, made in (
            ("first", trt.LayerType.CONVOLUTION, tensor, between),
            ("moved", trt.LayerType.SHUFFLE, between, between),
            ("grown", trt.LayerType.DECONVOLUTION, between, between),
            ("head", trt.LayerType.CONVOLUTION, between, last),
        )
    ]
    network = Only(
        trt.INetworkDefinition,
        num_outputs=1,
        num_inputs=1,
        get_input=lambda _index: tensor,
        num_layers=len(layers),
        get_layer=lambda index: layers[index],
    )
    bits: list[int] = []
    builder = Only(
        trt.Builder,
        create_network=lambda flags: bits.append(flags) or network,
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: profile,
        build_serialized_network=lambda _network, _config: b"plan",
        num_DLA_cores=2,
    )
    parser = Only(trt.OnnxParser, parse=lambda _model: True)
    images = Shapes((1, 3, 32, 32), (4, 3, 32, 32), (8, 3, 32, 32))
    profile = Only(trt.IOptimizationProfile)

    class Bindings:
        """The version's module, but for the two factories that its empty libraries cannot fulfil."""

        Builder = staticmethod(lambda _log: builder)
        OnnxParser = staticmethod(lambda _network, _log: parser)

        def __getattr__(self, name: str) -> Any:
            return getattr(trt, name)

    building._inspected = lambda *_words: []  # it wants a GPU
    seen = type(library)("tensorrt", Bindings())
    half = not int8 and hasattr(trt.BuilderFlag, "FP16")
    scales = {"image": 0.1, "between": 0.2} if dla and int8 and wants_implicit_scales(seen) else None
    settings = BuildSettings(int8, half, 2**30, 1 if dla else None, scales)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "cache"
        built = build_plan(seen, b"", {"image": images}, settings, kept, lambda _line: None)
        assert kept.read_bytes() == b"timed"
    names = trt.NetworkDefinitionCreationFlag.__members__
    print(
        json.dumps(
            {
                "version": library.version,
                "flags": list(built.flags),
                "network": sorted(name for name, flag in names.items() if bits[0] >> int(flag) & 1),
                "monitor": "progress_monitor" in config._answers,
                "calls": sorted({name for name, _ in config.calls}),
                "parser": [name for name, _ in parser.calls],
                "profile": [words for name, words in profile.calls if name == "set_shape"],
                "ranges": {t._answers["name"]: t.calls[0][1] for t in (tensor, between, last) if t.calls},
                "precisions": {
                    layer._answers["name"]: str(layer._answers["precision"].name).lower()
                    for layer in layers
                    if "precision" in layer._answers
                },
                "in_int8": None if built.dla is None else list(built.dla.asked_in_int8),
            }
        )
    )


if __name__ == "__main__":
    main("int8" in sys.argv, "dla" in sys.argv)
