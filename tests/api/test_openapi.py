"""The OpenAPI document tells everything about every operation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.main import create_app
from api.problems import MEDIA_TYPE, PROBLEMS
from masktune_core.config import PRESETS, JobConfig, resolve_config
from persistence.settings import Settings

METHODS = {"get", "put", "post", "delete", "patch", "head"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Made without any service."""
    settings = Settings(database_url=SecretStr("postgresql+psycopg:///none"), redis_url=SecretStr("redis://none"))
    openapi: dict[str, Any] = create_app(settings).openapi()
    return openapi


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert method in METHODS
            yield method, path, operation


def test_every_operation_is_explained(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        where = (method, path)
        assert operation["summary"], where
        assert len(operation["description"]) > 9, where
        assert operation["tags"], where
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (where, parameter["name"])
            if "default" not in parameter["schema"]:
                assert parameter["schema"].get("examples") or parameter.get("example"), (where, parameter["name"])
        if "requestBody" in operation and "application/json" in operation["requestBody"]["content"]:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert _resolved(document, schema)["examples"], where


def test_every_operation_shows_an_answer(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        successes = [response for status, response in operation["responses"].items() if status.startswith("2")]
        assert successes, (method, path)
        for response in successes:
            assert response["description"], (method, path)
            for media_type, body in response.get("content", {}).items():
                if media_type == "application/json":
                    assert body["example"], (method, path)
                    json.dumps(body["example"])


def test_every_operation_documents_its_problems(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        problems = {status for status in operation["responses"] if status[0] in "45"}
        if path == "/healthz":
            assert problems == set()
            continue
        assert problems >= ({"503"} if path == "/readyz" else {"401", "422", "500", "503"}), (method, path)
        if "{" in path and method != "put":
            assert "404" in problems, (method, path)
        for status in problems:
            content = operation["responses"][status]["content"]
            assert set(content) == {MEDIA_TYPE}, (method, path, status)
            assert content[MEDIA_TYPE]["schema"] == {"$ref": "#/components/schemas/Problem"}
            for code, example in content[MEDIA_TYPE]["examples"].items():
                assert PROBLEMS[code].status == example["value"]["status"] == int(status)


def test_every_problem_but_the_general_ones_is_documented_somewhere(document: dict[str, Any]) -> None:
    told = {
        code
        for _, _, operation in operations(document)
        for response in operation["responses"].values()
        for code in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
    }
    general = {"route_not_found", "method_not_allowed", "conflict"}
    of_browsers = {"csrf_failed", "too_many_logins"}  # the document is for those who come with a key
    assert set(PROBLEMS) - told == general | of_browsers


def test_operation_ids_are_stable(document: dict[str, Any]) -> None:
    assert sorted(operation["operationId"] for _, _, operation in operations(document)) == [
        "append_to_upload",
        "begin_upload",
        "cancel_job",
        "change_webhook",
        "complete_upload",
        "count_job_samples",
        "create_checkpoint",
        "create_dataset",
        "create_job",
        "create_key",
        "create_upload",
        "create_webhook",
        "delete_checkpoint",
        "delete_dataset",
        "delete_job",
        "delete_upload",
        "delete_webhook",
        "export_job_samples",
        "get_checkpoint",
        "get_checkpoint_content",
        "get_config_schema",
        "get_dataset",
        "get_dataset_image",
        "get_dataset_report",
        "get_health",
        "get_job",
        "get_job_artifact",
        "get_job_insight",
        "get_job_insight_image",
        "get_job_manifest",
        "get_job_sample",
        "get_job_sample_image",
        "get_key",
        "get_preset",
        "get_readiness",
        "get_upload",
        "get_webhook",
        "head_checkpoint_content",
        "head_job_artifact",
        "head_upload",
        "list_checkpoints",
        "list_dataset_images",
        "list_datasets",
        "list_job_artifacts",
        "list_job_events",
        "list_job_metrics",
        "list_job_samples",
        "list_job_stages",
        "list_jobs",
        "list_keys",
        "list_presets",
        "list_uploads",
        "list_webhook_deliveries",
        "list_webhooks",
        "pause_job",
        "resume_job",
        "retry_webhook_delivery",
        "revoke_key",
        "rotate_key",
        "rotate_webhook_secret",
        "send_webhook_test",
        "sign_upload_parts",
    ]


def test_every_schema_field_is_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    for name, schema in schemas.items():
        assert schema.get("description"), name


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return found


def test_presets_are_whole_configurations(client: TestClient) -> None:
    presets = client.get("/v1/presets").json()["data"]
    assert {preset["name"]: JobConfig.model_validate(preset["config"]) for preset in presets} == dict(PRESETS)
    assert client.get("/v1/presets/svhn").json() == {
        "name": "svhn",
        "config": resolve_config("svhn").model_dump(mode="json"),
        "pretrained_weights": None,
    }
    weights = {preset["name"]: preset["pretrained_weights"] for preset in presets}
    assert weights["waterbirds"] == weights["celeba"] == "resnet50.tv_in1k"
    response = client.get("/v1/presets/mnist")
    assert (response.status_code, response.json()["code"]) == (404, "preset_not_found")


def test_the_configuration_schema_tells_units_and_bounds(client: TestClient) -> None:
    schema = client.get("/v1/config-schema").json()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    epochs = schema["$defs"]["ErmConfig"]["properties"]["epochs"]
    assert (epochs["minimum"], epochs["default"]) == (1, 5)
