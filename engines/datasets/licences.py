"""Under which licences images are, as far as what lies beside them says."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_UP = 3  # folders above an image in which a licence is looked for: SPLIT/, images/, the dataset
_COLUMN = re.compile(r"\blicen[cs]e", re.IGNORECASE)
_SETTING = re.compile(r"^[ \t]*licen[cs]e[ \t]*:[ \t]*(\S.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_FILE = re.compile(r"(licen[cs]es?|copying)([.-].*)?", re.IGNORECASE)
_NAMED = re.compile(  # and how the MIT and BSD licences begin, which often stand without a name
    r"\b(CC[ -](BY|0)|Creative Commons|MIT|Apache|BSD|GPL|ODbL|public domain)\b|Permission is hereby granted, free of"
    r"|Redistribution and use in source",
    re.IGNORECASE,
)
_MOST_BYTES = 16 << 20  # of a table that is read


def licences_of(images: Sequence[Path]) -> list[str]:
    """What is said of these images' licences, one statement a place: a table by file, `data.yaml`, a licence's file.

    A table is a CSV file with a column `file` and one for the licence. Nothing is concluded: no statement means that
    none was found. Raises nothing.
    """
    said: list[str] = []
    folders = dict.fromkeys(image.parent for image in images)
    places = dict.fromkeys(place for folder in folders for place in (folder, *folder.parents[: _UP - 1]))
    names = Counter(image.name for image in images)
    for place in places:
        try:
            files = sorted(file for file in place.iterdir() if file.is_file())
        except OSError:  # gone, or may not be read
            continue
        for table in (file for file in files if file.suffix.lower() == ".csv"):
            said += _of_table(table, names)
        for settings in (file for file in files if re.fullmatch(r"data(set)?\.ya?ml", file.name)):
            said += [f"{found} ({settings.name})" for found in _SETTING.findall(_text(settings))]
        for file in files:
            if _FILE.fullmatch(file.name) and file.suffix.lower() != ".csv":
                said.append(f"{_of_text(_text(file))} ({file.name})")
    return list(dict.fromkeys(said))


def _of_table(table: Path, names: Counter[str]) -> list[str]:
    """How many of the images have which licence, by a table; nothing where it is of something else."""
    try:
        rows = list(csv.DictReader(_text(table).splitlines()))
    except csv.Error:
        return []
    column = next((name for name in (rows[0] if rows else ()) if name and _COLUMN.search(name)), None)
    if column is None or "file" not in rows[0]:
        return []
    counts: Counter[str] = Counter()
    for file, licence in {(row["file"], row[column] or "not stated") for row in rows}:
        counts[licence] += names[file]
    return [f"{licence}: {count} images ({table.name})" for licence, count in counts.most_common() if count]


def _of_text(text: str) -> str:
    """The line of a licence's file that says most: one that names a licence, else one with the word, else the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["empty"]
    named = [line for pattern in (_NAMED, _COLUMN) for line in lines if pattern.search(line)]
    return (named or lines)[0][:120]


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _MOST_BYTES:
            return ""
        return file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""
