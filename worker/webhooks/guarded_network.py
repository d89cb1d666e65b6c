"""A network for httpcore that reaches only where a webhook may point, and only for so long.

A name is resolved here, every address it has is checked, and the connection is made to a checked address: a name that
resolves otherwise a moment later (DNS rebinding) changes nothing. TLS still names and verifies the host. Unix sockets
are not reached at all: httpcore's own default refuses them.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore

from persistence.webhook_targets import Network, TargetRefused, is_callable_address, is_within
from worker.webhooks.names import Resolve, resolve, resolve_within


class GuardedNetwork(httpcore.NetworkBackend):
    """For one message. `plain`: the connection is without TLS, which only `allowed` networks may be."""

    def __init__(self, allowed: Sequence[Network], *, plain: bool, seconds: float, resolve: Resolve = resolve) -> None:
        self._allowed = allowed
        self._plain = plain
        self._until = time.monotonic() + seconds
        self._resolve = resolve
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to one of the host's addresses. Raises `TargetRefused` if any of them may not be called."""
        addresses = resolve_within(_within(self._until, timeout), host, port, self._resolve)
        for address in addresses:
            # All of them: a name that mixes public and private addresses is an attempt, not an accident.
            if not is_callable_address(address, self._allowed):
                raise TargetRefused(f"{host} resolves to {address}, which is not a public address")
            if self._plain and not is_within(address, self._allowed):
                raise TargetRefused(f"{host} resolves to {address}, to which nothing is sent without TLS")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                stream = self._network.connect_tcp(
                    address, port, _within(self._until, timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._until)
        raise failure

    def sleep(self, seconds: float) -> None:
        """Between two tries to connect."""
        time.sleep(seconds)


class _TimedStream(httpcore.NetworkStream):
    """A stream that ends with the message's time, however slowly the other side drips."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _within(self._until, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _within(self._until, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _within(self._until, timeout))
        return _TimedStream(stream, self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _within(until: float, timeout: float | None) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time for this message is over")
    return left if timeout is None else min(left, timeout)
