"""Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.responses import Response

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def quoted(tag: str) -> str:
    """A strong entity tag."""
    return f'"{tag}"'


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this very representation. Weak comparison, as section 13.1.2 asks."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in {tag.removeprefix("W/") for tag in _TAG.findall(if_none_match)}


def may_continue(if_range: str | None, etag: str) -> bool:
    """Whether a `Range` still refers to this representation. Strong comparison; a date never matches (13.1.5)."""
    return if_range is None or if_range.strip() == etag


def not_modified(etag: str, headers: Mapping[str, str]) -> Response:
    """304 with the headers that a 200 would have had for caches."""
    return Response(status_code=304, headers={"ETag": etag, **headers})
