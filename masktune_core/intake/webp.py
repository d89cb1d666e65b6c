"""The size of a WebP image, read from its header (RFC 9649, sections 2.5 to 2.7) before any decoder sees it."""

from __future__ import annotations

from typing import Final

_HEAD: Final = 30  # bytes up to the end of the size, in each of the three forms


def webp_size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as the first chunk states them; None if it is no WebP, or damaged there."""
    head = encoded[:_HEAD]
    if len(head) < _HEAD or (head[:4], head[8:12]) != (b"RIFF", b"WEBP"):
        return None
    match head[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8 ":
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
