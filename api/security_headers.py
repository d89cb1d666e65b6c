"""What every answer tells browsers: run nothing, frame nothing, guess nothing, tell nobody.

The API's answers are data: should a browser ever show one as a page, it may load and run nothing. Pages set a policy of
their own over this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.types import Scope

_ALWAYS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ON_TLS: Final[Mapping[str, str]] = {"Strict-Transport-Security": "max-age=31536000"}


def security_headers(scope: Scope) -> dict[str, str]:
    """Headers of an answer that sets none of these itself; HSTS (RFC 6797) only where the request came over TLS."""
    return {**_ALWAYS, **(_ON_TLS if scope["scheme"] == "https" else {})}
