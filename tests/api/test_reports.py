"""A ready data set tells what to know before a job."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.preflight import preflight
from persistence.database import transaction
from persistence.tables import Dataset
from tests.api.seeds import Seeds
from tests.api.test_errors import problem


def test_the_report_is_shown_as_it_was_made(
    client: TestClient, seeds: Seeds, sessions: sessionmaker[Session], tmp_path: Path, stranger: dict[str, str]
) -> None:
    made = make_biased_mnist(tmp_path / "digits.zip", train=60, val=20, test=20)
    report = preflight(tmp_path / "n.zip", normalise(made, tmp_path / "n.zip"))
    dataset_id = seeds.dataset()
    path = f"/v1/datasets/{dataset_id}/report"
    problem(client.get(path), 404, "report_not_found")
    with transaction(sessions) as session:
        session.get_one(Dataset, dataset_id).report = report
    assert client.get(path).json() == report
    problem(client.get(path, headers=stranger), 404, "dataset_not_found")


def test_a_data_set_that_is_not_ready_has_no_report(client: TestClient, seeds: Seeds) -> None:
    problem(client.get(f"/v1/datasets/{seeds.dataset(ready=False)}/report"), 409, "dataset_not_ready")
    problem(client.get(f"/v1/datasets/{seeds.invalid_dataset()}/report"), 409, "dataset_invalid")
