"""Logging in and out, and what a cookie may do under /v1."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api import cookies
from api.web.login.endpoints import local
from persistence import api_keys, login_attempts, tenants
from persistence.database import transaction
from tests.api.seeds import Seeds
from tests.web.conftest import csrf_of


def log_in(browser: TestClient, key: str, **fields: str) -> tuple[int, str]:
    """Fill in the form; the status and where it leads."""
    token = re.findall(r'name="csrf_token" value="(\w+)"', browser.get("/login").text)[0]
    fields = {"csrf_token": token, "api_key": key, **fields}
    answer = browser.post("/login", data=fields, follow_redirects=False)
    return answer.status_code, answer.headers.get("location", "")


def test_a_page_leads_to_the_login_and_back(browser: TestClient, key: str) -> None:
    answer = browser.get("/jobs?status=failed", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fjobs%3Fstatus%3Dfailed")
    assert log_in(browser, key, next="/jobs?status=failed") == (303, "/jobs?status=failed")
    assert browser.get("/jobs?status=failed", follow_redirects=False).status_code == 200


def test_a_key_opens_a_session_that_scripts_and_other_sites_cannot_use(browser: TestClient, key: str) -> None:
    browser.get("/login")
    token = cookies.csrf_token(browser.cookies[cookies.BEFORE_LOGIN])
    answer = browser.post("/login", data={"csrf_token": token, "api_key": key}, follow_redirects=False)
    cookie = next(value for value in answer.headers.get_list("set-cookie") if value.startswith(cookies.SESSION))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert key not in cookie


def test_over_https_the_cookie_stays_there(browser: TestClient, make_link: Callable[[str], str]) -> None:
    answer = browser.get(f"https://testserver{make_link('acme')}", follow_redirects=False)
    assert all("Secure" in cookie for cookie in answer.headers.get_list("set-cookie"))


def test_an_unknown_key_is_refused_in_words(browser: TestClient) -> None:
    assert log_in(browser, "mt_nonsense") == (401, "")
    assert browser.get("/jobs", follow_redirects=False).status_code == 303


def test_a_form_from_elsewhere_logs_nobody_in(browser: TestClient, key: str) -> None:
    assert log_in(browser, key, csrf_token="0" * 64) == (403, "")
    assert log_in(browser, key, csrf_token="ä") == (403, "")
    browser.cookies.clear()
    assert browser.post("/login", data={"api_key": key}, follow_redirects=False).status_code == 403


def test_a_link_logs_in_once(browser: TestClient, make_link: Callable[[str], str], tenant: str) -> None:
    link = make_link(tenant)
    answer = browser.get(link, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert tenant in browser.get("/jobs").text
    # Opened again where it worked before, it just goes on.
    assert browser.get(link, follow_redirects=False).status_code == 303
    browser.cookies.clear()
    again = browser.get(link, follow_redirects=False)
    assert again.status_code == 401
    assert "was used before" in again.text


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ("/jobs?a=b", "/jobs?a=b"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\nSet-Cookie: a=b", "/"),
        ("", "/"),
    ],
)
def test_the_login_leads_nobody_away(wanted: str, where: str) -> None:
    assert local(wanted) == where


def test_logging_out_ends_the_session_here_and_not_just_the_cookie(visitor: TestClient) -> None:
    kept = visitor.cookies[cookies.SESSION]
    answer = visitor.post("/logout", data={"csrf_token": csrf_of(visitor)}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    visitor.cookies.set(cookies.SESSION, kept)
    assert visitor.get("/jobs", follow_redirects=False).status_code == 303
    assert visitor.get("/v1/jobs").status_code == 401


def test_logging_out_everywhere_ends_the_other_browsers_too(
    visitor: TestClient, make_link: Callable[[str], str], tenant: str
) -> None:
    first = visitor.cookies[cookies.SESSION]
    visitor.cookies.clear()
    visitor.get(make_link(tenant), follow_redirects=False)
    visitor.post("/logout", data={"csrf_token": csrf_of(visitor), "everywhere": "1"}, follow_redirects=False)
    visitor.cookies.set(cookies.SESSION, first)
    assert visitor.get("/jobs", follow_redirects=False).status_code == 303


def test_logging_out_needs_the_pages_token(visitor: TestClient) -> None:
    assert visitor.post("/logout", follow_redirects=False).status_code == 403
    assert visitor.get("/jobs", follow_redirects=False).status_code == 200


def test_a_revoked_key_ends_the_sessions_that_it_opened(
    browser: TestClient, key: str, sessions: sessionmaker[Session], tenant: str
) -> None:
    log_in(browser, key)
    assert browser.get("/jobs", follow_redirects=False).status_code == 200
    with transaction(sessions) as session:
        for row in api_keys.list_keys(session, tenants.get_or_create(session, tenant).id):
            api_keys.revoke(session, row.id)
    assert browser.get("/jobs", follow_redirects=False).status_code == 303


def test_too_many_tries_are_refused_even_with_the_right_key(browser: TestClient, key: str) -> None:
    for _ in range(login_attempts.MOST):
        assert log_in(browser, "mt_guess")[0] == 401
    status, _ = log_in(browser, key)
    assert status == 429
    answer = browser.get("/login/link?token=guess")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert "Wait a minute" in answer.text


def test_the_cookie_reads_what_is_the_tenants_own_under_v1(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    assert [job["id"] for job in visitor.get("/v1/jobs").json()["data"]] == [str(job_id)]
    picture = visitor.get(f"/v1/jobs/{job_id}/samples/0/image?view=heatmap")
    assert picture.headers["content-type"] == "image/webp"


def test_the_cookie_reads_nothing_of_others(browser: TestClient, make_link: Callable[[str], str], seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    browser.get(make_link("other"), follow_redirects=False)
    assert browser.get(f"/v1/jobs/{job_id}").status_code == 404
    assert browser.get("/v1/jobs").json()["data"] == []


def test_with_the_cookie_a_change_needs_the_pages_token(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    refused = visitor.post(f"/v1/jobs/{job_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_failed")
    assert seeds.look(job_id).status == "queued"
    allowed = visitor.post(f"/v1/jobs/{job_id}/cancel", headers={cookies.CSRF_HEADER: csrf_of(visitor)})
    assert (allowed.status_code, allowed.json()["status"]) == (200, "cancelled")


def sent_to(browser: TestClient, **headers: str) -> str:
    """Where the whole window goes when a part of a page is asked for by nobody."""
    answer = browser.get("/jobs/1/row", headers={"HX-Request": "true"} | headers, follow_redirects=False)
    assert answer.status_code == 401
    return str(answer.headers["hx-redirect"])


def test_a_script_of_a_page_is_told_where_to_log_in(browser: TestClient) -> None:
    assert sent_to(browser) == "/login"


def test_whose_session_ends_while_a_page_asks_by_itself_comes_back_to_that_page(browser: TestClient, key: str) -> None:
    where = sent_to(browser, **{"HX-Current-URL": f"{browser.base_url}/jobs?status=running&name=a b"})
    assert where == "/login?next=%2Fjobs%3Fstatus%3Drunning%26name%3Da%20b"
    assert 'value="/jobs?status=running&amp;name=a b"' in browser.get(where).text


@pytest.mark.parametrize(
    "address",
    [
        "https://elsewhere.example/jobs",
        "//elsewhere.example",
        "http://[",
        "javascript:alert(1)",
        "",
        "{base}//evil.example",
        "{base}/jobs?name=" + 2000 * "x",
    ],
)
def test_nobody_is_led_elsewhere_by_the_page_that_was_asked_from(browser: TestClient, address: str) -> None:
    address = address.replace("{base}", str(browser.base_url))
    assert sent_to(browser, **{"HX-Current-URL": address}) == "/login"
