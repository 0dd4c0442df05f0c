"""`perception drive view`: what each sensor of a drive saw."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    drive: Annotated[str, typer.Argument(metavar="DRIVE", help="A recorded drive of any kind that is read.")],
    sheet: Annotated[Path, typer.Option(metavar="OUT.png", help="Write a contact sheet here.")],
    moments: Annotated[int, typer.Option(min=1, max=50, help="Moments of the drive, one a row.")] = 4,
) -> None:
    """Draw a contact sheet: every camera's picture with the lidar's and radar's points in it, and scans from above."""
    import cv2

    from perception.drives.contact_sheet import contact_sheet
    from perception.errors import UsageError
    from perception.whole_file import whole_file

    if sheet.suffix.lower() not in (".png", ".jpg"):
        raise UsageError(str(sheet), "is no .png or .jpg file", "give --sheet a name that ends so")
    image = contact_sheet(drive, moments)
    with whole_file(sheet) as draft:
        draft.write_bytes(cv2.imencode(sheet.suffix.lower(), image)[1].tobytes())
    print(f"wrote {sheet}: {image.shape[1]}x{image.shape[0]}")
