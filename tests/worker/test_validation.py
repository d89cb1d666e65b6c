"""Data sets and checkpoints through the real intake child."""

from __future__ import annotations

import io
import sys
import threading
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sqlalchemy.orm import Session, sessionmaker

from masktune_core.checkpoint import save_checkpoint, stated_classes
from masktune_core.config import JobConfig
from masktune_core.data.dataset import Dataset as OpenedDataset
from masktune_core.intake import CelebaOptions, IntakeOptions, IntakeReport
from masktune_core.models import build_model
from masktune_core.preflight import preflight
from persistence import datasets
from persistence.database import transaction
from persistence.store import ObjectStore
from persistence.tables import DatasetImage
from tests.masktune_core.archives import zip_bytes
from tests.masktune_core.downloads import celeba
from tests.worker.conftest import JobMaker, Uploader
from tests.worker.driving import (
    SLEEPER,
    count_objects,
    leftovers,
    read_artifacts,
    read_checkpoint,
    read_dataset,
    read_job,
    wait_until,
)
from worker.context import Context
from worker.supervisor import run_job
from worker.validation import run_check


def test_a_good_archive_becomes_a_data_set_with_every_image_a_row(
    context: Context,
    sessions: sessionmaker[Session],
    store: ObjectStore,
    new_dataset: Callable[[Path], uuid.UUID],
    raw_archive: Path,
    normalised: tuple[Path, IntakeReport],
) -> None:
    dataset_id = new_dataset(raw_archive)
    run_check(context, dataset_id)
    dataset = read_dataset(sessions, dataset_id)
    assert (dataset.status, dataset.error, dataset.problems) == ("ready", None, [])
    assert dataset.classes == ["0-4", "5-9"]
    assert dataset.attributes == [{"name": "square", "values": ["no", "yes"]}]
    assert dataset.image_count == len(normalised[1].index)
    assert dataset.summary == normalised[1].summary
    assert dataset.report == preflight(*normalised)
    assert dataset.archive_sha256 is not None
    with OpenedDataset.open(normalised[0]) as opened:
        assert dataset.archive_sha256 == opened.sha256
        with transaction(sessions) as session:
            row = session.get_one(DatasetImage, (dataset_id, 7))
        assert store.read_range(dataset.archive_sha256, row.offset, row.length) == opened.read_encoded(7)
        assert (row.split, row.label) == (opened.index.split_names[opened.index.split[7]], opened.labels[7])
    assert leftovers(context.settings.home) == []


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_any_two_columns_of_celeba_make_a_data_set(
    context: Context, sessions: sessionmaker[Session], tenant: uuid.UUID, upload: Uploader, tmp_path: Path
) -> None:
    pictures, tables = celeba("csv")
    (tmp_path / "celeba.zip").write_bytes(zip_bytes(pictures | tables))
    received = upload(tmp_path / "celeba.zip")
    options = IntakeOptions(celeba=CelebaOptions(target="Smiling", attribute="Blond_Hair"))
    with transaction(sessions) as session:
        dataset_id = datasets.create(session, tenant, "celeba", received, options).id
    run_check(context, dataset_id)
    dataset = read_dataset(sessions, dataset_id)
    assert (dataset.status, dataset.layout, dataset.classes) == ("ready", "celeba", ["not Smiling", "Smiling"])
    assert dataset.attributes == [{"name": "Blond_Hair", "values": ["no", "yes"]}]


def test_a_bad_archive_is_invalid_with_its_problems_and_leaves_nothing(
    context: Context,
    sessions: sessionmaker[Session],
    new_dataset: Callable[[Path], uuid.UUID],
    tmp_path: Path,
) -> None:
    table = b"file_name,label,split\na.png,x,train\nb.png,y,train\n"
    bad = _zip(tmp_path / "bad.zip", {"metadata.csv": table, "a.png": b"no image"})
    dataset_id = new_dataset(bad)
    objects_before = count_objects(sessions)
    run_check(context, dataset_id)
    dataset = read_dataset(sessions, dataset_id)
    assert (dataset.status, dataset.archive_sha256, dataset.image_count) == ("invalid", None, None)
    assert "missing_file" in {problem["code"] for problem in dataset.problems}
    assert dataset.problem_count == len(dataset.problems)
    assert count_objects(sessions) == objects_before
    assert leftovers(context.settings.home) == []


