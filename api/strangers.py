"""Requests of nobody in particular: without a key, without a login, or with one that is not valid.

They are counted by address. Those that show no credential, or ask for what everybody may see, are counted before
anything else looks at them; those whose credential turns out to be none are counted where it is looked up. What a key
or a login lets through is never counted here: one address may be that of a whole office.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import cookies
from api.errors import ApiError, problem_response
from api.rate_limits import require_allowance
from api.request_ids import CALLER_IN_SCOPE
from api.services import Services, services_of

_PUBLIC: Final = ("/login", "/docs", "/openapi.json")
_UNCOUNTED: Final = ("/healthz", "/readyz", "/static")
"""What must answer always: probes, and the parts without which a page is broken."""
_COUNTED: Final = "masktune.counted_as_stranger"
_IPV6_NETWORK: Final = 64
"""What one customer of a provider usually has; each could come from another of its 2⁶⁴ addresses every time."""


def address_of(scope: Scope) -> str:
    """Where a request comes from: an IPv4 address, or an IPv6 network (/64).

    The server has put a trusted proxy's `X-Forwarded-For` in the place of the proxy's own address, and nobody else's.
    """
    client = scope.get("client")
    if client is None:
        return "unknown"
    try:
        address = ip_address(client[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        network = int(address) >> (128 - _IPV6_NETWORK) << (128 - _IPV6_NETWORK)
        return f"{IPv6Address(network)}/{_IPV6_NETWORK}"
    return str(address)


def count_stranger(request: Request) -> None:
    """To be called where a credential turns out not to be valid. Raises `ApiError` (429)."""
    if not request.scope.get(_COUNTED):
        _count(services_of(request), request.scope)


class StrangerMiddleware:
    """Counts requests that nobody needs to look at to know that they are a stranger's."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_under(scope["path"], _UNCOUNTED) and _is_strange(scope):
            try:
                await to_thread.run_sync(_count, scope["app"].state.services, scope)
            except ApiError as error:
                request = Request(scope)
                problem = problem_response(request, error.code, error.detail, headers=error.headers, **error.extras)
                await problem(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _count(services: Services, scope: Scope) -> None:
    address = address_of(scope)
    scope[_COUNTED] = True
    scope[CALLER_IN_SCOPE] = {"address": address}
    require_allowance(scope, services.rate_limiter, "address", address)


def _is_strange(scope: Scope) -> bool:
    if _is_under(scope["path"], _PUBLIC):
        return True
    return "authorization" not in Headers(scope=scope) and cookies.SESSION not in Request(scope).cookies


def _is_under(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)
