"""A page on this machine that shows a stream: pictures with what was found on them, and how the publisher fares.

`viewer.py` reads the stream and keeps the rest together: `scene.py` makes events of messages, `board.py` holds the
newest of each for any number of pages, `server.py` serves the page (`page/`) and its events to this machine alone.
A reader among others: nothing here can hold up a publisher. Imports `perception.message` and `perception.stream`.
"""

from perception.view.viewer import Viewer

__all__ = ["Viewer"]
