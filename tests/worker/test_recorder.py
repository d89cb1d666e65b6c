"""What a run reports reaches the database, whatever numbers are in it."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from masktune_core.callbacks import EpochRecord, Metric, Progress
from persistence import jobs
from persistence.database import transaction
from persistence.errors import StoreUnavailable
from persistence.settings import Settings
from persistence.store import Stored
from persistence.store.file import FileStore
from persistence.tables import Metric as MetricRow
from tests.worker.conftest import JobMaker
from tests.worker.driving import read_artifacts, read_events, read_job
from worker import retry
from worker.pulse import Pulse
from worker.recorder import Recorder


class Flaky(FileStore):
    """A store that is away until it was asked `failures` times."""

    failures = 0

    def put_file(self, path: Path) -> Stored:
        if self.failures > 0:
            self.failures -= 1
            raise StoreUnavailable("the object store does not answer")
        return super().put_file(path)


@pytest.fixture
def flaky(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Flaky:
    monkeypatch.setattr(retry, "_STORE_FIRST_SECONDS", 0.01)
    return Flaky(settings.home / "objects", headroom=0)


@pytest.fixture
def claimed(sessions: sessionmaker[Session], make_job: JobMaker) -> jobs.Claim:
    job_id = make_job()
    with transaction(sessions) as session:
        claim = jobs.claim(session, job_id, worker="test", lease_seconds=60.0)
    assert claim is not None
    return claim


@pytest.fixture
def recorder(
    sessions: sessionmaker[Session], flaky: Flaky, claimed: jobs.Claim, tmp_path: Path, stopped: threading.Event
) -> Recorder:
    return Recorder(
        sessions,
        flaky,
        job_id=claimed.job.id,
        token=claimed.token,
        outbox=tmp_path / "outbox",
        stopped=stopped.is_set,
        pulse=Pulse(tmp_path),
    )


@pytest.fixture
def stopped() -> threading.Event:
    return threading.Event()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    return path


def store_weights(recorder: Recorder, weights: Path) -> None:
    with recorder:
        recorder.artifact("masktune.safetensors", weights, "application/octet-stream")
        recorder.flush()


def test_a_result_waits_for_a_store_that_is_away_and_the_log_says_so_once(
    sessions: sessionmaker[Session], flaky: Flaky, claimed: jobs.Claim, recorder: Recorder, weights: Path
) -> None:
    flaky.failures = 4
    store_weights(recorder, weights)
    assert list(read_artifacts(sessions, claimed.job.id)) == ["masktune.safetensors"]
    told = [event.data for event in read_events(sessions, claimed.job.id) if event.type == "job.warning"]
    assert [each["code"] for each in told] == ["store_unavailable"]
    assert "masktune.safetensors: the object store does not answer" in told[0]["message"]


def test_a_result_that_waits_for_the_store_is_given_up_when_the_run_is_stopped(
    flaky: Flaky, recorder: Recorder, weights: Path, stopped: threading.Event
) -> None:
    flaky.failures = 10**9
    stop = threading.Timer(0.3, stopped.set)
    stop.start()
    with pytest.raises(StoreUnavailable):
        store_weights(recorder, weights)
    assert stopped.is_set()


def test_a_result_does_not_wait_for_the_store_for_ever(
    flaky: Flaky, recorder: Recorder, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_STORE_PATIENCE_SECONDS", 0.3)
    flaky.failures = 10**9
    with pytest.raises(StoreUnavailable):
        store_weights(recorder, weights)
    assert flaky.failures < 10**9 - 2


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_stored_as_unknown(
    sessions: sessionmaker[Session], claimed: jobs.Claim, recorder: Recorder, number: float
) -> None:
    """A database takes no such JSON: the run would end as a defect of the service, not as diverged."""
    job_id = claimed.job.id
    with recorder:
        recorder.on_progress(Progress("training_erm", 0, 1, 2, 3, 20, number, 0.5, 100.0))
        recorder.on_epoch(EpochRecord("training_erm", 0, 1, 2, number, 0.5, None, 0.1, 1.0))
        recorder.on_metrics([Metric("training_erm", 0, 1, "train", None, "loss", number, 10)])
        recorder.manifest({"lr": [0.1, number]})
    job = read_job(sessions, job_id)
    assert job.progress is not None
    assert (job.progress["loss"], job.progress["accuracy"]) == (None, 0.5)
    assert job.manifest == {"lr": [0.1, None]}
    assert read_events(sessions, job_id)[-1].data["loss"] is None
    with transaction(sessions) as session:
        assert session.scalars(select(MetricRow.value).where(MetricRow.job_id == job_id)).all() == [None]
