"""Live cameras: one file a kind, each a `Source` that comes back after an outage (`reconnecting.py`).

`addresses.py` takes a camera's URI apart without opening anything, `connection.py` reads one connection in a thread of
its own, `left_behind.py` knows which of those outlive the program's end, `stamps.py` brings a camera's clock onto the
host's. `hardware.py` lets decode what proved itself on this machine, `nvdec.py` or `nvv4l2.py`; `gstreamer.py` runs a
pipeline as a process of its own, for the latter and for CSI cameras. Imports only `sensors`.
"""
