"""What is logged never holds a key's, a webhook's or a login's secret, whatever is sent."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from persistence.settings import Settings
from tests.api.conftest import serving


def test_a_day_of_requests_logs_no_secret(
    settings: Settings, make_key: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    key = make_key("acme", scope="admin")
    secrets = {key, "sEcReTlInK", "hunter2hunter2"}
    with serving(settings) as (url, _), httpx.Client(base_url=url, timeout=20) as client:
        bearer = {"Authorization": f"Bearer {key}", "X-Request-ID": "seen-in-the-log"}
        made = client.post("/v1/keys", json={"name": "x"}, headers=bearer).json()
        secrets.add(made["key"])
        secrets.add(client.post(f"/v1/keys/{made['id']}/rotate", json={}, headers=bearer).json()["key"])
        webhook = client.post("/v1/webhooks", json={"url": "https://example.com/"}, headers=bearer).json()
        secrets.add(webhook["secret"])
        secrets.add(client.post(f"/v1/webhooks/{webhook['id']}/rotate-secret", headers=bearer).json()["secret"])
        client.get("/login/link", params={"token": "sEcReTlInK"})
        client.get("/v1/jobs", headers={"Authorization": "Basic aHVudGVyMmh1bnRlcjI="})
        client.get(f"/v1/jobs/{key}", headers=bearer)
        client.get("/v1/jobs", params={"after": key}, headers=bearer)
        client.put("/v1/uploads/mt_file", content=key, headers=bearer)
        client.post("/login", data={"api_key": key, "csrf_token": "hunter2hunter2"})
        client.cookies.set("masktune_session", "hunter2hunter2")
        client.get("/v1/jobs")
    logged = capfd.readouterr().err
    assert "seen-in-the-log" in logged
    assert {secret[:6] for secret in secrets if secret in logged} == set()
    for line in logged.splitlines():
        json.loads(line)
