"""`perception drive recover`: a recording that was cut off, made whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def recover(
    source: Annotated[Path, typer.Argument(metavar="IN.mcap", help="The recording that was cut off or damaged.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.mcap", help="Where to write what can be read of it.")],
    json_: Annotated[bool, typer.Option("--json", help="End with one JSON object of figures.")] = False,
) -> None:
    """Write all that can be read of a recording into a whole file, which any MCAP reader opens.

    Ends with 0 where nothing was lost, with 1 where something was: a recording without an end was cut off while more
    was on its way to the disk (half a second), and what is damaged is counted.
    """
    from perception.errors import UsageError
    from perception.recording.recover import recover as recover_file
    from sensors.errors import EXIT_ANSWER_IS_NO, SourceNotFoundError

    if not source.exists():
        raise SourceNotFoundError(str(source), "does not exist", "check the path")
    if source.resolve() == target.resolve():
        raise UsageError(str(target), "is what is read", "give the recovered recording a name of its own")
    found = recover_file(source, target)
    if json_:
        print(
            json.dumps(
                {
                    "messages": dict(sorted(found.messages.items())),
                    "damaged": dict(sorted(found.damaged.items())),
                    "lost_chunks": found.lost_chunks,
                    "had_end": found.had_end,
                    "torn_bytes": found.torn_bytes,
                    "last_ns": found.last_ns,
                    "lost_something": found.lost_something,
                }
            )
        )
    else:
        print(f"wrote {target}: {sum(found.messages.values())} messages")
        for topic, count in sorted(found.messages.items()):
            damaged = f", {found.damaged[topic]} damaged" if found.damaged[topic] else ""
            print(f"  {topic}  {count}{damaged}")
        for topic in sorted(found.damaged.keys() - found.messages.keys()):
            print(f"  {topic}  0, {found.damaged[topic]} damaged")
        for reason in found.lost_chunks:
            print(f"lost: {reason}")
        if not found.had_end:
            torn = f"; its last {found.torn_bytes} bytes are of a record that is not whole" if found.torn_bytes else ""
            print(f"cut off: it had no end. What was on its way to the disk (half a second) is not in it{torn}")
        if not found.lost_something:
            print("nothing was lost")
    if found.lost_something:
        raise typer.Exit(EXIT_ANSWER_IS_NO)
