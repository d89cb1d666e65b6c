"""From a storage URL to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from persistence.settings import Settings
from persistence.store.protocol import ObjectStore

DEFAULT_HEADROOM = 256 * 2**20


def open_store(url: str, *, headroom: int = DEFAULT_HEADROOM, spool: Path | None = None) -> ObjectStore:
    """The store at `file:///folder` or `s3://bucket/prefix`.

    `headroom` is the free disk space in bytes that writing must leave. `spool` is where the S3 store collects bytes
    before it sends them, by default the temporary folder. S3 credentials, region and endpoint come from the usual
    `AWS_*` variables. Raises `ValueError` for another scheme.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        from persistence.store.file import FileStore

        return FileStore(Path(unquote(parts.path)), headroom=headroom)
    if parts.scheme == "s3" and parts.netloc:
        # boto3 takes half a second to import: only those who use it pay.
        from persistence.store.s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), headroom=headroom, spool=spool)
    raise ValueError(f"storage URL {url!r} is neither file:///folder nor s3://bucket/prefix")


def store_of(settings: Settings) -> ObjectStore:
    """The store that the settings name."""
    return open_store(settings.storage, headroom=settings.disk_headroom_bytes, spool=settings.home / "spool")
