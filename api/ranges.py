"""Byte ranges (RFC 9110, section 14). One range an answer; a request for several gets the whole file, as it may."""

from __future__ import annotations

import re
from typing import Final

from api.errors import ApiError

_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z", re.IGNORECASE)


def requested_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes `[start, stop)` that a `Range` header asks of a file of `size` bytes; None for the whole file.

    A header that is not one range of bytes is ignored, as section 14.2 asks. Raises `ApiError` (416) for a range that
    begins behind the end.
    """
    match = _RANGE.match(header or "")
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:  # the last so many bytes
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= stop:
        raise ApiError(
            "range_not_satisfiable",
            f"The file has {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
            size=size,
        )
    return start, stop
