"""What a check may take and bring along: memory, time, disk, quota, and files of any name."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from persistence import datasets
from persistence.database import transaction
from persistence.tables import Tenant, Upload
from tests.worker.conftest import Uploader
from tests.worker.driving import SLEEPER, count_objects, leftovers, read_dataset
from worker.context import Context
from worker.validation import run_check


def test_an_intake_that_wants_too_much_memory_ends_as_invalid(
    context: Context,
    sessions: sessionmaker[Session],
    new_dataset: Callable[[Path], uuid.UUID],
    raw_archive: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hungry = "from worker import intake; from unittest.mock import patch\n" + (
        "with patch('worker.intake._validate', lambda *_: bytearray(1 << 30)): raise SystemExit(intake.main())"
    )
    limited = context.settings.model_copy(update={"intake_max_memory_bytes": 512 * 2**20})
    monkeypatch.setenv("MASKTUNE_INTAKE_MAX_MEMORY_BYTES", str(512 * 2**20))
    dataset_id = new_dataset(raw_archive)
    run_check(replace(context, settings=limited, intake=(sys.executable, "-c", hungry)), dataset_id)
    dataset = read_dataset(sessions, dataset_id)
    assert dataset.status == "invalid"
    assert dataset.problems[0]["code"] == "intake_out_of_memory"
    assert "512 MiB" in dataset.problems[0]["message"]
    assert "MASKTUNE_INTAKE_MAX_MEMORY_BYTES" in dataset.problems[0]["message"]


def test_an_intake_that_takes_too_long_ends_as_invalid(
    context: Context, sessions: sessionmaker[Session], new_dataset: Callable[[Path], uuid.UUID], raw_archive: Path
) -> None:
    settings = context.settings.model_copy(update={"intake_max_seconds": 0.3})
    slow = replace(context, settings=settings, intake=(sys.executable, "-c", SLEEPER + "time.sleep(60)"))
    dataset_id = new_dataset(raw_archive)
    run_check(slow, dataset_id)
    assert read_dataset(sessions, dataset_id).problems[0]["code"] == "intake_timeout"


def test_an_intake_that_crashes_is_tried_three_times(
    context: Context, sessions: sessionmaker[Session], new_dataset: Callable[[Path], uuid.UUID], raw_archive: Path
) -> None:
    crashing = replace(context, intake=(sys.executable, "-c", SLEEPER + "os.kill(os.getpid(), signal.SIGSEGV)"))
    dataset_id = new_dataset(raw_archive)
    for status in ("validating", "validating", "invalid"):
        run_check(crashing, dataset_id)
        assert read_dataset(sessions, dataset_id).status == status
    error = read_dataset(sessions, dataset_id).error
    assert error is not None
    assert (error["code"], error["cause"]["code"]) == ("attempts_exhausted", "intake_crashed")


def test_an_intake_that_is_killed_is_no_matter_of_training(
    context: Context, sessions: sessionmaker[Session], new_dataset: Callable[[Path], uuid.UUID], raw_archive: Path
) -> None:
    killed = replace(context, intake=(sys.executable, "-c", SLEEPER + "os.kill(os.getpid(), signal.SIGKILL)"))
    dataset_id = new_dataset(raw_archive)
    run_check(killed, dataset_id)
    error = read_dataset(sessions, dataset_id).error
    assert error is not None
    assert error["code"] == "intake_killed"
    assert "runtime." not in error["message"]


def test_an_intake_for_which_the_disk_has_too_little_room_is_not_tried_again(
    context: Context,
    sessions: sessionmaker[Session],
    new_dataset: Callable[[Path], uuid.UUID],
    tiny_archive: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MASKTUNE_DISK_HEADROOM_BYTES", str(2**60))
    dataset_id = new_dataset(tiny_archive)
    run_check(context, dataset_id)
    dataset = read_dataset(sessions, dataset_id)
    assert (dataset.status, dataset.attempt) == ("invalid", 1)
    assert dataset.problems[0]["code"] == "out_of_disk"
    assert "make room" in dataset.problems[0]["message"]
    assert leftovers(context.settings.home) == []


@pytest.mark.parametrize("filename", ["é" * 200 + ".zip", ".."], ids=["more than 255 bytes", "dots"])
def test_any_name_of_a_file_will_do(
    context: Context,
    sessions: sessionmaker[Session],
    tenant: uuid.UUID,
    upload: Uploader,
    tiny_archive: Path,
    filename: str,
) -> None:
    received = upload(tiny_archive)
    with transaction(sessions) as session:
        session.get_one(Upload, received.id).filename = filename
    with transaction(sessions) as session:
        dataset_id = datasets.create(session, tenant, "test", session.get_one(Upload, received.id)).id
    run_check(context, dataset_id)
    dataset = read_dataset(sessions, dataset_id)
    assert (dataset.status, dataset.error, dataset.source_filename) == ("ready", None, filename)


def test_a_tenant_without_room_for_the_normalised_archive_is_told(
    context: Context,
    sessions: sessionmaker[Session],
    tenant: uuid.UUID,
    new_dataset: Callable[[Path], uuid.UUID],
    tiny_archive: Path,
) -> None:
    dataset_id = new_dataset(tiny_archive)
    with transaction(sessions) as session:
        session.get_one(Tenant, tenant).quota_bytes = tiny_archive.stat().st_size + 10
    objects_before = count_objects(sessions)
    run_check(context, dataset_id)
    dataset = read_dataset(sessions, dataset_id)
    assert (dataset.status, dataset.archive_sha256) == ("invalid", None)
    assert [problem["code"] for problem in dataset.problems] == ["quota_exceeded"]
    assert count_objects(sessions) == objects_before
