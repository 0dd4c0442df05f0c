"""From messages to what a page shows: a picture with the boxes of its own frame, figures, and the connection in words.

Boxes and picture come apart, on two topics. Here they are put together again by the frame's sequence and go to the page
as one event, so that it can never draw one frame's boxes on another's picture.
"""

from __future__ import annotations

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from perception.message import FrameMessage, HealthMessage, Message, PreviewMessage, to_json_dict, topic_of
from perception.message.preview_message import preview_topic_of
from perception.stream.connection import Peer
from perception.view.board import Board

# Results that wait for their picture: two seconds of a camera at 30 frames/s; a picture follows within a tenth.
MOST_WAITING_FRAMES = 60
# Whoever publishes may be wrong or hostile: a page is not for more than this.
MOST_SENSORS = 64
MOST_BOXES = 500
MOST_MASK_PIXELS = 4_000_000
SILENT_AFTER_S = 3.0  # health comes every second

_FRAME_KEY = "frame "


class Scene:
    """Fed by one thread with what comes, and with what is known of the connection."""

    def __init__(self, board: Board, endpoint: str) -> None:
        self._board = board
        self._endpoint = endpoint
        self._session = ""
        self._ended = False
        self._waiting: dict[str, OrderedDict[int, FrameMessage]] = {}  # by sensor and frame
        self._shown_link: dict[str, Any] = {}

    def take(self, message: Message, lost: Mapping[str, int]) -> None:
        """Take in one message. `lost`: messages by topic, as the subscriber counts them."""
        if message.session != self._session:
            self._session, self._ended = message.session, False
            self._waiting.clear()
            self._board.forget(_FRAME_KEY)
        if isinstance(message, HealthMessage):
            self._ended = message.last
            self._show_health(message, lost)
        elif isinstance(message, PreviewMessage):
            self._show_frame(message)
        elif message.sensor in self._waiting or len(self._waiting) < MOST_SENSORS:
            waiting = self._waiting.setdefault(message.sensor, OrderedDict())
            waiting[message.frame_sequence] = message
            if len(waiting) > MOST_WAITING_FRAMES:
                waiting.popitem(last=False)

    def tell(self, peer: Peer, silent_s: float, restarts: int, lost: Mapping[str, int], malformed: str) -> None:
        """Say how the connection is. `silent_s`: since the last message; `malformed`: the first one, if any came."""
        state, words = self._connection(peer, silent_s)
        if malformed:
            words += f"; what came could not all be read: {malformed}"
        link = {
            "state": state,
            "words": words,
            "endpoint": self._endpoint,
            "restarts": restarts,
            "lost": sum(lost.values()),
        }
        if link != self._shown_link:
            self._shown_link = link
            self._board.post("link", "link", link)

    def _connection(self, peer: Peer, silent_s: float) -> tuple[str, str]:
        what, remedy = peer.value
        if self._ended:
            return "ended", "the run has ended; this page goes on with the next one"
        if self._session and silent_s < SILENT_AFTER_S and peer is Peer.PUBLISHER:
            return "live", "live"
        if not self._session:
            return "waiting", f"waiting: {what}; {remedy}"
        if peer is Peer.PUBLISHER:
            return "away", f"connected, but nothing has come for {silent_s:.0f} s"
        return "away", f"the publisher has been away for {silent_s:.0f} s; this page goes on when it is back"

    def _show_health(self, health: HealthMessage, lost: Mapping[str, int]) -> None:
        told = to_json_dict(health)
        told["sensors"] = told["sensors"][:MOST_SENSORS]
        told["left_out"] = len(health.sensors) - len(told["sensors"])
        for sensor in told["sensors"]:
            name = sensor["sensor"]
            sensor["lost"] = lost.get(topic_of(name), 0) + lost.get(preview_topic_of(name), 0)
        self._board.post("health", "health", told)

    def _show_frame(self, preview: PreviewMessage) -> None:
        waiting = self._waiting.get(preview.sensor)
        if waiting is None:
            return  # its first results have yet to come, or it is one sensor too many
        frame = waiting.pop(preview.frame_sequence, None)
        shown: dict[str, Any] = {
            "session": preview.session,
            "sensor": preview.sensor,
            "frame": preview.frame_sequence,
            "stamp_s": preview.stamp_ns / 1e9,
            "jpeg": b64encode(preview.jpeg).decode(),
            "found": None,  # its message was lost
        }
        if frame is not None:
            told = to_json_dict(frame)
            shown["found"] = {
                "width": frame.image_width,
                "height": frame.image_height,
                "status": frame.status.name,
                "reason": frame.status_reason,
                "count": len(frame.detections),
                "boxes": told["detections"][:MOST_BOXES],
                "masks": [m for m in told["masks"] if m["width"] * m["height"] <= MOST_MASK_PIXELS],
            }
        self._board.post(_FRAME_KEY + preview.sensor, "frame", shown)
