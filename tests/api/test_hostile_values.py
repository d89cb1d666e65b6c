"""No value of any parameter is answered with a server error, or with anything but a problem document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from tests.api.seeds import Seeds

HOSTILE = ("", "-1", "99999999999999999999", "1e5", "\x00", "\u2028", "١", "é" * 300, "'; drop table jobs; --", "[]")


def test_no_query_value_breaks_anything(client: TestClient, make_key: Callable[..., str], seeds: Seeds) -> None:
    # One that may do everything, so that every operation looks at what it is sent.
    client.headers["Authorization"] = f"Bearer {make_key('acme', scope='admin')}"
    job_id = seeds.finished_job()
    webhook_id, delivery_id = seeds.delivery()
    known = {
        "webhook_id": webhook_id,
        "delivery_id": delivery_id,
        "job_id": job_id,
        "dataset_id": seeds.look(job_id).dataset_id,
        "checkpoint_id": seeds.stored_checkpoint(b"weights"),
        "upload": seeds.upload(),
        "image_index": 0,
        "sample_index": 0,
        "artifact_name": "result.json",
        "preset_name": "svhn",
    }
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []):
            for value in HOSTILE:
                response = _with(client, path, known, parameter, value)
                where = (path, parameter["name"], value, response.text)
                assert response.status_code < 500, where
                if response.status_code >= 400:
                    assert response.headers["content-type"] == "application/problem+json", where


def _with(client: TestClient, path: str, known: dict[str, Any], parameter: dict[str, Any], value: str) -> Any:
    """GET `path` with one parameter set to a hostile value, and everything else as it should be."""
    name, place = parameter["name"], parameter["in"]
    names = {**known, name: value} if place == "path" else known
    # An empty segment or a dot would be another address, which is not the point here.
    address = path.format(**{key: str(given).replace("/", "") or "x" for key, given in names.items()})
    query = {name: value} if place == "query" else {}
    return client.get(address.replace("\x00", "%00").replace("\u2028", "%E2%80%A8"), params=query)
