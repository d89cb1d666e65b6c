"""An attempt that cannot even begin says why, rather than that its worker went silent."""

from __future__ import annotations

import errno
import os
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sqlalchemy.orm import Session, sessionmaker

from persistence import datasets
from persistence.database import transaction
from persistence.tables import Dataset
from tests.worker.conftest import JobMaker, Uploader
from tests.worker.driving import event_types, its_time_has_come, leftovers, read_job
from worker.child import Child
from worker.context import Context
from worker.standby import Standby
from worker.supervisor import run_job
from worker.validation import run_check
from worker.workdirs import WorkDirs

NOWHERE = ("/nonexistent/python",)


class FullDisk(WorkDirs):
    """Where no folder can be made."""

    @contextmanager
    def claim(self, owner_id: uuid.UUID, attempt: int) -> Iterator[Path]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.root))
        yield


def test_a_job_for_which_there_is_no_room_ends_as_that(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    full = replace(context, work=FullDisk(context.settings.home))
    job_id = make_job(limits={"max_attempts": 2})
    run_job(full, job_id)
    job = read_job(sessions, job_id)
    assert (job.status, job.lease_token) == ("queued", None), "another worker may have room"
    assert job.error is not None
    assert (job.error["code"], job.error["retryable"]) == ("out_of_disk", True)
    its_time_has_come(sessions, job_id)
    run_job(full, job_id)
    job = read_job(sessions, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error["code"] == "out_of_disk"
    assert "advice" in job.error
    assert event_types(sessions, job_id)[-3:] == ["job.retrying", "job.started", "job.failed"]


def test_a_job_whose_trainer_cannot_be_started_says_so_and_leaves_nothing(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    job_id = make_job()
    run_job(replace(context, trainers=Standby(NOWHERE)), job_id)
    job = read_job(sessions, job_id)
    assert (job.status, job.lease_token) == ("queued", None)
    assert job.error is not None
    assert job.error["code"] == "input_output_error"
    assert NOWHERE[0] in job.error["message"]
    assert leftovers(context.settings.home) == []
    with context.devices.lend() as device:
        assert device.name == "cpu", "the device is free again"


def test_an_upload_whose_check_cannot_be_started_says_so(
    context: Context, sessions: sessionmaker[Session], tenant: uuid.UUID, upload: Uploader, tmp_path: Path
) -> None:
    (tmp_path / "a.zip").write_bytes(b"a")
    received = upload(tmp_path / "a.zip")
    with transaction(sessions) as session:
        dataset_id = datasets.create(session, tenant, "test", received).id
    for broken, code in (
        (replace(context, intake=NOWHERE), "input_output_error"),
        (replace(context, work=FullDisk(context.settings.home)), "out_of_disk"),
    ):
        run_check(broken, dataset_id)
        with transaction(sessions) as session:
            dataset = session.get_one(Dataset, dataset_id)
        assert (dataset.status, dataset.lease_token) == ("validating", None)
        assert dataset.error is not None
        assert dataset.error["code"] == code


def test_a_child_that_cannot_be_watched_does_not_live_on(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("wait-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(OSError, match="can't start new thread") as raised:
        Child((sys.executable, "-c", "import time; time.sleep(60)"))
    assert raised.value.errno == errno.EAGAIN
    assert {child.pid for child in psutil.Process().children()} <= before
