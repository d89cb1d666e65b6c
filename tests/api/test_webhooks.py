"""Webhooks are made, changed and looked into over HTTP; their secret is shown when it is made."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.test_errors import problem

URL = "https://example.com/hook"


@pytest.fixture
def admin(anonymous: TestClient, make_key: Callable[..., str]) -> TestClient:
    anonymous.headers["Authorization"] = f"Bearer {make_key('acme', scope='admin')}"
    return anonymous


def made(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/webhooks", json={"url": URL, **body})
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "no-store"
    answer: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/webhooks/{answer['id']}"
    return answer


def test_the_secret_is_shown_when_it_is_made(admin: TestClient) -> None:
    webhook = made(admin)
    assert webhook["secret"].startswith("whsec_")
    assert webhook["events"] == ["job.cancelled", "job.failed", "job.succeeded"]
    for path in ("/v1/webhooks", f"/v1/webhooks/{webhook['id']}", f"/v1/webhooks/{webhook['id']}/deliveries"):
        assert "whsec_" not in admin.get(path).text
    rotated = admin.post(f"/v1/webhooks/{webhook['id']}/rotate-secret").json()
    assert rotated["secret"] not in ("", webhook["secret"])


def test_a_webhook_is_changed_and_deleted(admin: TestClient) -> None:
    address = f"/v1/webhooks/{made(admin)['id']}"
    changed = admin.patch(address, json={"events": ["job.queued"], "enabled": False, "description": "x"}).json()
    assert (changed["url"], changed["events"], changed["enabled"]) == (URL, ["job.queued"], False)
    assert admin.patch(address, json={}).json() == changed
    assert admin.delete(address).status_code == 204
    problem(admin.get(address), 404, "webhook_not_found")


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://169.254.169.254/", "https://[::1]/", "https://u@e.com/"]
)
def test_only_public_addresses_are_taken(admin: TestClient, url: str) -> None:
    for response in (
        admin.post("/v1/webhooks", json={"url": url}),
        admin.patch(f"/v1/webhooks/{made(admin)['id']}", json={"url": url}),
    ):
        [error] = problem(response, 422, "invalid_request")["errors"]
        assert (error["pointer"], error["code"]) == ("/url", "webhook_url")


@pytest.mark.parametrize("body", [{"events": []}, {"events": ["job.exploded"]}, {"secret": "mine"}, {"url": ""}])
def test_what_makes_no_webhook(admin: TestClient, body: dict[str, Any]) -> None:
    problem(admin.post("/v1/webhooks", json={"url": URL, **body}), 422, "invalid_request")


def test_a_test_message_is_in_the_log_and_can_be_sent_again(admin: TestClient) -> None:
    address = f"/v1/webhooks/{made(admin)['id']}"
    message = admin.post(f"{address}/test")
    assert message.status_code == 202
    assert message.json()["type"] == "webhook.test"
    [line] = admin.get(f"{address}/deliveries").json()["data"]
    assert (line["id"], line["status"], line["attempts"]) == (message.json()["id"], "pending", 0)
    assert admin.get(f"{address}/deliveries", params={"status": "failed"}).json()["data"] == []
    again = admin.post(f"{address}/deliveries/{line['id']}/retry")
    assert (again.status_code, again.json()["id"]) == (202, line["id"])
    problem(admin.post(f"{address}/deliveries/{uuid.uuid4()}/retry"), 404, "delivery_not_found")


def test_there_is_an_end_to_webhooks(admin: TestClient) -> None:
    for _ in range(20):
        made(admin)
    problem(admin.post("/v1/webhooks", json={"url": URL}), 409, "too_many_webhooks")
