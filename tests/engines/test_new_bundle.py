"""A bundle takes its place whole, or what was there stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_networks

from engines.bundle import LABELS, MODEL, SETTINGS, Bundle, load_bundle
from engines.errors import BundleError
from engines.new_bundle import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_networks.make_bundle(tmp_path / "tiny")


def files_of(bundle: Bundle, **changed: bytes) -> dict[str, bytes]:
    return {name: (bundle.folder / name).read_bytes() for name in (SETTINGS, LABELS, MODEL)} | changed


def test_a_bundle_is_replaced_by_another_and_nothing_is_left_beside_it(bundle: Bundle) -> None:
    files = files_of(bundle, **{"CARD.md": b"new"})
    write_bundle(bundle.folder, files, lambda _tried: None, replace_existing=True)
    assert (bundle.folder / "CARD.md").read_bytes() == b"new"
    assert sorted(path.name for path in bundle.folder.parent.iterdir()) == ["tiny", "tiny.onnx"]


def test_the_bundle_that_was_there_is_there_still_where_the_new_one_cannot_take_its_place(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fails_for_drafts(path: Path, target: Path) -> Path:
        if (path / "CARD.md").is_file():
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails_for_drafts)
    files = files_of(bundle, **{"CARD.md": b"new"})
    with pytest.raises(BundleError, match="cannot be written"):
        write_bundle(bundle.folder, files, lambda _tried: None, replace_existing=True)
    assert load_bundle(bundle.folder).sha256 == bundle.sha256
    assert sorted(path.name for path in bundle.folder.parent.iterdir()) == ["tiny", "tiny.onnx"]
