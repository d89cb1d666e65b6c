"""Style sheet, scripts and icons, held in memory and served under addresses that change with their content.

All files share one version in the path, not in a query: a module that imports `./other.js` then gets the same version.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Request
from fastapi import Path as InPath
from starlette.responses import Response

from api.errors import ApiError
from api.etags import is_unchanged, not_modified, quoted

FOLDER: Final = Path(__file__).parent / "static"
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOR_EVER = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, the same compressed, and what it is."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str


@cache
def assets() -> dict[str, Asset]:
    """All files by their path below `static/`."""
    paths = sorted(path for path in FOLDER.rglob("*") if path.suffix in MEDIA_TYPES)
    return {path.relative_to(FOLDER).as_posix(): _read(path) for path in paths}


@cache
def version() -> str:
    """Changes with any byte of any file."""
    digest = hashlib.sha256("".join(f"{path} {asset.etag}\n" for path, asset in assets().items()).encode())
    return digest.hexdigest()[:12]


def static(path: str) -> str:
    """The address of a file for a page. Raises `KeyError` for one that is not there."""
    if path not in assets():
        raise KeyError(f"no file {path!r} in {FOLDER}")
    return f"/static/{version()}/{path}"


@router.get("/static/{of}/{path:path}")
def get_asset(request: Request, of: str, path: Annotated[str, InPath(max_length=200)]) -> Response:
    """A file. Under an old version the present one is sent, but not to be kept."""
    asset = assets().get(path)
    if asset is None:
        raise ApiError("route_not_found", f"There is nothing at {request.scope['path']}.")
    headers = {
        "Cache-Control": _FOR_EVER if of == version() else "no-cache",
        "ETag": quoted(asset.etag),
        "Vary": "Accept-Encoding",
    }
    if is_unchanged(request.headers.get("if-none-match"), quoted(asset.etag)):
        return not_modified(quoted(asset.etag), headers)
    content = asset.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = asset.compressed, "gzip"
    return Response(content, media_type=asset.media_type, headers=headers)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(
        content=content,
        compressed=gzip.compress(content, mtime=0),
        media_type=MEDIA_TYPES[path.suffix],
        etag=hashlib.sha256(content).hexdigest()[:32],
    )
