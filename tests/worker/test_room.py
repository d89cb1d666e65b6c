"""What a job needs, and a machine that has less."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from masktune_core.config import JobConfig, resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.intake import IntakeReport
from worker import room
from worker.memory import need_less_memory
from worker.reasons import Shortage, reason_of
from worker.room import Needs, needs_of, require_room

MIB = 2**20
Usage = namedtuple("Usage", "total used free")


def test_needs_grow_with_the_network_and_stay_within_the_cache(normalised: tuple[Path, IntakeReport]) -> None:
    with Dataset.open(normalised[0]) as dataset:
        small = needs_of(resolve_config("biased_mnist"), dataset)
        large = needs_of(resolve_config(None, {"model": {"architecture": "resnet18"}}), dataset)
        uncached = needs_of(resolve_config("biased_mnist", {"runtime": {"cache_mib": 0}}), dataset)
    pixels = 900 * 28 * 28
    assert small.memory - uncached.memory == 3 * pixels
    assert large.disk > 3 * 40 * MIB > small.disk > pixels // 8


def test_too_little_disk_or_memory_is_told_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.room.shutil.disk_usage", lambda _: Usage(0, 0, 100 * MIB))
    monkeypatch.setattr(room, "available_memory", lambda: 50 * MIB)
    require_room(Needs(90 * MIB, 50 * MIB), tmp_path, headroom=10 * MIB)
    with pytest.raises(Shortage, match=r"about 91 MiB .* 10 MiB must stay free, and only 100 MiB are") as disk:
        require_room(Needs(91 * MIB, 0), tmp_path, headroom=10 * MIB)
    with pytest.raises(Shortage, match=r"about 51 MiB of memory .* 50 MiB left") as memory:
        require_room(Needs(0, 51 * MIB), tmp_path, headroom=0)
    assert [reason_of(each.value).code for each in (disk, memory)] == ["out_of_disk", "out_of_host_memory"]


def test_the_limit_of_the_control_group_counts_and_its_file_cache_does_not(tmp_path: Path) -> None:
    for name, text in (
        ("memory.max", "1000\n"),
        ("memory.current", "900\n"),
        ("memory.stat", "anon 5\ninactive_file 300\n"),
    ):
        (tmp_path / name).write_text(text)
    assert room._left_in_cgroup(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert room._left_in_cgroup(tmp_path) == 2**62
    assert room._left_in_cgroup(tmp_path / "nowhere") == 2**62


@pytest.mark.parametrize(
    ("doing", "micro_batch", "pass_batch"),
    [
        ("training", 64, 512),
        ("training_erm", 64, 512),
        ("finetuning", 64, 512),
        ("masking", None, 256),
        ("evaluating", None, 256),
        ("preparing", 64, 256),
        (None, 64, 256),
    ],
)
def test_memory_is_saved_where_it_ran_out(doing: str | None, micro_batch: int | None, pass_batch: int) -> None:
    smaller = need_less_memory(JobConfig(), doing)
    assert smaller is not None
    assert (smaller.runtime.micro_batch, smaller.masking.batch_size) == (micro_batch, pass_batch)
    assert smaller.erm == JobConfig().erm, "the effective batch stays"


def test_nothing_is_left_to_halve() -> None:
    config = resolve_config(None, {"erm": {"batch_size": 3}, "masking": {"batch_size": 1}})
    assert need_less_memory(config, None) is None
