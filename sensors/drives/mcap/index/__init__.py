"""What an MCAP file holds, and where: found on opening, without reading a message.

From the summary at the file's end (`summary.py`); where there is none that can be trusted, because its writer was
killed or still writes, from a walk along its records (`walk.py`). Both give the file's `contents.py`; `entries.py`
makes of its chunks' message indexes one array of all messages by time.
"""
