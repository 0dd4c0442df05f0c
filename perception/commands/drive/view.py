"""`perception drive view`: what each sensor of a drive saw."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    drive: Annotated[str, typer.Argument(metavar="DRIVE", help="A recorded drive of any kind that is read.")],
    sheet: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Write a contact sheet here.")] = None,
    rerun: Annotated[
        str | None, typer.Option(metavar="live|FILE.rrd", help="Show the drive in Rerun, or save it for Rerun.")
    ] = None,
    moments: Annotated[int, typer.Option(min=1, max=50, help="Moments of the drive on the sheet, one a row.")] = 4,
) -> None:
    """Draw a contact sheet: every camera's picture with the lidar's and radar's points in it, and scans from above.

    With --rerun every frame, scan and fault is shown in Rerun along the drive's own time.
    """
    from perception.errors import UsageError

    if sheet is None and rerun is None:
        raise UsageError("perception drive view", "there is nothing to make", "give --sheet OUT.png or --rerun live")
    if sheet is not None:
        _write_sheet(drive, sheet, moments)
    if rerun is not None:
        _show(drive, rerun)


def _write_sheet(drive: str, sheet: Path, moments: int) -> None:
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


def _show(drive: str, target: str) -> None:
    from collections import Counter

    from perception.errors import UsageError
    from perception.rerun_view import LIVE, rerun_view
    from sensors.frame import Frame
    from sensors.opening import open_source, recorded_name

    name, uri = recorded_name(drive)
    shown: Counter[str] = Counter()
    with open_source(uri, name=name) as source:
        if source.info.live:
            raise UsageError(source.info.uri, "is live, and no recording", "record it first: `perception record`")
        with rerun_view(target) as view:
            for item in source:
                view.show(item)
                shown[item.sensor] += 1
                if isinstance(item, Frame):
                    item.release()
    items = ", ".join(f"{sensor} {count}" for sensor, count in shown.items())
    print(f"{'shown' if target == LIVE else f'wrote {target}'}: {items or 'nothing'}")
