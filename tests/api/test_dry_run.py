"""A dry run tells what would become of a job, and creates nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from masktune_core.config import resolve_config
from persistence.database import transaction
from persistence.tables import Dataset, Tenant
from tests.api.seeds import Seeds

NOWHERE = "00000000-0000-7000-8000-000000000000"


def rehearse(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/jobs?dry_run=true", json=body)
    assert response.status_code == 200, response.text
    assert client.get("/v1/jobs").json()["data"] == []
    document: dict[str, Any] = response.json()
    assert document["would_run"] == (not document["reasons"])
    return document


def reasons(document: dict[str, Any]) -> dict[str, str]:
    return {reason["pointer"]: reason["code"] for reason in document["reasons"]}


def test_a_good_submission_shows_its_configuration_and_its_price(client: TestClient, seeds: Seeds) -> None:
    config = {"seed": 7, "erm": {"epochs": 3}}
    document = rehearse(client, dataset_id=str(seeds.dataset(images=10)), preset="biased_mnist", config=config)
    assert document["would_run"]
    assert document["config"] == resolve_config("biased_mnist", config).model_dump(mode="json")
    estimate = document["estimate"]
    assert estimate["images"] == {"training_erm": 30, "masking": 10, "finetuning": 10, "evaluating": 10}
    assert estimate["basis"] == "rough"
    assert estimate["seconds"] > 0
    assert estimate["host_memory_bytes"] > 100 * 2**20
    assert estimate["device_memory_bytes"] > 128 * 300_000
    assert estimate["disk_bytes"] > 12345


def test_nobody_can_tell_the_price_of_an_unknown_network(client: TestClient, seeds: Seeds) -> None:
    config = {"model": {"architecture": "timm/resnet26"}, "input": {"size": 64}}
    document = rehearse(client, dataset_id=str(seeds.dataset()), config=config)
    estimate = document["estimate"]
    assert document["would_run"]
    assert estimate["seconds"] is estimate["basis"] is estimate["device_memory_bytes"] is None


def test_every_reason_is_named_at_once(client: TestClient, seeds: Seeds, sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        session.execute(update(Tenant).where(Tenant.name == "acme").values(quota_jobs=0))
    document = rehearse(
        client,
        dataset_id=str(seeds.dataset()),
        checkpoint_id=NOWHERE,
        config={"data": {"group_by": "place"}, "input": {"size": 32}},
    )
    assert reasons(document) == {
        "/checkpoint_id": "checkpoint_not_found",
        "/config/data/group_by": "unknown_attribute",
        "/config/input/size": "architecture_unusable",
        "": "too_many_jobs",
    }


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"preset": "mnist"}, "/preset", "unknown_preset"),
        ({"config": {"erm": {"epochs": 0}}}, "/config/erm/epochs", "greater_than_equal"),
        ({"config": {"erm": {"epoch": 1}}}, "/config/erm/epoch", "extra_forbidden"),
        ({"config": {"erm": {"select": "best_accuracy"}}}, "/config/erm/select", "no_validation_split"),
        (
            {"config": {"runtime": {"device": "cpu", "precision": "bf16"}}},
            "/config/runtime/precision",
            "config_unusable",
        ),
        ({"config": {"model": {"architecture": "resnet18"}}}, "/config/input/size", "config_unusable"),
        ({"config": {"model": {"cam_layer": "backbone.99"}}}, "/config/model/cam_layer", "architecture_unusable"),
        ({"config": {"erm": {"batch_size": 1}}}, "/config/erm/batch_size", "config_unusable"),
        ({"dataset_id": NOWHERE}, "/dataset_id", "dataset_not_found"),
    ],
)
def test_a_reason_points_to_its_place(
    client: TestClient, seeds: Seeds, body: dict[str, Any], pointer: str, code: str
) -> None:
    document = rehearse(client, **{"dataset_id": str(seeds.dataset())} | body)
    assert reasons(document) == {pointer: code}


def test_a_submission_is_refused_for_the_same_reasons(client: TestClient, seeds: Seeds) -> None:
    dataset = str(seeds.dataset())
    network = {
        "model": {"architecture": "resnet18", "cam_layer": "layer4.7"},
        "input": {"size": 64},
        "runtime": {"micro_batch": 1},
    }
    select = {"erm": {"select": "best_accuracy"}}
    document = rehearse(client, dataset_id=dataset, config=network | select)
    response = client.post("/v1/jobs", json={"dataset_id": dataset, "config": network})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_config")
    errors = {error["pointer"]: error["code"] for error in response.json()["errors"]}
    assert errors | {"/config/erm/select": "no_validation_split"} == reasons(document)
    assert "did you mean layer4.1" in response.json()["errors"][0]["detail"]
    response = client.post("/v1/jobs", json={"dataset_id": dataset, "config": select})
    assert response.json()["errors"][0]["code"] == "no_validation_split"
    assert client.get("/v1/jobs").json()["data"] == []


def test_groups_to_choose_an_epoch_by_must_be_known_in_the_validation_split(
    client: TestClient, seeds: Seeds, sessions: sessionmaker[Session]
) -> None:
    dataset_id = seeds.dataset()
    for known, expected in ((0, {"/config/erm/select": "no_groups"}), (1, {})):
        groups = {"train": {"0-4 · square=no": 2}, "val": {"0-4 · square=no": known}}
        with transaction(sessions) as session:
            row = session.get_one(Dataset, dataset_id)
            row.summary = {"splits": {"train": {"count": 2}, "val": {"count": 2}}}
            row.report = {"warnings": [], "attributes": [{"name": "square", "groups": groups}]}
        config = {"erm": {"select": "best_worst_group"}}
        assert reasons(rehearse(client, dataset_id=str(dataset_id), config=config)) == expected


def test_what_only_a_worker_can_tell_is_said_to_be_unchecked(client: TestClient, seeds: Seeds) -> None:
    document = rehearse(client, dataset_id=str(seeds.dataset()), preset="waterbirds")
    assert document["would_run"]
    assert {
        "pointer": "/config/model/pretrained",
        "detail": "whether the worker can fetch the weights resnet50.tv_in1k",
    } in (document["unchecked"])


def test_data_sets_and_checkpoints_that_are_not_ready(client: TestClient, seeds: Seeds) -> None:
    unchecked = str(seeds.dataset(ready=False))
    document = rehearse(client, dataset_id=unchecked, checkpoint_id=str(seeds.checkpoint(ready=False)))
    assert reasons(document) == {"/dataset_id": "dataset_not_ready", "/checkpoint_id": "checkpoint_not_ready"}
    assert document["estimate"] is None
    document = rehearse(client, dataset_id=str(seeds.invalid_dataset()))
    assert reasons(document) == {"/dataset_id": "dataset_invalid"}


def test_a_checkpoint_for_other_classes(client: TestClient, seeds: Seeds) -> None:
    checkpoint = str(seeds.stored_checkpoint(b"weights", num_classes=10))
    document = rehearse(client, dataset_id=str(seeds.dataset()), checkpoint_id=checkpoint)
    assert reasons(document) == {"/checkpoint_id": "checkpoint_classes_mismatch"}


def test_a_checkpoint_whose_classes_are_in_another_order(client: TestClient, seeds: Seeds) -> None:
    checkpoint = str(seeds.stored_checkpoint(b"weights", classes=["5-9", "0-4"]))
    document = rehearse(client, dataset_id=str(seeds.dataset()), checkpoint_id=checkpoint)
    assert reasons(document) == {"/checkpoint_id": "checkpoint_class_names_mismatch"}
    assert "output 0 is '5-9', label 0 is '0-4'" in document["reasons"][0]["detail"]


def test_another_tenants_data_set_is_not_found(client: TestClient, seeds: Seeds, stranger: dict[str, str]) -> None:
    body = {"dataset_id": str(seeds.dataset())}
    response = client.post("/v1/jobs?dry_run=true", json=body, headers=stranger)
    assert reasons(response.json()) == {"/dataset_id": "dataset_not_found"}


def test_the_warnings_of_the_report_are_repeated(
    client: TestClient, seeds: Seeds, sessions: sessionmaker[Session]
) -> None:
    warning = {"code": "group_empty", "where": "test", "message": "no image"}
    dataset_id = seeds.dataset()
    with transaction(sessions) as session:
        session.get_one(Dataset, dataset_id).report = {"warnings": [warning]}
    assert rehearse(client, dataset_id=str(dataset_id))["warnings"] == [warning]
