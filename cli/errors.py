"""What the command line can fail with. `main` prints any of these as text on stderr and exits with `exit_code`.

CliError
├── UsageError          the command cannot be carried out as given (a file is missing, a value does not parse)
├── ServicesError       a local service did not start, stopped by itself, or is already running
├── ConnectionFailed    nobody answers at the service's address
├── Problem             the service answered with an RFC 9457 problem document
├── DownloadCorrupt     what arrived is not what the service announced
├── VerificationFailed  a checkpoint does not give the numbers that the job reported
└── JobUnsuccessful     the job that was waited for failed or was cancelled
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CliError(Exception):
    """Root of the tree; the message is one clear sentence for a person."""

    exit_code = 1


class UsageError(CliError):
    exit_code = 2


class ServicesError(CliError):
    """`log_tail` holds the last lines that the failing service logged."""

    def __init__(self, message: str, *, log_tail: str = "") -> None:
        self.log_tail = log_tail
        super().__init__(message)

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n{self.log_tail}" if self.log_tail else message


class ConnectionFailed(CliError):
    pass


class Problem(CliError):
    """A problem document: `title`, `detail`, `code`, and the fields at fault where the service names them."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status = status
        self.body = dict(body)
        self.code = str(body.get("code") or f"http_{status}")
        self.title = str(body.get("title") or f"The service answered {status}")
        self.detail = str(body.get("detail") or "")
        super().__init__(self._render())

    def _render(self) -> str:
        detail = f": {self.detail}" if self.detail and self.detail != self.title else ""
        request = f", request {self.body['request_id']}" if self.status >= 500 and self.body.get("request_id") else ""
        lines = [f"{self.title}{detail} [{self.code}{request}]"]
        lines += [f"  {where}: {message}" for where, message in _findings(self.body)]
        return "\n".join(lines)


def _findings(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Fields at fault (`errors`) and findings of an intake (`problems`), as (where, message)."""
    found: list[tuple[str, str]] = []
    for list_name in ("errors", "problems"):
        entries = body.get(list_name)
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, Mapping):
                places = (entry.get(key) for key in ("pointer", "name", "where", "location", "code"))
                where = next((str(place) for place in places if place), list_name)
                found.append((where, str(entry.get("detail") or entry.get("message") or "")))
    return found


class DownloadCorrupt(CliError):
    pass


class VerificationFailed(CliError):
    pass


class JobUnsuccessful(CliError):
    pass
