"""Where a training's data lies, noted in its folder so that its report can be made again without asking."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

REQUEST = "request.json"


@dataclass(frozen=True, slots=True)
class Request:
    """What was opened, as absolute paths; `validate`: the split that it is judged on, if any."""

    data: str
    root: str | None
    split: str
    validate: str | None

    @staticmethod
    def of(data: Path, root: Path | None, split: str, validate: str | None) -> Request:
        """Make one of what was asked for."""
        return Request(str(data.resolve()), None if root is None else str(root.resolve()), split, validate)

    def note(self, folder: Path) -> None:
        """Write it, unless it stands there."""
        if read_request(folder) != self:
            draft = folder / f".{REQUEST}.part"
            draft.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
            draft.replace(folder / REQUEST)


def read_request(folder: Path) -> Request | None:
    """What was noted in a training's folder; None where nothing that can be read was."""
    try:
        return Request(**json.loads((folder / REQUEST).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
