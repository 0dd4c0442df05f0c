"""Which packet of a video became which picture, and which became none.

A decoder takes packets in coding order and gives pictures in presentation order, some packets later. So a
packet waits here from when it was read until its picture comes, or until a picture with a later time
comes: then it is known to be lost. That catches both what the decoder refuses with an error and what it
drops without a word.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Packet:
    """One packet that should become a picture."""

    number: int  # in coding order, from 0
    ticks: int  # presentation time in the stream's time base
    arrival_ns: int
    reason: str | None = None  # what went wrong with it, if anything did
    is_cut_short: bool = False  # so its picture, if it has one, is not to be trusted


class WaitingPackets:
    """The packets whose pictures have not come yet.

    `may_hide` says that the format has packets that show nothing (VP8's alternate references, MPEG-4's
    packed B-frames): a packet without picture is then lost only if the decoder said so.
    """

    def __init__(self, may_hide: bool = False) -> None:
        self._may_hide = may_hide
        self._packets: list[Packet] = []

    def add(self, packet: Packet) -> None:
        """Wait for this packet's picture."""
        self._packets.append(packet)

    def first_sound(self) -> Packet | None:
        """Give the packet first read of those that nothing is known to be wrong with."""
        return next((packet for packet in self._packets if packet.reason is None), None)

    def take(self, ticks: int) -> Packet | None:
        """Give the packet with this presentation time, which waits no longer; None if there is none."""
        for index, packet in enumerate(self._packets):
            if packet.ticks == ticks:
                return self._packets.pop(index)
        return None

    def take_lost(self, before_ticks: int | None = None) -> list[Packet]:
        """Give the packets that a picture with this time has overtaken (None: all), by presentation time."""
        lost = [packet for packet in self._packets if before_ticks is None or packet.ticks < before_ticks]
        if lost:
            self._packets = [packet for packet in self._packets if packet not in lost]
            lost.sort(key=lambda packet: (packet.ticks, packet.number))
        return [packet for packet in lost if packet.reason or not self._may_hide]
