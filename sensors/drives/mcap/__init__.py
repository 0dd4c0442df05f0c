"""MCAP: the container (`reading.py`, `writing.py`), Foxglove's schemas in it, and a drive of them as a source.

The container knows no schema. What a file holds and where is found on opening (`index/`); messages are read later. The
`mcap` package parses and builds its records; what runs once a message, and what a recording that ended early needs, is
ours: the package's writer cannot hand on what it holds, and its reader gives up at the first damaged byte.
"""
