"""A small real HTTP server for the client's tests: its answers are scripted, and it can cut connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Request(BaseHTTPRequestHandler):
    """Every method goes to the server's `answer`."""

    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        self.close_connection = True
        server = self.server
        assert isinstance(server, ScriptedServer)
        server.seen.append((self.command, self.path, dict(self.headers.items())))
        server.answer(self, len(server.seen))

    do_GET = do_PUT = do_POST = do_DELETE = _any

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Quiet."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(
        self, status: int, content: bytes, kind: str = "application/json", *, announced: int | None = None
    ) -> None:
        """`announced`: a Content-Length larger than what is sent before the connection closes."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(content) if announced is None else announced))
        self.end_headers()
        self.wfile.write(content)


class ScriptedServer(ThreadingHTTPServer):
    """`answer(request, number)` answers request `number`, counted from 1; `seen` lists method, path and headers."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Request, int], None]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answer = answer
        self.seen: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(answer: Callable[[Request, int], None]) -> Iterator[ScriptedServer]:
    server = ScriptedServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
