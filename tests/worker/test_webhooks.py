"""Messages are signed, go nowhere but to checked addresses, and end in time whatever the receiver does."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpcore
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from standardwebhooks import Webhook as Receiver
from standardwebhooks.webhooks import WebhookVerificationError

from persistence import webhooks
from persistence.database import transaction
from persistence.settings import Settings
from persistence.webhook_targets import parse_networks
from tests.fixtures.records import make_job, make_tenant
from worker.context import Context, make_context
from worker.webhooks import guarded_network
from worker.webhooks.delivering import deliver
from worker.webhooks.sending import Answer, send, signed

LOCAL = parse_networks("127.0.0.1/32")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAYLOAD = {"type": "job.succeeded", "data": {"seq": 3, "name": "später"}}


class Hook(ThreadingHTTPServer):
    """A receiver on 127.0.0.1; `status` and `headers` are its answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 204
        self.answer_headers: dict[str, str] = {}
        self.body = b""
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((dict(self.headers.items()), body))
        self.send_response(self.server.status)
        for name, value in self.server.answer_headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(self.server.body)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def listening(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A raw server for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    behave(connection)
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join(10)
        assert not thread.is_alive()


def sent(url: str, **options: Any) -> Answer:
    options.setdefault("allowed", LOCAL)
    return send(url, uuid.uuid4(), PAYLOAD, [SECRET], **options)


def test_the_signature_is_the_specifications() -> None:
    """The example of Standard Webhooks' own reference libraries."""
    moment = datetime.fromtimestamp(1614265330, UTC)
    headers = signed(uuid.UUID(int=0), moment, b'{"test": 2432232314}', [SECRET])
    assert headers["webhook-timestamp"] == "1614265330"
    name = "msg_p5jXN8AQM9LWM0D4loKWxJek"
    signature = Receiver(SECRET).sign(name, moment, '{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_message_arrives_and_its_signature_is_right(hook: Hook) -> None:
    message = uuid.uuid4()
    assert send(hook.url, message, PAYLOAD, [SECRET], allowed=LOCAL) == Answer(204, None)
    [(headers, body)] = hook.received
    assert Receiver(SECRET).verify(body, headers) == PAYLOAD
    assert headers["webhook-id"] == f"msg_{message.hex}"
    assert headers["Content-Type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Receiver(SECRET).verify(body + b" ", headers)


def test_after_a_rotation_either_secret_verifies(hook: Hook) -> None:
    other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    send(hook.url, uuid.uuid4(), PAYLOAD, [other, SECRET], allowed=LOCAL)
    [(headers, body)] = hook.received
    for secret in (SECRET, other):
        assert Receiver(secret).verify(body, headers) == PAYLOAD


def test_nothing_that_is_not_public_is_called(hook: Hook) -> None:
    port = hook.server_address[1]
    for url in (f"https://127.0.0.1:{port}/", f"https://localhost:{port}/", f"https://0x7f.1:{port}/", hook.url):
        answer = sent(url, allowed=())
        assert answer.status is None
        assert answer.error is not None
        assert answer.error.startswith("not called: "), url
    assert hook.received == []


def test_a_name_with_one_private_address_is_not_called(hook: Hook) -> None:
    def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    answer = sent("https://mixed.example/", allowed=(), resolve=resolve)
    assert answer.error == "not called: mixed.example resolves to 10.0.0.1, which is not a public address"


def test_the_connection_is_made_to_the_address_that_was_checked(hook: Hook) -> None:
    """A name that resolves otherwise the second time (DNS rebinding) is resolved once."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    answer = sent(hook.url.replace("127.0.0.1", "rebinding.example"), resolve=resolve)
    assert answer.status == 204
    assert asked == ["rebinding.example"]
    assert hook.received[0][0]["Host"].startswith("rebinding.example:")


def test_without_tls_only_allowed_networks_are_called(hook: Hook) -> None:
    for scheme in ("http", "HTTP", "hTtP"):
        answer = sent(f"{scheme}://public.example/", resolve=lambda host, port: ["8.8.8.8"])
        assert answer.error == "not called: public.example resolves to 8.8.8.8, to which nothing is sent without TLS"


def test_a_receiver_whose_certificate_is_not_trusted_gets_nothing(hook: Hook) -> None:
    answer = sent(hook.url.replace("http://", "https://"), seconds=2.0)
    assert answer.status is None
    assert hook.received == []


def test_a_redirect_is_not_followed(hook: Hook) -> None:
    hook.status, hook.answer_headers = 307, {"Location": hook.url}
    assert sent(hook.url) == Answer(307, "answered 307; redirects are not followed")
    assert len(hook.received) == 1


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_any_other_answer_is_a_failure(hook: Hook, status: int) -> None:
    hook.status = status
    assert sent(hook.url) == Answer(status, f"answered {status}")


def test_an_answers_body_is_never_read(hook: Hook) -> None:
    hook.status, hook.body = 200, b"x" * 50_000_000
    started = time.monotonic()
    assert sent(hook.url).status == 200
    assert time.monotonic() - started < 2


def test_a_head_without_end_is_cut_off() -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")

    with listening(behave) as url:
        answer = sent(url, seconds=5.0)
    assert answer.status is None


def test_a_receiver_that_drips_is_left_when_the_time_is_over() -> None:
    def behave(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    started = time.monotonic()
    with listening(behave) as url:
        answer = sent(url, seconds=0.5)
    assert answer == Answer(None, "no answer within 0.5 seconds")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 999999 X\r\n\r\n", b"\x16\x03\x01"])
def test_nonsense_is_a_failure(said: bytes) -> None:
    with listening(lambda connection: connection.sendall(said)) as url:
        answer = sent(url, seconds=2.0)
    assert answer.status is None
    assert answer.error


def test_nobody_there_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    answer = sent(f"http://127.0.0.1:{port}/", seconds=2.0)
    assert answer.status is None
    assert sent("https://nowhere.invalid/", allowed=()).status is None


def test_a_unix_socket_is_not_reached() -> None:
    network = guarded_network.GuardedNetwork((), plain=False, seconds=1.0)
    with pytest.raises(NotImplementedError):
        network.connect_unix_socket("/run/postgresql/.s.PGSQL.5432")
    assert issubclass(guarded_network.GuardedNetwork, httpcore.NetworkBackend)


@pytest.fixture
def context(settings: Settings) -> Iterator[Context]:
    made = make_context(settings.model_copy(update={"webhook_private_networks": "127.0.0.1/32"}))
    yield made
    made.sessions.kw["bind"].dispose()


def test_a_round_tells_of_events_and_notes_what_became_of_it(
    context: Context, hook: Hook, sessions: sessionmaker[Session]
) -> None:
    with transaction(sessions) as session:
        tenant_id = make_tenant(session)
        webhook = webhooks.create(session, tenant_id, url=hook.url, events=["job.queued"])
        job = make_job(session, tenant_id)
    deliver(context)
    deliver(context)
    [(headers, body)] = hook.received
    assert Receiver(webhook.secret).verify(body, headers)["data"]["job_id"] == str(job.id)
    with transaction(sessions) as session:
        [line] = webhooks.deliveries_page(session, webhook).rows
    assert (line.status, line.response_status, line.attempts) == ("delivered", 204, 1)
    assert json.loads(body) == line.payload
    assert headers["webhook-id"] == f"msg_{line.id.hex}"


def test_a_message_that_fails_is_tried_again_later_under_the_same_id(
    context: Context, hook: Hook, sessions: sessionmaker[Session]
) -> None:
    with transaction(sessions) as session:
        tenant_id = make_tenant(session)
        webhook = webhooks.create(session, tenant_id, url=hook.url, events=["job.queued"])
        message = webhooks.send_test(session, tenant_id, webhook.id)
    hook.status = 503
    deliver(context)
    deliver(context)
    assert len(hook.received) == 1
    hook.status = 200
    with transaction(sessions) as session:
        line = webhooks.get_delivery(session, webhook, message.id)
        assert (line.status, line.error) == ("pending", "answered 503")
        assert line.next_attempt_at is not None
        line.next_attempt_at = line.created_at
    deliver(context)
    assert len({headers["webhook-id"] for headers, _ in hook.received}) == 1
    with transaction(sessions) as session:
        assert webhooks.get_delivery(session, webhook, message.id).status == "delivered"


def test_what_can_be_sent_is_sent_though_nothing_can_be_passed_on(
    context: Context, hook: Hook, sessions: sessionmaker[Session]
) -> None:
    with transaction(sessions) as session:
        tenant_id = make_tenant(session)
        webhook = webhooks.create(session, tenant_id, url=hook.url, events=["job.queued"])
        message = webhooks.send_test(session, tenant_id, webhook.id)
        session.execute(text("ALTER TABLE jobs RENAME COLUMN webhook_seq TO gone"))
    deliver(context)
    assert [headers["webhook-id"] for headers, _ in hook.received] == [f"msg_{message.id.hex}"]


def test_a_receiver_that_is_gone_disables_its_webhook(
    context: Context, hook: Hook, sessions: sessionmaker[Session]
) -> None:
    with transaction(sessions) as session:
        tenant_id = make_tenant(session)
        webhook = webhooks.create(session, tenant_id, url=hook.url, events=["job.queued"])
        webhooks.send_test(session, tenant_id, webhook.id)
    hook.status = 410
    deliver(context)
    with transaction(sessions) as session:
        assert not webhooks.get(session, tenant_id, webhook.id).enabled
