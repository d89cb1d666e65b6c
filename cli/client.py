"""The service over HTTP: JSON requests, pages, streamed uploads and verified downloads, with retries.

A request is sent again after a connection error or a 502, 503 or 504 when repeating it is harmless: reads, deletes,
uploads, and whatever carries an `Idempotency-Key`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from cli.errors import ConnectionFailed, DownloadCorrupt, Problem, UsageError

_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.25
_RETRIED_STATUS = frozenset({502, 503, 504})
_CHUNK_BYTES = 2**20
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)

Advance = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


class Client:
    """One connection pool to one service, with one API key."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._sleep = sleep
        try:
            self.http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {api_key}"},
                timeout=_TIMEOUT,
                transport=transport,
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise UsageError(f"the address or the API key is not usable: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def get(self, path: str, **params: object) -> Any:
        return self._send("GET", path, params=_present(params)).json()

    def get_bytes(self, path: str, **params: object) -> bytes:
        return self._send("GET", path, params=_present(params)).content

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None) -> Any:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        response = self._send("POST", path, json=body, headers=headers, repeatable=idempotency_key is not None)
        return response.json() if response.content else None

    def delete(self, path: str) -> None:
        self._send("DELETE", path)

    def pages(self, path: str, *, limit: int | None = None, **params: object) -> Iterator[dict[str, Any]]:
        """Every row of a list, page after page; at most `limit` of them."""
        after: object = None
        given = 0
        while limit is None or given < limit:
            size = 100 if limit is None else min(100, limit - given)
            page = self.get(path, limit=size, after=after, **params)
            for row in page["data"][: None if limit is None else limit - given]:
                yield row
                given += 1
            if not page.get("has_more") or not page["data"]:
                return
            after = page["next"]

    def rows(self, path: str, **params: object) -> list[dict[str, Any]]:
        """Every row of a list that comes in one answer."""
        found: list[dict[str, Any]] = self.get(path, **params)["data"]
        return found

    def upload(self, path: Path, *, advance: Advance = lambda _done, _total: None) -> dict[str, Any]:
        """Stream a file to the service, which checks its SHA-256. Returns the upload, with its `id`."""
        try:
            total = path.stat().st_size
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        headers = {
            "Content-Length": str(total),
            "Content-Type": "application/octet-stream",
            "X-Content-SHA256": digest,
        }

        def content() -> Iterator[bytes]:
            with path.open("rb") as file:
                done = 0
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
                    done += len(chunk)
                    advance(done, total)

        response = self._send("PUT", f"/v1/uploads/{quote(path.name, safe='')}", headers=headers, content=content)
        uploaded: dict[str, Any] = response.json()
        return uploaded

    def download(
        self, path: str, destination: Path, *, sha256: str, advance: Advance = lambda _done, _total: None
    ) -> None:
        """Fetch into a file, going on with a byte range after a broken connection, and verify it.

        Raises `DownloadCorrupt` and leaves nothing at `destination` when the SHA-256 is another.
        """
        destination.parent.mkdir(parents=True, exist_ok=True)
        staged = destination.with_name(destination.name + ".part")
        digest = hashlib.sha256()
        try:
            with staged.open("wb") as file:
                attempts = self._attempts(f"GET {path}")
                for _ in attempts:
                    try:
                        for chunk in self._chunks(path, file.tell(), advance):
                            file.write(chunk)
                            digest.update(chunk)
                        break
                    except httpx.TransportError as error:
                        attempts.error = error
            if digest.hexdigest() != sha256:
                raise DownloadCorrupt(
                    f"{path} has SHA-256 {digest.hexdigest()} instead of {sha256}; if it stays so, the service's "
                    "the store is damaged"
                )
            staged.replace(destination)
        finally:
            staged.unlink(missing_ok=True)

    @staticmethod
    def require_success(response: httpx.Response) -> None:
        """Raises `Problem` for an answer that is not a success; its body is read then."""
        if response.is_success:
            return
        response.read()
        try:
            body = response.json()
        except ValueError:
            body = {"detail": response.text[:500]}
        raise Problem(response.status_code, body if isinstance(body, dict) else {"detail": str(body)})

    def _chunks(self, path: str, start: int, advance: Advance) -> Iterator[bytes]:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with self.http.stream("GET", path, headers=headers) as response:
            self.require_success(response)
            if start and response.status_code != 206:
                raise DownloadCorrupt(f"{path}: the connection broke and the service does not continue downloads")
            total = start + int(response.headers.get("Content-Length") or 0)
            done = start
            for chunk in response.iter_bytes():  # as they come: what arrived before a break is not lost in a buffer
                yield chunk
                done += len(chunk)
                advance(done, max(total, done))

    def _send(
        self,
        method: str,
        path: str,
        *,
        content: Callable[[], Iterator[bytes]] | None = None,
        repeatable: bool | None = None,
        **options: Any,
    ) -> httpx.Response:
        repeatable = method != "POST" if repeatable is None else repeatable
        attempts = self._attempts(f"{method} {path}")
        for last in attempts:
            try:
                response = self.http.request(method, path, content=content() if content else None, **options)
            except httpx.TransportError as error:
                if not repeatable and not isinstance(error, httpx.ConnectError):
                    raise ConnectionFailed(
                        f"the connection to {self.url} broke: {error or type(error).__name__}"
                    ) from error
                attempts.error = error
                continue
            if response.status_code in _RETRIED_STATUS and repeatable and not last:
                continue
            self.require_success(response)
            return response
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempts(self, what: str) -> _Attempts:
        return _Attempts(self.url, what, self._sleep)


class _Attempts:
    """Iterate to try again: pauses in between, yields whether this is the last try, and raises once all are used up."""

    def __init__(self, url: str, what: str, sleep: Callable[[float], None]) -> None:
        self.error: httpx.TransportError | None = None
        self._url = url
        self._what = what
        self._sleep = sleep

    def __iter__(self) -> Iterator[bool]:
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            yield attempt == _ATTEMPTS - 1
        raise ConnectionFailed(
            f"no service answers at {self._url} ({self._what}: {self.error}); "
            "start one with 'masktune up', or name another with --url"
        )


def _present(params: Mapping[str, object]) -> dict[str, str]:
    shown = {name: value for name, value in params.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in shown.items()}
