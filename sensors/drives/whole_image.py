"""Whether an image file has its end. Decoders fill what is missing with grey and say nothing."""

from __future__ import annotations

_JPEG_START_OF_SCAN = 0xDA
# Markers without a length after them: TEM and the restart markers, which carry nothing.
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}


def missing_end(data: bytes) -> str | None:
    """Say what shows that an image file was cut short; None if nothing does, or its format cannot tell."""
    if data.startswith(b"\xff\xd8"):
        scan = _jpeg_scan_offset(data)
        if scan is None:
            return "it stops before its picture begins"
        # Behind the headers only, because an embedded thumbnail has an end of its own; backwards, for it is near.
        return None if data.rfind(b"\xff\xd9", scan) >= 0 else "it has no end-of-image marker"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return None if b"IEND" in data[-4096:] else "it has no IEND chunk"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        declared = 8 + int.from_bytes(data[4:8], "little")
        return _too_short(len(data), declared)
    if data.startswith(b"BM") and len(data) >= 6:
        return _too_short(len(data), int.from_bytes(data[2:6], "little"))
    return None


def _too_short(found: int, declared: int) -> str | None:
    return None if found >= declared else f"it has {found} of {declared} bytes"


def _jpeg_scan_offset(data: bytes) -> int | None:
    """Step over the segments of a JPEG (ITU T.81, B.1.1) to its first scan."""
    offset = 2
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            offset += 1  # stray bytes between segments, which decoders skip too
            continue
        marker = data[offset + 1]
        if marker == _JPEG_START_OF_SCAN:
            return offset
        if marker == 0xFF or marker in _JPEG_WITHOUT_LENGTH:
            offset += 1 if marker == 0xFF else 2
            continue
        offset += 2 + max(2, int.from_bytes(data[offset + 2 : offset + 4], "big"))
    return None
