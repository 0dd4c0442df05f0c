"""What a builder says of layers, read: TensorRT's inspector, and its log of what runs on a DLA."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from int8_networks import network

from engines.plans.dla import DlaBuild, names, told
from engines.plans.layer_report import inspector_table, layer_report
from engines.plans.network_file import name_nodes

# As TensorRT 8.6 to 10 log it at INFO (NVIDIA-AI-IOT/jetson_dla_tutorial shows the form).
ON_DLA = [
    "---------- Layers Running on DLA ----------",
    "[DlaLayer] {ForeignNode[first...first/relu]}",
    "---------- Layers Running on GPU ----------",
    "[GpuLayer] SHUFFLE: reshape_before_second",
    "[GpuLayer] CONVOLUTION: second + second/relu",
]


def layer(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"Name": name, "Inputs": [{"Name": "x", **more, "Format/Datatype": kind}]}


def inspected(*layers: dict[str, Any] | str) -> list[tuple[str, str]]:
    return inspector_table(json.dumps({"Layers": list(layers)}))


def precisions(rows: list[tuple[str, str]], dla: DlaBuild | None = None) -> dict[str, str]:
    return {one.name: one.runs_in for one in layer_report(network(), rows, dla).layers}


def test_the_inspectors_first_input_says_the_precision() -> None:
    rows = inspected(
        layer("first + first/relu", "Four wide channel vectorized row major Int8 format"),
        layer("second + PWN(second/relu)", "Row major linear FP32"),
    )
    assert precisions(rows) == {"first": "int8", "second": "float"}


def test_a_layers_name_inside_anothers_is_not_it() -> None:
    rows = inspected(layer("first/again", "Int8"), layer("the.second", "Int8"), layer("first", "FP16"))
    assert precisions(rows) == {"first": "float", "second": "unknown"}


def test_what_a_foreign_node_reads_says_nothing_of_what_is_in_it() -> None:
    inside = layer("{ForeignNode[first...second]}", "Int8")
    inside["Metadata"] = "[ONNX Layer: first]\x1e[ONNX Layer: second]"
    assert precisions(inspected(inside)) == {"first": "unknown", "second": "unknown"}


def test_names_alone_tell_nothing() -> None:
    assert inspected("first", "second") == []
    assert precisions([]) == {"first": "unknown", "second": "unknown"}


def test_a_convolution_that_the_log_does_not_send_to_the_gpu_is_on_the_dla() -> None:
    rows = inspected(layer("second + second/relu", "Row major Int8"))
    report = layer_report(network(), rows, told(ON_DLA, ["first", "second"]))
    assert [(one.name, one.on_dla, one.runs_in) for one in report.layers] == [
        ("first", True, "int8"),
        ("second", False, "int8"),
    ]
    assert (report.on_dla, report.dla_share) == (1, 0.5)
    assert report.facts()["on_dla"] == 1
    assert report.facts()["dla_share"] == 0.5


@pytest.mark.parametrize(
    ("rows", "on_dla"),
    [
        (["[DlaLayer] {ForeignNode[first...second]}"], ["first", "second"]),
        (["[DlaLayer] {ForeignNode[first]}", "[DlaLayer] {ForeignNode[second]}"], ["first", "second"]),
        (["[DlaLayer] {first,second}"], ["first", "second"]),
        (["[GpuLayer] MYELIN: {ForeignNode[first...second]}"], []),
        (["[GpuLayer] second + PWN(second_relu)", "[DlaLayer] {ForeignNode[first...second_relu]}"], ["first"]),
        (
            ["[GpuLayer] COPY: to {ForeignNode[first...second]}", "[DlaLayer] {ForeignNode[first...second]}"],
            ["first", "second"],
        ),
        (
            ["[GpuLayer] SHUFFLE: between", "[DlaLayer] {ForeignNode[(Unnamed Layer* 7) [Shuffle]...second]}"],
            ["second"],
        ),
        ([], []),
    ],
)
def test_only_what_is_surely_on_the_dla_counts(rows: list[str], on_dla: list[str]) -> None:
    proto = network()
    name_nodes(proto)
    report = layer_report(proto, [], told([ON_DLA[0], *rows], ["first", "second"]))
    assert [one.name for one in report.layers if one.on_dla] == on_dla


def test_what_lies_between_two_ends_is_in_the_piece() -> None:
    order = ["a", "b", "c", "d", "e"]
    assert [layer for layer in order if names("{ForeignNode[b...d]}", layer, order)] == ["b", "c", "d"]
    assert [layer for layer in order if names("{ForeignNode[x...d]}", layer, order)] == ["d"]
    assert [layer for layer in order if names("{ForeignNode[/m.0/c...d]}", layer, order)] == ["d"]


@pytest.mark.parametrize(
    "refused",
    ["second", "second + PWN(second_relu)", "{ForeignNode[second]}", "{ForeignNode[first_relu...second_relu]}"],
)
def test_a_fused_layer_that_was_not_made_in_int8_is_not_counted(refused: str) -> None:
    proto = network()
    name_nodes(proto)
    said = [ON_DLA[0], "[DlaLayer] {ForeignNode[first...second_relu]}"]
    said.append(f"No implementation of layer {refused} obeys the requested constraints in strict mode.")
    report = layer_report(proto, [], told(said, ["first", "second"]))
    assert [(one.name, one.runs_in) for one in report.layers] == [("first", "int8"), ("second", "float")]


def test_a_log_that_tells_of_no_dla_puts_nothing_there() -> None:
    report = layer_report(network(), [], told(["Some tactics do not have sufficient workspace memory"], ["first"]))
    assert report.on_dla == 0
    assert not report.is_for_dla
    assert "on_dla" not in report.facts()


def test_a_convolution_on_the_dla_is_in_int8_where_that_was_asked_for_and_obeyed() -> None:
    everything = [ON_DLA[0], "[DlaLayer] {ForeignNode[first...second]}"]
    whole = layer_report(network(), [], told(everything, ["first", "second"]))
    assert [one.runs_in for one in whole.layers] == ["int8", "int8"]
    assert whole.surprises == []
    part = layer_report(network(), [], told(everything, ["first"]))
    assert [(one.name, one.runs_in) for one in part.surprises] == [("second", "float")]
    assert part.surprises[0].why == ("no range of what it takes or gives follows from the scales",)
    warning = (
        "No implementation of layer second obeys the requested constraints in strict mode. No conforming "
        "implementation was found i.e. requested layer computation precision and output precision types are ignored"
    )
    refused = layer_report(network(), [], told([*everything, warning], ["first", "second"]))
    assert refused.surprises[0].why == ("this builder has no INT8 kernel for it on this DLA",)


@pytest.mark.parametrize("fault", ["unsigned", "weight-axis"])
def test_what_is_wrong_in_the_graph_is_said_of_a_dla_too(fault: str) -> None:
    report = layer_report(network(fault), [], told([ON_DLA[0], "[DlaLayer] {ForeignNode[first...second]}"], ["first"]))
    assert [one.name for one in report.surprises] == ["second"]


def test_a_gpus_plan_says_nothing_of_a_dla() -> None:
    facts = layer_report(network(), inspected(layer("first", "Int8"), layer("second", "Int8"))).facts()
    assert SimpleNamespace(**facts).in_int8 == 2
    assert "on_dla" not in facts
