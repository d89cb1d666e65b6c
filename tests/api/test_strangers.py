"""Without a valid key, an address may make so many requests; nobody at that address with a key is kept out by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api import cookies
from api.main import create_app
from api.strangers import address_of
from persistence.settings import Settings
from tests.api.conftest import serving
from tests.api.test_errors import problem

MOST = 4
BROWSER = {"Accept": "text/html"}


@pytest.fixture
def few(settings: Settings) -> Settings:
    return settings.model_copy(update={"rate_limit_anonymous": MOST})


@pytest.fixture
def stranger(few: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(few)) as client:
        yield client


def requests_until_refused(client: TestClient | httpx.Client, path: str, **options: Any) -> tuple[int, Any]:
    """How many requests were answered otherwise, and the first that was refused."""
    for number in range(MOST + 3):
        response = client.get(path, **options)
        if response.status_code == 429:
            return number, response
    raise AssertionError("never refused")


def without(**headers: str) -> dict[str, Any]:
    return {"headers": headers, "follow_redirects": False}


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/v1/jobs", without()),
        ("/v1/jobs", without(Authorization="Bearer mt_guess")),
        ("/v1/jobs", without(Cookie=f"{cookies.SESSION}=guess")),
        ("/v1/nothing", without()),
        ("/jobs", without(**BROWSER)),
        ("/jobs", without(Cookie=f"{cookies.SESSION}=guess", **BROWSER)),
        ("/login", without(Cookie=f"{cookies.SESSION}=guess", **BROWSER)),
        ("/docs", without(Authorization="Bearer mt_guess")),
        ("/openapi.json", without()),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value["headers"]) or "nothing",
)
def test_a_stranger_is_refused_beyond_the_limit(stranger: TestClient, path: str, options: dict[str, Any]) -> None:
    number, refused = requests_until_refused(stranger, path, **options)
    assert number == MOST
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-policy"] == f'"address";q={MOST};w=60'
    if "Accept" in options["headers"]:
        assert "one address may make 4 requests" in refused.text
        assert refused.headers["content-type"].startswith("text/html")
    else:
        document = problem(refused, 429, "rate_limited")
        assert (document["limit"], document["window_seconds"]) == (MOST, 60)


def test_all_that_a_stranger_asks_for_counts_together(stranger: TestClient) -> None:
    for path in ("/v1/jobs", "/login", "/openapi.json", "/v1/nothing"):
        assert stranger.get(path).status_code != 429
    assert stranger.post("/login", data={"api_key": "mt_guess"}).status_code == 429
    assert stranger.options("/v1/uploads").status_code == 429


def test_who_has_a_key_is_not_kept_out_by_strangers_at_the_same_address(
    stranger: TestClient, make_key: Callable[..., str]
) -> None:
    key = {"Authorization": f"Bearer {make_key('acme')}"}
    requests_until_refused(stranger, "/v1/jobs")
    for _ in range(MOST + 1):
        assert stranger.get("/v1/jobs", headers=key).status_code == 200


def test_probes_and_the_parts_of_a_page_always_answer(stranger: TestClient) -> None:
    part = next(part for part in stranger.get("/login").text.split('"') if part.startswith("/static/"))
    requests_until_refused(stranger, "/v1/jobs")
    for path in ("/healthz", "/readyz", part):
        for _ in range(MOST + 1):
            assert stranger.get(path).status_code == 200


def test_a_limit_of_zero_is_none(settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"rate_limit_anonymous": 0}))) as client:
        response = client.get("/v1/jobs")
    assert response.status_code == 401
    assert "ratelimit" not in response.headers


def test_the_address_that_a_trusted_proxy_names_is_the_one_that_counts(few: Settings) -> None:
    with serving(few, forwarded_allow_ips="127.0.0.1") as (url, _), httpx.Client(base_url=url, timeout=20) as client:
        number, _ = requests_until_refused(client, "/v1/jobs", headers={"X-Forwarded-For": "198.51.100.7"})
        assert number == MOST
        # What the client put before the proxy's own entry changes nothing.
        forged = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
        assert client.get("/v1/jobs", headers=forged).status_code == 429
        assert client.get("/v1/jobs", headers={"X-Forwarded-For": "198.51.100.8"}).status_code == 401


def test_an_address_that_anybody_else_names_does_not_count(few: Settings) -> None:
    with serving(few, forwarded_allow_ips="192.0.2.1") as (url, _), httpx.Client(base_url=url, timeout=20) as client:
        requests_until_refused(client, "/v1/jobs", headers={"X-Forwarded-For": "198.51.100.7"})
        assert client.get("/v1/jobs", headers={"X-Forwarded-For": "198.51.100.8"}).status_code == 429


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_of_an_ipv6_address_the_network_counts(host: str, address: str) -> None:
    assert address_of({"client": (host, 1)}) == address


def test_without_an_address_all_count_together() -> None:
    assert address_of({"client": None}) == "unknown"
