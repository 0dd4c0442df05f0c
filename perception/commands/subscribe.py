"""`perception subscribe`: what a publisher sends, line by line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perception.message import FrameMessage, HealthMessage, Message, PreviewMessage, RecordingHealth
    from perception.stream import StreamSubscriber

HINT_AFTER_S = 3.0  # of silence at the start, when a person begins to wonder


def subscribe(  # typer calls it by name
    endpoint: Annotated[str, typer.Argument(help="The publisher's address, for example tcp://127.0.0.1:5555")],
    topic: Annotated[
        str, typer.Option(help="Only topics that begin like this: detections/front/, health/ or preview/front/")
    ] = "detections/",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a message")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many messages")] = None,
    newest: Annotated[
        bool, typer.Option("--newest", help="Skip messages that are no longer their topic's newest")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on after the stream's end, with the publisher's next start")
    ] = False,
    keys: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="This reader's own keys, made by `perception keys new`")
    ] = None,
    server_key: Annotated[
        Path | None, typer.Option(metavar="NAME.key", help="The publisher's public key; goes with --keys")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Read from the network without keys")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="Give up when nothing comes for so long")
    ] = None,
) -> None:
    """Print what a publisher sends, until the stream's end: detections, or its health, or previews.

    Previews tell no end: give --timeout, or --count.

    Exit code 1 if a message was lost or could not be read, 2 if the publisher does not let this reader in.
    """
    import os
    import signal
    import sys
    from itertools import islice

    from perception.message import Message
    from perception.stream import StreamSubscriber

    line_of = _json_line if as_json else _plain_line
    caught: list[int] = []
    pipe_closed = False
    with StreamSubscriber[Message](
        endpoint,
        [topic],
        newest=newest,
        follow=follow,
        keys=keys,
        server_key=server_key,
        insecure=insecure,
    ) as subscriber:

        def stop(number: int, _frame: object) -> None:
            caught.append(number)
            subscriber.close()

        # A handler for SIGINT too: a KeyboardInterrupt is lost where it strikes inside a library's callback.
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for message in islice(_messages(subscriber, timeout), count):
                print(line_of(message), flush=True)
        except BrokenPipeError:  # `| head` has seen enough
            pipe_closed = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())  # or Python complains once more at exit
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if not pipe_closed:
                print(_summary(subscriber), file=sys.stderr)
    if signal.SIGINT in caught:
        raise typer.Exit(130)
    if subscriber.lost or subscriber.malformed:
        raise typer.Exit(1)


def _messages(subscriber: StreamSubscriber[Message], timeout_s: float | None) -> Iterator[Message]:
    """Give the messages; say on stderr, once, that one could not be read."""
    import sys

    warned = False
    message = _first_message(subscriber, timeout_s)
    while message is not None:
        if subscriber.malformed and not warned:
            warned = True
            print(f"passed over: {subscriber.first_malformed}", file=sys.stderr)
        yield message
        message = subscriber.receive(timeout_s)


def _first_message(subscriber: StreamSubscriber[Message], timeout_s: float | None) -> Message | None:
    """Wait for the first message; after some seconds say on stderr what is known of the other end."""
    import sys

    from perception.errors import StreamError

    if timeout_s is not None and timeout_s <= HINT_AFTER_S:
        return subscriber.receive(timeout_s)
    try:
        return subscriber.receive(HINT_AFTER_S)
    except StreamError as silence:
        print(f"still waiting: {silence}", file=sys.stderr)
    return subscriber.receive(None if timeout_s is None else timeout_s - HINT_AFTER_S)


def _json_line(message: Message) -> str:
    import json

    from perception.message import to_json_dict

    return json.dumps(to_json_dict(message), ensure_ascii=False, separators=(",", ":"))


def _plain_line(message: Message) -> str:
    from perception.message import HealthMessage, PreviewMessage

    if isinstance(message, HealthMessage):
        return _health_lines(message)
    if isinstance(message, PreviewMessage):
        return _preview_line(message)
    return _frame_line(message)


def _health_lines(message: HealthMessage) -> str:
    """A line a sensor: `health  12.0 s  front  RUNNING  25.0/s captured, 24.0/s published  dropped: superseded 12`."""
    lines = []
    for sensor in message.sensors:
        line = f"health  {message.uptime_ns / 1e9:.1f} s  {sensor.sensor}  {sensor.state.name}"
        line += f": {sensor.state_reason}" if sensor.state_reason else ""
        line += f"  {sensor.captured_hz:.1f}/s captured, {sensor.published_hz:.1f}/s published"
        if sensor.latency_p50_ms:
            line += f"  latency p50 {sensor.latency_p50_ms:.1f} ms, p99 {sensor.latency_p99_ms:.1f} ms"
        line += f"  {sensor.published} of {sensor.captured} published, {sensor.in_flight} in flight"
        for fate, reasons in (("dropped", sensor.dropped), ("failed", sensor.failed)):
            if reasons:
                line += f"  {fate}: " + ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        lines.append(line)
    if message.recording is not None:
        lines.append(f"health  {message.uptime_ns / 1e9:.1f} s  {_recording_line(message.recording)}")
    if message.last:
        lines.append(f"health  {message.uptime_ns / 1e9:.1f} s  {message.failure or 'the run has ended'}")
    return "\n".join(lines)


def _recording_line(recording: RecordingHealth) -> str:
    line = f"recording {recording.path}: {recording.items} items, {recording.bytes / 1e6:.1f} MB"
    if recording.dropped:
        dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(recording.dropped.items()))
        line += f"  not recorded: {dropped}"
    if recording.parts_removed:
        line += f"  oldest parts removed: {recording.parts_removed}"
    return line + (f"  {recording.failure}" if recording.failure else "")


def _preview_line(message: PreviewMessage) -> str:
    return (
        f"{message.sensor}  frame {message.frame_sequence}  {message.stamp_ns / 1e9:.3f} s  "
        f"preview {message.width}x{message.height}, {len(message.jpeg) / 1e3:.1f} kB"
    )


def _frame_line(message: FrameMessage) -> str:
    """For example: `front  frame 12  0.400 s  3 boxes (2 car, 1 person)  latency 23.1 ms`."""
    from collections import Counter

    from perception.message import Status

    line = f"{message.sensor}  frame {message.frame_sequence}  {message.stamp_ns / 1e9:.3f} s"
    if message.status is not Status.OK:
        return f"{line}  {message.status.name}: {message.status_reason}"
    names = Counter(message.class_names)
    by_class = ", ".join(f"{number} {name}" for name, number in names.most_common())
    boxes = "1 box" if len(message.detections) == 1 else f"{len(message.detections)} boxes"
    line += f"  {boxes} ({by_class})" if by_class else f"  {boxes}"
    for mask in message.masks:
        # Of two classes the first is where the thing is not; of more the greatest three are told.
        shares = (
            list(mask.shares().items())[1:] if len(mask.class_names) == 2 else Counter(mask.shares()).most_common(3)
        )
        line += "".join(f"  {name} {share:.1%}" for name, share in shares)
    arrival_ns, published_ns = message.ledger.arrival_ns, message.ledger.published_ns
    if arrival_ns and published_ns:
        line += f"  latency {(published_ns - arrival_ns) / 1e6:.1f} ms"
    return line


def _summary(subscriber: StreamSubscriber[Message]) -> str:
    skipped = f", skipped {subscriber.skipped}" if subscriber.skipped else ""
    return (
        f"received {subscriber.received}{skipped}, lost {sum(subscriber.lost.values())}, "
        f"restarts {subscriber.restarts}, malformed {subscriber.malformed}"
    )
