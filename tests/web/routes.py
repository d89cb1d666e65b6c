"""Every route of the pages, and addresses that fit it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import SecretStr

from api.main import create_app
from persistence.settings import Settings

OPEN = {"/login", "/login/link"}
"""Pages for those who are not logged in; what is static is no page."""
_NO_PAGE = ("/v1/", "/static/", "/docs", "/healthz", "/readyz", "/openapi.json")


@dataclass(frozen=True)
class PageRoute:
    """A method and a path template."""

    method: str
    path: str

    @property
    def parameters(self) -> list[str]:
        """Names in the path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def changes(self) -> bool:
        return self.method != "GET"

    def address(self, values: Mapping[str, Any]) -> str:
        """The path with `values` put in."""
        return self.path.format(**{name: values[name] for name in self.parameters})

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def page_routes() -> list[PageRoute]:
    """All of them, from the application itself; made without any service."""
    settings = Settings(database_url=SecretStr("postgresql+psycopg:///none"), redis_url=SecretStr("redis://none"))
    included = [getattr(each, "original_router", None) for each in create_app(settings).routes]
    return [
        PageRoute(method, route.path)
        for router in included
        if isinstance(router, APIRouter)
        for route in router.routes
        if isinstance(route, APIRoute) and not route.path.startswith(_NO_PAGE)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]
