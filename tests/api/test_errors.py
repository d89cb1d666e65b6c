"""Every error is a problem document that names itself."""

from __future__ import annotations

import json
import uuid
from typing import Any

from starlette.testclient import TestClient

from api.errors import json_pointer
from api.problems import PROBLEMS, TYPE_PREFIX
from tests.api.seeds import Seeds


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The document of a response, checked for what every problem has."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == TYPE_PREFIX + code
    assert document["title"]
    assert document["detail"]
    assert document["instance"] == response.request.url.raw_path.decode().split("?")[0]
    assert document["request_id"] == response.headers["x-request-id"]
    return document


def test_an_unknown_address(client: TestClient) -> None:
    problem(client.get("/v1/nothing"), 404, "route_not_found")
    problem(client.get("/v1/jobs/"), 404, "route_not_found")


def test_a_wrong_method_names_the_right_ones(client: TestClient) -> None:
    response = client.patch("/v1/jobs")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, POST"


ADDRESSES = {
    "/v1/jobs/{}": "job_not_found",
    "/v1/jobs/{}/events": "job_not_found",
    "/v1/jobs/{}/metrics": "job_not_found",
    "/v1/jobs/{}/artifacts": "job_not_found",
    "/v1/jobs/{}/artifacts/a": "job_not_found",
    "/v1/jobs/{}/samples": "job_not_found",
    "/v1/jobs/{}/samples/0": "job_not_found",
    "/v1/jobs/{}/samples/0/image": "job_not_found",
    "/v1/datasets/{}": "dataset_not_found",
    "/v1/datasets/{}/images": "dataset_not_found",
    "/v1/datasets/{}/images/0": "dataset_not_found",
    "/v1/checkpoints/{}": "checkpoint_not_found",
    "/v1/checkpoints/{}/content": "checkpoint_not_found",
    "/v1/uploads/{}": "upload_not_found",
}


def test_an_id_that_names_nothing_is_not_found_however_it_looks(client: TestClient) -> None:
    for name in (str(uuid.uuid4()), "17", "not-an-id", "%00", "é"):
        for path, code in ADDRESSES.items():
            problem(client.get(path.format(name)), 404, code)


QUERIES = {
    "/v1/jobs?status=done": "status",
    "/v1/jobs?limit=0": "limit",
    "/v1/jobs?limit=501": "limit",
    "/v1/jobs?limit=many": "limit",
    "/v1/jobs?after=here": "after",
    "/v1/jobs?stauts=queued": "stauts",
    "/v1/datasets?status=queued": "status",
    "/v1/checkpoints?after=%00": "after",
}


def test_an_unknown_query_value_names_its_parameter(client: TestClient) -> None:
    for path, name in QUERIES.items():
        document = problem(client.get(path), 422, "invalid_request")
        assert [(error["location"], error["name"]) for error in document["errors"]] == [("query", name)]


def test_a_body_that_is_not_json(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    problem(client.post("/v1/jobs", content=b'{"a": ', headers=headers), 400, "malformed_json")
    problem(client.post("/v1/jobs", content=b"[" * 100_000, headers=headers), 400, "malformed_request")
    problem(client.post("/v1/jobs", content=b'"\xff"', headers=headers), 400, "malformed_request")
    problem(client.post("/v1/jobs", content=b"a=1"), 415, "unsupported_media_type")
    problem(client.post("/v1/jobs"), 422, "invalid_request")


def test_a_json_body_beyond_the_limit(client: TestClient) -> None:
    response = client.post("/v1/jobs", json={"name": "x" * 2**20})
    assert problem(response, 413, "content_too_large")["limit"] == 2**20


def test_each_bad_field_has_its_pointer(client: TestClient) -> None:
    response = client.post("/v1/jobs", json={"dataset_id": "x", "name": "", "colour": 1})
    document = problem(response, 422, "invalid_request")
    assert {error["pointer"] for error in document["errors"]} == {"/dataset_id", "/name", "/colour"}


def test_text_that_the_database_cannot_keep_is_refused(client: TestClient, seeds: Seeds) -> None:
    dataset = str(seeds.dataset())
    for name in ("a\x00b", "\ud800", "new\nline", "x" * 201):
        body = json.dumps({"dataset_id": dataset, "name": name})
        response = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert problem(response, 422, "invalid_request")["errors"][0]["pointer"] == "/name"


def test_a_harmless_request_id_is_kept_and_any_other_replaced(client: TestClient) -> None:
    for given in ("abc-1", "x" * 64):
        assert client.get("/v1/jobs", headers={"X-Request-ID": given}).headers["x-request-id"] == given
    for given in ("", "x" * 65, "a b", 'a"b'):
        assert len(client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"]) == 32


def test_every_response_forbids_sniffing(anonymous: TestClient) -> None:
    assert anonymous.get("/healthz").headers["x-content-type-options"] == "nosniff"


def test_pointers_are_escaped() -> None:
    assert json_pointer(("config", "a/b", "m~n", 0)) == "/config/a~1b/m~0n/0"


def test_codes_are_named_once_and_explained() -> None:
    assert all(code.isidentifier() and code.islower() for code in PROBLEMS)
    assert all(known.title and known.example for known in PROBLEMS.values())
