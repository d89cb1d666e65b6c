"""One message to one receiver, signed as Standard Webhooks say (https://www.standardwebhooks.com).

No redirect is followed and no body is read: the status tells everything, and what an answer says is nobody's business.
"""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
from standardwebhooks import Webhook

from persistence.webhook_targets import Network, TargetRefused, check_url
from worker.webhooks.guarded_network import GuardedNetwork
from worker.webhooks.names import Resolve, resolve

SECONDS: Final = 10.0
"""For a whole message: resolving, connecting, TLS, sending, and the head of the answer."""
_CONNECT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a message. `error` is None when it arrived: an answer of 200 to 299."""

    status: int | None
    error: str | None


def send(
    url: str,
    message_id: uuid.UUID,
    payload: dict[str, Any],
    secrets: Sequence[str],
    *,
    allowed: Sequence[Network] = (),
    seconds: float = SECONDS,
    resolve: Resolve = resolve,
) -> Answer:
    """Send it once. Whatever the receiver does, this ends within about `seconds` and raises nothing."""
    body = json.dumps(payload, separators=(",", ":")).encode()
    try:
        check_url(url, allowed)
        plain = urlsplit(url).scheme == "http"  # as `check_url` reads it: schemes may be in capitals
        network = GuardedNetwork(allowed, plain=plain, seconds=seconds, resolve=resolve)
        with httpcore.ConnectionPool(ssl_context=_tls(), network_backend=network, keepalive_expiry=0.0) as pool:
            with pool.stream(
                "POST",
                url,
                headers=[*_headers(body), *signed(message_id, datetime.now(UTC), body, secrets).items()],
                content=body,
                extensions={"timeout": {"connect": min(_CONNECT_SECONDS, seconds), "read": seconds, "write": seconds}},
            ) as response:
                status = response.status
    except TargetRefused as error:
        return Answer(None, f"not called: {error}")
    except (httpcore.TimeoutException, TimeoutError):
        return Answer(None, f"no answer within {seconds:g} seconds")
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
        ssl.SSLError,
        OSError,
    ) as error:
        return Answer(None, f"{type(error).__name__}: {error}"[:500])
    if 200 <= status < 300:
        return Answer(status, None)
    return Answer(status, f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else ""))


def signed(message_id: uuid.UUID, moment: datetime, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers that a receiver verifies; one signature for each secret."""
    name = f"msg_{message_id.hex}"
    signatures = [Webhook(secret).sign(name, moment, body.decode()) for secret in secrets]
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _headers(body: bytes) -> list[tuple[str, str]]:
    return [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("User-Agent", "MaskTune-Webhooks/1"),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ]


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