def test_a_file_that_is_no_archive_is_invalid(
    context: Context, sessions: sessionmaker[Session], new_dataset: Callable[[Path], uuid.UUID], tmp_path: Path
) -> None:
    (tmp_path / "holiday.zip").write_bytes(b"not an archive")
    dataset_id = new_dataset(tmp_path / "holiday.zip")
    run_check(context, dataset_id)
    (problem,) = read_dataset(sessions, dataset_id).problems
    assert problem["code"] == "not_an_archive"
    assert read_dataset(sessions, dataset_id).status == "invalid"


def test_what_waits_for_its_tenants_turn_is_woken_when_one_has_ended(
    context: Context,
    sessions: sessionmaker[Session],
    new_dataset: Callable[[Path], uuid.UUID],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.zip").write_bytes(b"not an archive")
    first, second = new_dataset(tmp_path / "a.zip"), new_dataset(tmp_path / "a.zip")
    sent: list[tuple[str, uuid.UUID]] = []

    def send(kind: str, row_id: uuid.UUID) -> bool:
        sent.append((kind, row_id))
        return True

    monkeypatch.setattr(context.dispatcher, "send", send)
    run_check(context, second)
    assert read_dataset(sessions, first).status == "invalid", "the older one, whoever woke us"
    assert read_dataset(sessions, second).status == "validating"
    assert sent == [("dataset", second)]
    assert read_dataset(sessions, second).dispatched_at is not None
    run_check(context, second)
    assert read_dataset(sessions, second).status == "invalid"
    assert len(sent) == 1


def test_a_data_set_deleted_meanwhile_stops_its_intake(
    context: Context,
    sessions: sessionmaker[Session],
    tenant: uuid.UUID,
    new_dataset: Callable[[Path], uuid.UUID],
    raw_archive: Path,
) -> None:
    dataset_id = new_dataset(raw_archive)
    slow = replace(context, intake=(sys.executable, "-c", SLEEPER + "time.sleep(60)"))
    thread = threading.Thread(target=run_check, args=(slow, dataset_id))
    thread.start()
    wait_until(lambda: read_dataset(sessions, dataset_id).lease_token)
    with transaction(sessions) as session:
        datasets.delete(session, tenant, dataset_id)
    thread.join(5)
    assert not thread.is_alive()


def test_a_check_in_whose_middle_workers_are_stopped_four_times_gets_ready(
    context: Context,
    sessions: sessionmaker[Session],
    new_dataset: Callable[[Path], uuid.UUID],
    tiny_archive: Path,
) -> None:
    dataset_id = new_dataset(tiny_archive)
    slow = replace(context, intake=(sys.executable, "-c", SLEEPER + "time.sleep(60)"))
    for _ in range(4):
        stopped = replace(slow, stopping=threading.Event())
        thread = threading.Thread(target=run_check, args=(stopped, dataset_id))
        thread.start()
        wait_until(lambda: read_dataset(sessions, dataset_id).lease_token)
        stopped.stopping.set()
        thread.join(20)
        assert read_dataset(sessions, dataset_id).lease_token is None
    run_check(context, dataset_id)
    dataset = read_dataset(sessions, dataset_id)
    assert (dataset.status, dataset.attempt, dataset.error) == ("ready", 1, None)


def test_a_checkpoint_becomes_safetensors_and_a_job_starts_from_it(
    context: Context,
    sessions: sessionmaker[Session],
    store: ObjectStore,
    new_checkpoint: Callable[[Path], uuid.UUID],
    make_job: JobMaker,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    state = build_model("small_cnn", 2).state_dict()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "mine.pt")
    checkpoint_id = new_checkpoint(tmp_path / "mine.pt")
    run_check(context, checkpoint_id)
    checkpoint = read_checkpoint(sessions, checkpoint_id)
    assert (checkpoint.status, checkpoint.error, checkpoint.classes) == ("ready", None, None)
    assert checkpoint.content_sha256 is not None
    store.fetch(checkpoint.content_sha256, tmp_path / "content.safetensors")
    content = load_file(tmp_path / "content.safetensors")
    assert content.keys() == state.keys()
    assert all(torch.equal(content[name], tensor) for name, tensor in state.items())

    job_id = make_job(checkpoint_id)
    run_job(context, job_id)
    job = read_job(sessions, job_id)
    assert (job.status, job.error) == ("succeeded", None)
    assert "masktune.safetensors" in read_artifacts(sessions, job_id)


def test_a_checkpoint_of_a_job_keeps_the_names_of_its_classes(
    context: Context,
    sessions: sessionmaker[Session],
    store: ObjectStore,
    new_checkpoint: Callable[[Path], uuid.UUID],
    tmp_path: Path,
) -> None:
    state = build_model("small_cnn", 2).state_dict()
    job = {"config": JobConfig(), "classes": ("land", "water"), "dataset_sha256": "0" * 64, "role": "masktune"}
    save_checkpoint(tmp_path / "masktune.safetensors", state, **job)  # type: ignore[arg-type]
    checkpoint_id = new_checkpoint(tmp_path / "masktune.safetensors")
    run_check(context, checkpoint_id)
    checkpoint = read_checkpoint(sessions, checkpoint_id)
    assert (checkpoint.status, checkpoint.classes) == ("ready", ["land", "water"])
    # The safetensors form says so too, so that it may be brought along once more.
    assert checkpoint.content_sha256 is not None
    store.fetch(checkpoint.content_sha256, tmp_path / "content.safetensors")
    assert stated_classes(tmp_path / "content.safetensors") == ("land", "water")


def test_a_checkpoint_of_another_shape_is_invalid_with_the_keys(
    context: Context,
    sessions: sessionmaker[Session],
    new_checkpoint: Callable[[Path], uuid.UUID],
    tmp_path: Path,
) -> None:
    state = build_model("small_cnn", 2).state_dict()
    renamed = next(iter(state))
    state["stranger"] = state.pop(renamed)
    torch.save(state, tmp_path / "other.pt")
    checkpoint_id = new_checkpoint(tmp_path / "other.pt")
    run_check(context, checkpoint_id)
    checkpoint = read_checkpoint(sessions, checkpoint_id)
    assert (checkpoint.status, checkpoint.content_sha256) == ("invalid", None)
    counts = {"missing": 1, "unexpected": 1, "misshapen": 0}
    assert checkpoint.report == {"missing": [renamed], "unexpected": ["stranger"], "misshapen": [], "counts": counts}
    assert checkpoint.error is not None
    assert checkpoint.error["code"] == "checkpoint_mismatch"
    assert "other.pt" in checkpoint.error["message"]


def test_the_report_of_a_checkpoint_is_bounded_and_can_be_shown_whatever_its_keys_are(
    context: Context,
    sessions: sessionmaker[Session],
    new_checkpoint: Callable[[Path], uuid.UUID],
    tmp_path: Path,
) -> None:
    state = {f"\x00{number:04d}" + "x" * 1000: torch.zeros(1) for number in range(3000)}
    torch.save(state, tmp_path / "other.pt")
    checkpoint_id = new_checkpoint(tmp_path / "other.pt")
    run_check(context, checkpoint_id)
    checkpoint = read_checkpoint(sessions, checkpoint_id)
    assert checkpoint.error is not None
    assert checkpoint.report is not None
    assert checkpoint.error["code"] == "checkpoint_mismatch"
    assert "3000 unexpected (\\x000000xxx" in checkpoint.error["message"]
    assert len(checkpoint.error["message"]) < 2500
    assert checkpoint.report["counts"]["unexpected"] == 3000
    assert checkpoint.report["unexpected"] == [f"\\x00{number:04d}".ljust(200, "x") for number in range(100)]


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("/nowhere/run"),)  # type: ignore[return-value]


def test_a_pickle_with_code_is_refused(
    context: Context, sessions: sessionmaker[Session], new_checkpoint: Callable[[Path], uuid.UUID], tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    torch.save({"weights": _Evil()}, buffer)
    (tmp_path / "evil.pt").write_bytes(buffer.getvalue())
    checkpoint_id = new_checkpoint(tmp_path / "evil.pt")
    run_check(context, checkpoint_id)
    assert read_checkpoint(sessions, checkpoint_id).status == "invalid"
