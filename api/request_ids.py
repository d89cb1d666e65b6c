"""The name of a request: on its response, in its problem document and on every line it logs."""

from __future__ import annotations

import re
import uuid
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

HEADER: Final = "X-Request-ID"
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_KEY = "masktune.request_id"
CALLER_IN_SCOPE: Final = "masktune.caller"


def assign_request_id(scope: Scope) -> str:
    """The caller's `X-Request-ID` if it is short and harmless, else a fresh one; remembered in the scope."""
    given = Headers(scope=scope).get(HEADER, "")
    scope[_KEY] = given if _SAFE.match(given) else uuid.uuid4().hex
    return str(scope[_KEY])


def request_id_of(scope: Scope) -> str:
    """The id that `assign_request_id` chose for this request."""
    return str(scope.get(_KEY, ""))
