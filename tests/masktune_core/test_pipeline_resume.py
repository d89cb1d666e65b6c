"""A run interrupted anywhere, and resumed anywhere, ends with the bytes of an undisturbed one."""

from __future__ import annotations

import errno
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from masktune_core.callbacks import ResumePointInfo
from masktune_core.config import JobConfig, Stage, resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.errors import Interrupted, ResumeError
from masktune_core.pipeline import run
from masktune_core.resume import KEPT, write_resume_point
from tests.masktune_core.recorder import Recorder, checkpoint_bytes, joined

# everything that has state: adaptive steps, a schedule, a selected epoch, two cumulative rounds, augmentation
DEMANDING: dict[str, Any] = {
    "erm": {
        "epochs": 3,
        "batch_size": 64,
        "optimizer": {"name": "adamw", "lr": 0.003},
        "schedule": {"name": "cosine"},
        "select": "best_accuracy",
        "early_stopping_epochs": 2,
    },
    "masking": {"batch_size": 64, "iterations": 2, "cumulative": True},
    "input": {"augment": {"translate": 0.1, "color_jitter": 0.1}},
    "runtime": {"micro_batch": 32},
}
PLAIN: dict[str, Any] = {"erm": {"epochs": 2, "batch_size": 64}, "masking": {"batch_size": 64}}


def configured(changes: dict[str, Any]) -> JobConfig:
    return resolve_config("biased_mnist", changes)


def interrupt(
    config: JobConfig, dataset: Dataset, folder: Path, *, stop_at: int, resume: Path | None = None
) -> Recorder:
    """Run until the caller has been asked `stop_at` times; the run may end before that."""
    recorder = Recorder(stop_at)
    try:
        run(config, dataset, work_dir=folder, callbacks=recorder, resume=resume)
    except Interrupted:
        assert recorder.points[-1].path.exists()
    return recorder


class Undisturbed:
    """A complete run of a configuration, and how often it asked whether to stop in each stage."""

    def __init__(self, changes: dict[str, Any], dataset: Dataset, folder: Path) -> None:
        self.config, self.folder = configured(changes), folder
        self.asked: dict[tuple[Stage, int], list[int]] = {}
        recorder = _StageCounter(self)
        self.result = run(self.config, dataset, work_dir=folder, callbacks=recorder)
        self.samples = recorder.samples

    def steps(self, stage: Stage, iteration: int) -> list[int]:
        return self.asked[stage, iteration]


class _StageCounter(Recorder):
    def __init__(self, run_of: Undisturbed) -> None:
        super().__init__()
        self.run_of = run_of

    def should_stop(self) -> bool:
        self.run_of.asked.setdefault(self.stages[-1], []).append(self.asked)
        return super().should_stop()


