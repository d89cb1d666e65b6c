"""What all pages have in common."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from api.web.assets import assets, static, version


def test_a_page_allows_nothing_inline_and_nothing_from_elsewhere(visitor: TestClient) -> None:
    for address in ("/login", "/jobs", "/nowhere"):
        answer = visitor.get(address)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(
            r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|(?:src|href)=[\"']?(?:https?:)?//", answer.text
        )


def test_an_error_is_a_page_for_people_and_a_problem_for_programs(visitor: TestClient) -> None:
    page = visitor.get("/nowhere")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is nothing at /nowhere" in page.text
    assert page.headers["x-request-id"] in page.text
    for address, headers in (("/v1/nowhere", {}), ("/nowhere", {"Accept": "*/*"}), ("/nowhere", {"HX-Request": "1"})):
        problem = visitor.get(address, headers=headers)
        assert (problem.status_code, problem.headers["content-type"]) == (404, "application/problem+json")


def test_what_is_shown_is_escaped(visitor: TestClient) -> None:
    assert "<script>alert" not in visitor.get("/%3Cscript%3Ealert(1)%3C/script%3E").text


def test_an_asset_is_kept_for_ever_under_its_version(browser: TestClient) -> None:
    answer = browser.get(static("style.css"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    again = browser.get(static("style.css"), headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    plain = browser.get(static("style.css"), headers={"Accept-Encoding": "identity"})
    assert plain.content == assets()["style.css"].content


def test_an_asset_of_another_version_is_not_kept(browser: TestClient) -> None:
    assert browser.get("/static/000000000000/style.css").headers["cache-control"] == "no-cache"
    assert browser.get(f"/static/{version()}/../assets.py").status_code == 404
    assert browser.get(f"/static/{version()}/nothing.js").status_code == 404


def test_every_module_that_a_script_imports_is_there() -> None:
    for path, asset in assets().items():
        if not path.startswith("js/"):
            continue
        for name in re.findall(r"from \"\./([^\"]+)\"", asset.content.decode()):
            assert f"js/{name}" in assets(), path
