"""The HTTP client: retries, pages, uploads, downloads, problems."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cli.client import Client
from cli.errors import ConnectionFailed, DownloadCorrupt, Problem, UsageError
from cli.services import free_port
from tests.cli.http_server import Request, serving


def client_for(url: str) -> Client:
    return Client(url, "mt_test", sleep=lambda _: None)


def test_a_read_is_repeated_while_the_service_is_away_for_a_moment() -> None:
    def answer(request: Request, number: int) -> None:
        if number < 3:
            request.reply(503, b'{"code": "service_unavailable"}')
        else:
            request.reply(200, b'{"ok": true}')

    with serving(answer) as server, client_for(server.url) as client:
        assert client.get("/v1/jobs") == {"ok": True}
    assert len(server.seen) == 3


def test_a_submit_without_an_idempotency_key_is_sent_once() -> None:
    with serving(lambda request, _: request.reply(503, b"{}")) as server, client_for(server.url) as client:
        with pytest.raises(Problem):
            client.post("/v1/jobs", {})
    assert len(server.seen) == 1


def test_a_submit_with_an_idempotency_key_is_repeated_with_the_same_key_and_body() -> None:
    bodies = []

    def answer(request: Request, number: int) -> None:
        bodies.append(request.body())
        if number > 1:
            request.reply(201, b'{"id": "j"}')

    with serving(answer) as server, client_for(server.url) as client:
        assert client.post("/v1/jobs", {"a": 1}, idempotency_key="k") == {"id": "j"}
    assert bodies[0] == bodies[1]
    assert [headers["Idempotency-Key"] for _, _, headers in server.seen] == ["k", "k"]


def test_when_nobody_listens_the_error_names_the_address_and_the_way_out() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with client_for(url) as client, pytest.raises(ConnectionFailed, match=f"{url}.*masktune up"):
        client.get("/v1/jobs")


def test_a_key_that_cannot_stand_in_a_header_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="API key"):
        Client("http://127.0.0.1:1", "mt_ключ")


def test_pages_are_followed_to_the_end_and_no_further_than_asked() -> None:
    def answer(request: Request, number: int) -> None:
        first = "after=" not in request.path
        page = {"data": [{"n": 1}, {"n": 2}], "has_more": True, "next": "c"} if first else {"data": [{"n": 3}]}
        request.reply(200, json.dumps({"has_more": False, "next": None, **page}).encode())

    with serving(answer) as server, client_for(server.url) as client:
        assert [row["n"] for row in client.pages("/v1/jobs", status="queued")] == [1, 2, 3]
        assert all("status=queued" in path for _, path, _ in server.seen)
        assert [row["n"] for row in client.pages("/v1/jobs", limit=1)] == [1]
    assert len(server.seen) == 3


def test_an_upload_announces_size_and_hash_and_sends_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    file = tmp_path / "my data?.zip"
    file.write_bytes(content)
    received = []
    progress: list[tuple[int, int]] = []

    def answer(request: Request, number: int) -> None:
        received.append(request.body())
        request.reply(201, b'{"id": "u"}')

    with serving(answer) as server, client_for(server.url) as client:
        uploaded = client.upload(file, advance=lambda done, total: progress.append((done, total)))
    assert uploaded == {"id": "u"}
    assert received == [content]
    method, path, headers = server.seen[0]
    assert (method, path) == ("PUT", "/v1/uploads/my%20data%3F.zip")
    assert headers["X-Content-SHA256"] == hashlib.sha256(content).hexdigest()
    assert progress[-1] == (len(content), len(content))


def test_a_download_goes_on_where_the_connection_broke(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000

    def answer(request: Request, number: int) -> None:
        if number == 1:
            request.reply(200, content[:1_000_000], "application/octet-stream", announced=len(content))
        else:
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            request.reply(206, content[start:], "application/octet-stream")

    destination = tmp_path / "out" / "file"
    with serving(answer) as server, client_for(server.url) as client:
        client.download("/file", destination, sha256=hashlib.sha256(content).hexdigest())
    assert destination.read_bytes() == content
    assert len(server.seen) == 2
    assert int(server.seen[1][2]["Range"].removeprefix("bytes=").removesuffix("-")) > 0


def test_a_download_with_another_hash_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with serving(lambda request, _: request.reply(200, b"tampered")) as server, client_for(server.url) as client:
        with pytest.raises(DownloadCorrupt, match="SHA-256"):
            client.download("/file", tmp_path / "file", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_problem_is_shown_with_title_detail_code_and_fields() -> None:
    problem = {
        "title": "The configuration is not valid",
        "detail": "1 field is not valid.",
        "code": "invalid_config",
        "errors": [{"location": "body", "pointer": "/config/erm/epochs", "code": "ge", "detail": "must be at least 1"}],
    }
    with serving(lambda request, _: request.reply(422, json.dumps(problem).encode())) as server:
        with client_for(server.url) as client, pytest.raises(Problem) as caught:
            client.get("/v1/jobs")
    assert str(caught.value) == (
        "The configuration is not valid: 1 field is not valid. [invalid_config]\n"
        "  /config/erm/epochs: must be at least 1"
    )


def test_an_answer_that_is_no_problem_document_still_says_what_came() -> None:
    with serving(lambda request, _: request.reply(418, b"<html>teapot</html>", "text/html")) as server:
        with client_for(server.url) as client, pytest.raises(Problem, match=r"418.*teapot"):
            client.get("/v1/jobs")