@pytest.fixture(scope="module")
def demanding(small_biased: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(DEMANDING, small_biased, tmp_path_factory.mktemp("demanding"))


@pytest.fixture(scope="module")
def plain(small_biased: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(PLAIN, small_biased, tmp_path_factory.mktemp("plain"))


STAGES: list[tuple[Stage, int]] = [
    ("training_erm", 0),
    ("masking", 1),
    ("finetuning", 1),
    ("masking", 2),
    ("finetuning", 2),
    ("evaluating", 0),
]


@pytest.mark.parametrize("where", STAGES, ids=lambda where: f"{where[0]}-{where[1]}")
def test_one_interruption_at_a_random_step_of_each_stage_changes_no_byte(
    demanding: Undisturbed, small_biased: Dataset, tmp_path: Path, where: tuple[Stage, int]
) -> None:
    stop_at = random.Random(str(where)).choice(demanding.steps(*where))
    first, second = tmp_path / "first", tmp_path / "second"
    stopped = interrupt(demanding.config, small_biased, first, stop_at=stop_at)
    assert (stopped.points[-1].stage, stopped.points[-1].iteration) == where
    point = shutil.copy(stopped.points[-1].path, tmp_path / "elsewhere.resume")
    shutil.rmtree(first)  # a resume point needs nothing but itself
    resumed = Recorder()
    result = run(demanding.config, small_biased, work_dir=second, callbacks=resumed, resume=Path(point))
    assert checkpoint_bytes(second) == checkpoint_bytes(demanding.folder)
    assert checkpoint_bytes(second, "erm.safetensors") == checkpoint_bytes(demanding.folder, "erm.safetensors")
    assert result.masktune == demanding.result.masktune
    assert result.selective == demanding.result.selective
    assert result.metrics == demanding.result.metrics
    assert resumed.stages[1] == where


@pytest.mark.parametrize("seed", [1, 2])
def test_stopping_again_and_again_at_random_steps_still_ends_with_the_same_bytes(
    plain: Undisturbed, small_biased: Dataset, tmp_path: Path, seed: int
) -> None:
    """Each attempt goes on with another number of loader threads."""
    point, stages, draw = None, set(), random.Random(seed)
    for attempt in range(100):
        folder = tmp_path / str(attempt)
        config = configured({**PLAIN, "runtime": {"loader_workers": draw.randint(1, 4)}})
        recorder = interrupt(config, small_biased, folder, stop_at=draw.randint(1, 3), resume=point)
        stages.add(recorder.stages[-1][0])
        if (folder / "out" / "result.json").exists():
            break
        point = recorder.points[-1].path
    assert attempt > 4
    assert stages == {"training_erm", "masking", "finetuning", "evaluating"}
    assert checkpoint_bytes(folder) == checkpoint_bytes(plain.folder)


def test_a_crash_goes_on_from_the_last_point_written_in_time(
    plain: Undisturbed, small_biased: Dataset, tmp_path: Path
) -> None:
    """A crash writes nothing: the newest regular point is behind, and work since then is done again."""

    class Crash(Recorder):
        def should_stop(self) -> bool:
            self.asked += 1
            if self.asked > 8:
                raise MemoryError
            return False

    crashed = Crash()
    with pytest.raises(MemoryError):
        run(plain.config, small_biased, work_dir=tmp_path / "a", callbacks=crashed)
    assert crashed.points[-1].epoch == 2
    run(plain.config, small_biased, work_dir=tmp_path / "b", resume=crashed.points[-1].path)
    assert checkpoint_bytes(tmp_path / "b") == checkpoint_bytes(plain.folder)


def test_samples_after_a_resume_complete_those_before(
    plain: Undisturbed, small_biased: Dataset, tmp_path: Path
) -> None:
    stop_at = plain.steps("evaluating", 0)[3]
    before = interrupt(plain.config, small_biased, tmp_path / "a", stop_at=stop_at)
    after = Recorder()
    run(plain.config, small_biased, work_dir=tmp_path / "b", callbacks=after, resume=before.points[-1].path)
    together = [*before.samples, *after.samples]
    assert joined(together, "index").tolist() == joined(plain.samples, "index").tolist()
    assert joined(together, "confidence_after").tolist() == joined(plain.samples, "confidence_after").tolist()


def test_points_come_at_every_epoch_end_and_as_often_as_asked(small_biased: Dataset, tmp_path: Path) -> None:
    often, seldom = Recorder(), Recorder()
    run(
        configured({**PLAIN, "runtime": {"resume_minutes": 1e-6}}),
        small_biased,
        work_dir=tmp_path / "a",
        callbacks=often,
    )
    run(configured(PLAIN), small_biased, work_dir=tmp_path / "b", callbacks=seldom)
    assert [(p.stage, p.epoch, p.step) for p in seldom.points] == [
        ("training_erm", 2, 0),
        ("training_erm", 3, 0),
        ("finetuning", 2, 0),
    ]
    assert len(often.points) > often.asked
    for folder, points in (("a", often.points), ("b", seldom.points)):
        left = sorted((tmp_path / folder / "resume").iterdir())
        assert left == [point.path for point in points[-KEPT:]]
    assert checkpoint_bytes(tmp_path / "a") == checkpoint_bytes(tmp_path / "b")


def test_every_point_is_of_its_own_moment_though_the_run_goes_on_while_it_is_written(
    demanding: Undisturbed, small_biased: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keeper(Recorder):
        def on_resume_point(self, point: ResumePointInfo) -> None:
            super().on_resume_point(point)
            shutil.copy(point.path, tmp_path / f"{len(self.points)}.resume")

    def write_late(*arguments: Any, **options: Any) -> Path:
        time.sleep(0.05)  # Steps are made meanwhile.
        return write_resume_point(*arguments, **options)

    keeper = Keeper()
    with monkeypatch.context() as patch:
        patch.setattr("masktune_core.pipeline.session.write_resume_point", write_late)
        often = configured(DEMANDING | {"runtime": {"micro_batch": 32, "resume_minutes": 1e-6}})
        run(often, small_biased, work_dir=tmp_path / "often", callbacks=keeper)
    assert checkpoint_bytes(tmp_path / "often") == checkpoint_bytes(demanding.folder)
    for where in STAGES:
        numbers = [n for n, point in enumerate(keeper.points, 1) if (point.stage, point.iteration) == where]
        folder = tmp_path / f"from-{where[0]}-{where[1]}"
        point = tmp_path / f"{numbers[len(numbers) // 2]}.resume"
        result = run(demanding.config, small_biased, work_dir=folder, resume=point)
        assert checkpoint_bytes(folder) == checkpoint_bytes(demanding.folder), where
        assert result.masktune == demanding.result.masktune, where
        assert result.metrics == demanding.result.metrics, where


def test_a_disk_that_is_full_while_a_point_is_written_ends_the_run(
    plain: Undisturbed, small_biased: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "resume").mkdir()
    (tmp_path / "resume" / "point-00000001.partial").symlink_to("/dev/full")
    recorder = Recorder()
    with pytest.raises(OSError, match="No space left") as full:
        run(plain.config, small_biased, work_dir=tmp_path, callbacks=recorder)
    assert full.value.errno == errno.ENOSPC
    assert recorder.points == []
    assert ("finetuning", 1) not in recorder.stages, "it is noticed at one of the next steps"


def test_an_error_in_a_step_waits_for_the_point_under_way_and_reports_it(
    plain: Undisturbed, small_biased: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_late(*arguments: Any, **options: Any) -> Path:
        time.sleep(0.5)
        return write_resume_point(*arguments, **options)

    class Crash(Recorder):
        def should_stop(self) -> bool:
            if self.epochs:
                raise MemoryError
            return False

    crashed = Crash()
    with monkeypatch.context() as patch:
        patch.setattr("masktune_core.pipeline.session.write_resume_point", write_late)
        with pytest.raises(MemoryError):
            run(plain.config, small_biased, work_dir=tmp_path / "a", callbacks=crashed)
    assert [point.epoch for point in crashed.points] == [2]
    run(plain.config, small_biased, work_dir=tmp_path / "b", resume=crashed.points[0].path)
    assert checkpoint_bytes(tmp_path / "b") == checkpoint_bytes(plain.folder)


def test_a_point_of_another_run_is_refused(plain: Undisturbed, small_biased: Dataset, tmp_path: Path) -> None:
    point = interrupt(plain.config, small_biased, tmp_path / "a", stop_at=2).points[-1].path
    with pytest.raises(ResumeError, match="another configuration"):
        run(configured({**PLAIN, "seed": 1}), small_biased, work_dir=tmp_path / "b", resume=point)
    with pytest.raises(ResumeError, match="another starting checkpoint"):
        run(plain.config, small_biased, work_dir=tmp_path / "b", resume=point, initial_state={"x": torch.zeros(1)})
    with pytest.raises(ResumeError, match="does not exist"):
        run(plain.config, small_biased, work_dir=tmp_path / "b", resume=tmp_path / "none.resume")


def test_what_cannot_change_the_result_may_change_between_attempts(
    plain: Undisturbed, small_biased: Dataset, tmp_path: Path
) -> None:
    point = interrupt(plain.config, small_biased, tmp_path / "a", stop_at=2).points[-1].path
    other = configured({**PLAIN, "runtime": {"loader_workers": 2, "cache_mib": 1}, "limits": {"wall_seconds": 5}})
    run(other, small_biased, work_dir=tmp_path / "b", resume=point)
    assert checkpoint_bytes(tmp_path / "b") == checkpoint_bytes(plain.folder)
