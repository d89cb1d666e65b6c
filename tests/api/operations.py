"""Every operation of the OpenAPI document, and requests that fit it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from api.main import create_app
from persistence.settings import Settings

PUBLIC = {"/healthz", "/readyz"}


@cache
def document() -> dict[str, Any]:
    """The document, made without any service."""
    settings = Settings(database_url=SecretStr("postgresql+psycopg:///none"), redis_url=SecretStr("redis://none"))
    openapi: dict[str, Any] = create_app(settings).openapi()
    return openapi


@dataclass(frozen=True)
class Operation:
    """One operation: method, path template and its part of the document."""

    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def parameters(self) -> list[str]:
        """Names in the path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def scopes(self) -> list[str]:
        """What a key needs; exactly one, unless the operation is public."""
        return [scope for security in self.described.get("security", []) for scope in security.get("ApiKey", [])]

    @property
    def changes(self) -> bool:
        return self.method not in ("get", "head", "options")

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"

    def request(self, values: Mapping[str, Any], ids: Callable[[str], str] | None = None) -> dict[str, Any]:
        """Arguments for a client's `request`: `values` in the path, the document's examples everywhere else.

        `ids` gives the value of each field of a JSON body that ends in `_id`.
        """
        filled = {name: quote(str(values[name]), safe="") for name in self.parameters}
        headers, content = {}, None
        for parameter in self.described.get("parameters", []):
            if parameter["in"] == "header" and parameter.get("required"):
                headers[parameter["name"]] = str(_example(parameter["schema"], parameter))
        bodies = self.described.get("requestBody", {}).get("content", {})
        arguments: dict[str, Any] = {"method": self.method, "url": self.path.format(**filled), "headers": headers}
        if "application/json" in bodies:
            body = _example(_resolved(bodies["application/json"]["schema"]))
            if ids is not None:
                body = {name: ids(name) if name.endswith("_id") else value for name, value in body.items()}
            arguments["json"] = body
        elif bodies:
            content = next(iter(bodies))
            headers["Content-Type"] = content
            arguments["content"] = b"x"
        return arguments

    def body_ids(self) -> list[str]:
        """Fields of its JSON body that name something by its id."""
        schema = self.described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        return [name for name in _resolved(schema).get("properties", {}) if name.endswith("_id")]


def operations() -> Iterator[Operation]:
    """All of them; a new one is among them without anybody remembering."""
    for path, item in document()["paths"].items():
        for method, described in item.items():
            yield Operation(method, path, described)


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return found


def _example(schema: Mapping[str, Any], parameter: Mapping[str, Any] | None = None) -> Any:
    if parameter is not None and "example" in parameter:
        return parameter["example"]
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    return "1" if schema.get("type") == "integer" else "x"
