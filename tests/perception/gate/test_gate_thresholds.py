"""The file of thresholds: printed whole, read back, and wrong keys named."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception.errors import UsageError
from perception.gate.thresholds import GateThresholds, read_thresholds, to_toml


def test_every_key_is_explained() -> None:
    assert all(field.description for field in GateThresholds.model_fields.values())


def test_what_is_printed_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    other = GateThresholds(min_recall=0.99, same_postprocessing=False, recall_by_class={"a person": 0.95, "b": 1})
    for thresholds in (GateThresholds(), other):
        path.write_text(to_toml(thresholds))
        assert read_thresholds(path) == thresholds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_recal = 0.9", "min_recal: is no key here; did you mean 'min_recall'?"),
        ("min_recall = 1.5", "min_recall: input should be less than or equal to 1"),
        ("max_latency_p50 = nan", "max_latency_p50: input should be"),
        ("min_recall =", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_thresholds(path)
    assert str(raised.value).startswith(f"{path}: {message}")
    assert "--show-thresholds" in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read"):
        read_thresholds(tmp_path / "none.toml")
