"""Swagger UI over the OpenAPI document, all from here: no page of ours asks another origin for a script."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.errors import ApiError
from api.etags import is_unchanged, not_modified, quoted

router = APIRouter(include_in_schema=False)

# Swagger UI puts pictures into its style sheet and its own style attributes into the page.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MaskTune Service: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START: Final = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
_MEDIA_TYPES: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


@router.get("/docs")
def docs_page() -> Response:
    """The page."""
    return Response(_PAGE, media_type="text/html", headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/start.js")
def docs_start() -> Response:
    """What starts it; a file, because the policy allows no inline script."""
    return Response(_START, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


@router.get("/docs/{name}")
def docs_asset(request: Request, name: str) -> Response:
    """Swagger UI's own files, from the package that carries them."""
    if name not in _MEDIA_TYPES:
        raise ApiError("route_not_found", f"There is nothing at {request.scope['path']}; see /docs.")
    content, etag = _asset(name)
    headers = {"Cache-Control": "no-cache", "ETag": etag}
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return not_modified(etag, headers)
    return Response(content, media_type=_MEDIA_TYPES[name], headers=headers)


@cache
def _asset(name: str) -> tuple[bytes, str]:
    content = (files("fastapi_offline") / "static" / name).read_bytes()
    return content, quoted(sha256(content).hexdigest()[:32])
