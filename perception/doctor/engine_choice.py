"""The engines, and which one `--engine auto` takes for a bundle on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from perception.doctor.facts import Machine
from perception.doctor.finding import Finding, Group, Verdict
from perception.doctor.host import X86
from perception.doctor.kind import Kind

GROUP = Group("engines")
PLAN_LIBRARIES = ("tensorrt", "tensorrt_rtx")
SHOWN = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def look(machine: Machine, kind: Kind) -> Iterator[Finding]:
    """The engines on the CPU, then the choice."""
    found = {"onnxruntime": _onnxruntime(machine), "openvino": _openvino(machine)}
    yield from found.values()
    for name, is_int8 in (("INT8 bundles", True), ("float bundles", False)):
        engine = engine_for(machine, is_int8=is_int8)
        if found[engine].verdict is Verdict.PROBLEM:
            other = "" if engine == "onnxruntime" else "; until then `--engine onnxruntime`"
            yield GROUP.problem(name, f"would run on {SHOWN[engine]}", f"mend {SHOWN[engine]}, above{other}")
        else:
            yield GROUP.ok(name, f"run on {SHOWN[engine]} (`--engine {engine}`)")
    yield _plans(machine, kind)


def _plans(machine: Machine, kind: Kind) -> Finding:
    """Whether the GPU could take the networks over."""
    name = "plans"
    if kind.gpu is None or kind.is_too_old:
        return GROUP.not_needed(name, "JetPack is too old" if kind.is_too_old else "no GPU to run them on")
    libraries = [library for library in PLAN_LIBRARIES if (it := machine.module(library)) and not it.failure]
    if not libraries:
        return GROUP.missing(name, "the GPU is not used", "see TensorRT, above")
    flavor = "" if "tensorrt" in libraries else " --flavor tensorrt_rtx"
    return GROUP.ok(name, f"`perception engine build BUNDLE{flavor}` makes them; a bundle with a plan runs on the GPU")


def engine_for(machine: Machine, *, is_int8: bool) -> str:
    """What `engines.runtime.best_engine` takes there for a bundle without plans; a test holds the two together."""
    is_x86 = machine.architecture.lower() in X86
    return "openvino" if is_x86 and is_int8 and machine.module("openvino") else "onnxruntime"


def _onnxruntime(machine: Machine) -> Finding:
    name, again = "ONNX Runtime", "`pip install --force-reinstall onnxruntime`"
    module = machine.module("onnxruntime")
    if module is None or module.failure:
        return GROUP.problem(name, f"cannot be imported: {module.failure if module else 'not installed'}", again)
    return GROUP.ok(name, module.version)


def _openvino(machine: Machine) -> Finding:
    name, install = "OpenVINO", "`pip install 'edge-perception[openvino]'`"
    module = machine.module("openvino")
    if module is None:
        if machine.architecture.lower() not in X86:
            return GROUP.not_needed(name, "ONNX Runtime runs everything on this CPU")
        return GROUP.missing(name, "not installed: INT8 bundles run on ONNX Runtime, more slowly", install)
    if module.failure:
        return GROUP.problem(name, f"cannot be imported: {module.failure}", f"{install}, or remove it")
    version = module.version.partition("-")[0]  # behind it is the build's number
    if not module.details.get("onnx"):
        return GROUP.problem(name, f"{version}, without `onnx`: INT8 may be computed wrongly", install)
    return GROUP.ok(name, version)
