"""Every answer tells browsers to run and frame nothing, and no page asks another origin for anything."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/nothing", "/healthz", "/openapi.json", "/v1/presets"])
def test_data_may_not_act_as_a_page(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "strict-transport-security" not in headers


def test_over_tls_browsers_are_told_to_stay_there(anonymous: TestClient) -> None:
    assert anonymous.get("https://testserver/healthz").headers["strict-transport-security"] == "max-age=31536000"


def test_the_reference_loads_everything_from_here(anonymous: TestClient) -> None:
    page = anonymous.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for address in loaded:
        assert address.startswith(("/docs/", "data:,"))
        if address.startswith("/docs/"):
            asset = anonymous.get(address)
            assert asset.status_code == 200
            assert asset.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")
    assert not re.search(r"<script>|<style|\son\w+=", page.text)
    etag = anonymous.get("/docs/swagger-ui.css").headers["etag"]
    assert anonymous.get("/docs/swagger-ui.css", headers={"If-None-Match": etag}).status_code == 304
    assert anonymous.get("/docs/redoc.standalone.js").status_code == 404
