"""The OpenAPI document: what FastAPI derives, with problem documents and examples filled in."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from api.problems import Problem
from api.request_ids import HEADER
from api.uploads.schemas import UploadCreate

DESCRIPTION: Final = """\
Repairs image classifiers that learnt a shortcut (MaskTune, arXiv 2210.00055).

Upload an archive, make a data set of it, submit a job, follow it live, download the finetuned checkpoint, and browse
image by image what the model looked at, what was masked, and what it looks at now.

**Authentication**: `Authorization: Bearer mt_…`, always. Each operation names the scope that its key needs: `read`,
`write` or `admin`, each of which may do what those before it may; with less it answers 403. What belongs to another
tenant answers 404.

**Lists**: `{"data": […], "has_more": true, "next": "…"}`; hand `next` in as `after`.

**Errors**: `application/problem+json` (RFC 9457) with a stable `code`; every response has an `X-Request-ID`.
"""
TAGS: Final = [
    {"name": "uploads", "description": "Bytes that came in, before they are a data set or a checkpoint."},
    {"name": "data sets", "description": "Checked, normalised archives, and their images."},
    {"name": "checkpoints", "description": "Weights that users bring."},
    {"name": "jobs", "description": "MaskTune runs, and everything that they find."},
    {"name": "configuration", "description": "Presets, and the schema of a configuration."},
    {"name": "webhooks", "description": "Addresses that are told of jobs' events; for keys of scope `admin`."},
    {"name": "keys", "description": "API keys; for keys of scope `admin`."},
    {"name": "health", "description": "For load balancers; without a key."},
]


def operation_id(route: APIRoute) -> str:
    """The endpoint function's name, which is unique and does not change with the path."""
    return route.name


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema:
        return app.openapi_schema
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = found["components"]["schemas"]
    _, definitions = models_json_schema(
        [(Problem, "serialization"), (UploadCreate, "validation")], ref_template="#/components/schemas/{model}"
    )
    schemas.update(definitions["$defs"])
    for path in found["paths"].values():
        for operation in path.values():
            _complete(operation, schemas)
    app.openapi_schema = found
    return found


def _complete(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """The request id on every response, and an example for every JSON answer that has none."""
    for response in operation["responses"].values():
        response.setdefault("headers", {})[HEADER] = {
            "description": "Name of this request in the logs.",
            "schema": {"type": "string"},
        }
        body = response.get("content", {}).get("application/json")
        if body is not None and "example" not in body and "examples" not in body:
            body["example"] = example(body["schema"], schemas)


def example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """An example of a JSON schema, put together from those of its fields."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas)
    for stated in ("examples", "default", "const", "enum"):
        if stated in schema:
            value = schema[stated]
            return value[0] if stated in ("examples", "enum") else value
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return example(schema[choice][0], schemas)
    if schema.get("type") == "object":
        return {name: example(field, schemas) for name, field in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [example(schema["items"], schemas)] if "items" in schema else []
    return _PLAIN.get(schema.get("type", ""))


_PLAIN: Final = {"string": "…", "integer": 0, "number": 0.0, "boolean": False}
