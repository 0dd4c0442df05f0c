"""From coded packets to pictures with FFmpeg's decoder: what became of each packet, and as an item of a source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av

from sensors.drives.packets import Packet, WaitingPackets
from sensors.drives.upright import UprightBgr
from sensors.frame import Fault, Frame, Item

# Codecs with packets that show nothing by design: no picture is no loss there.
CODECS_THAT_HIDE = {"vp8", "mpeg4"}

# A decoder told to finish gives the pictures it still holds; where it answers with errors instead, this
# many are survived. With 16 reference pictures at most, no sound decoder has more to say.
_MOST_ERRORS_AT_THE_END = 32


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one packet: a picture, or the reason why there is none."""

    ticks: int
    arrival_ns: int
    picture: Any = None
    reason: str = ""


def new_packet(number: int, coded: Any, is_timed: bool) -> Packet:
    """Note that a coded packet has arrived, and what is known to be wrong with it."""
    ticks = coded.pts if coded.pts is not None else coded.dts
    packet = Packet(number, ticks if is_timed and ticks is not None else number, time.monotonic_ns())
    if coded.is_corrupt:
        packet.is_cut_short = True
        packet.reason = f"packet {number} is cut short or damaged in the container ({coded.size} bytes are left)"
    elif coded.size == 0:
        packet.reason = f"packet {number} is empty"
    return packet


def decoded(decoder: Any, coded: Any, packet: Packet) -> list[Any]:
    """Decode one packet, for whatever pictures the decoder now gives; an error is noted on the packet."""
    if coded.size == 0:
        return []  # an empty packet would tell the decoder that the stream has ended
    try:
        pictures: list[Any] = decoder.decode(coded)
    except (av.FFmpegError, ValueError, MemoryError) as error:
        if packet.reason is None:
            told = getattr(error, "strerror", None) or str(error)
            packet.reason = f"packet {packet.number} ({coded.size} bytes): {told[:1].lower()}{told[1:]}"
        return []
    return pictures


def still_held(decoder: Any) -> Iterator[Any]:
    """Give the pictures that a decoder still holds when nothing more comes."""
    for _ in range(_MOST_ERRORS_AT_THE_END):
        try:
            yield from decoder.decode(None)
        except av.error.EOFError:
            return
        except (av.FFmpegError, ValueError, MemoryError):
            continue  # its packet stays waiting, and becomes a Fault
        return


def settled(waiting: WaitingPackets, picture: Any, now_ns: int, is_timed: bool) -> Iterator[Outcome]:
    """Give the losses that this picture's coming reveals, then the picture."""
    if is_timed:
        ticks = picture.pts if picture.pts is not None else picture.dts
    else:
        oldest = waiting.first_sound()
        ticks = oldest.ticks if oldest else None
    if ticks is None:
        return  # more pictures than packets: nothing was captured for it
    packet = waiting.take(ticks)
    for lost in waiting.take_lost(before_ticks=ticks):
        yield loss(lost)
    if packet is None:
        return  # its packet was given up as lost already, so it has its Fault
    if packet.is_cut_short:
        yield loss(packet)
    else:
        yield Outcome(ticks, packet.arrival_ns or now_ns, picture)


def loss(packet: Packet) -> Outcome:
    """Give the outcome of a packet that became no picture."""
    reason = packet.reason or f"the decoder gave no picture for packet {packet.number}"
    return Outcome(packet.ticks, packet.arrival_ns, reason=reason)


def item_of(outcome: Outcome, upright: UprightBgr, sensor: str, sequence: int, stamp_ns: int) -> Item:
    """Convert a picture into a frame; a Fault where there is none, or where it cannot be converted."""
    reason = outcome.reason
    if outcome.picture is not None:
        try:
            image, kind = upright.pixels(outcome.picture)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            reason = f"the picture cannot be converted: {error}"
        else:
            return Frame(sensor, sequence, stamp_ns, outcome.arrival_ns, time.monotonic_ns(), image, kind)
    return Fault(sensor, sequence, stamp_ns, outcome.arrival_ns, reason)
