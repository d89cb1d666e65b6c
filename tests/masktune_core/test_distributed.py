"""A run of several processes makes the same steps as a run of one, and one of them alone writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from masktune_core.config import JobConfig
from masktune_core.data.dataset import Dataset
from masktune_core.distributed import ALONE, World, launched, process_group
from masktune_core.models import build_model
from masktune_core.pipeline import run
from masktune_core.shared_batch_norm import SharedBatchNorm, synchronise_batch_norm
from tests.masktune_core.small_runs import configured

# 25 images cannot be shared evenly; of 200 explained 199 at a time, the last one leaves a process without any
CHANGES: dict[str, Any] = {
    "erm": {"epochs": 2, "batch_size": 25},
    "masking": {"batch_size": 199},
    "runtime": {"device": "cpu"},
}
PROCESSES = 2


def start(dataset: Dataset, config: JobConfig, folder: Path, point: Path | str = "-", polls: int = 0) -> list[Any]:
    """Run the job under torchrun; returns what each process found."""
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(PROCESSES), "--standalone"]
    job = [str(dataset.path), config.model_dump_json(), str(folder / "work"), str(figures), str(point), str(polls)]
    done = subprocess.run(
        [*command, "-m", "tests.masktune_core.distributed_run", *job],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((figures / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


def curve(metrics: list[tuple[Any, ...]]) -> dict[tuple[Any, ...], float]:
    """Loss of every training epoch."""
    return {tuple(row[:4]): row[6] for row in metrics if row[5] == "loss"}


@pytest.fixture(scope="module")
def together(small_biased: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("together")
    return folder, start(small_biased, configured(CHANGES), folder)


def test_two_processes_have_the_loss_curve_of_one(
    small_biased: Dataset, tmp_path: Path, together: tuple[Path, list[Any]]
) -> None:
    alone = run(configured(CHANGES), small_biased, work_dir=tmp_path)
    expected = curve([astuple(metric) for metric in alone.metrics])
    assert len(expected) == 3
    folder, found = together
    for each in found:
        assert curve(each["metrics"]) == pytest.approx(expected, abs=1e-5)
        assert each["metrics"] == found[0]["metrics"]
    result = json.loads((folder / "work" / "out" / "result.json").read_text())
    assert result["manifest"]["processes"] == PROCESSES
    assert result["erm"]["test:biased"]["accuracy"] == pytest.approx(alone.erm.splits["test:biased"].accuracy, abs=0.05)


def test_the_first_process_alone_writes(together: tuple[Path, list[Any]]) -> None:
    folder, (first, second) = together
    assert first["artifacts"] == ["config.json", "erm.safetensors", "masktune.safetensors", "result.json"]
    assert second["artifacts"] == []
    assert [path.name for path in folder.glob("masktune-*")] == []  # scratch folders are gone


def test_a_process_without_a_share_of_a_batch_explains_nothing_and_goes_on(
    tiny_biased: Dataset, tmp_path: Path
) -> None:
    """By Score-CAM, which runs the model again and again: of 48 images, 47 at a time, one is left for two."""
    config = configured({**CHANGES, "erm": {"epochs": 1}, "masking": {"saliency": "scorecam", "batch_size": 47}})
    alone = run(config, tiny_biased, work_dir=tmp_path / "alone")
    start(tiny_biased, config, tmp_path)
    result = json.loads((tmp_path / "work" / "out" / "result.json").read_text())
    expected = json.loads(alone.artifacts["result.json"].read_text())
    assert result["manifest"]["processes"] == PROCESSES
    assert result["masked_fraction"] == pytest.approx(expected["masked_fraction"], rel=0.02)


def test_all_stop_when_one_is_asked_to_and_go_on_to_the_same_end(
    small_biased: Dataset, tmp_path: Path, together: tuple[Path, list[Any]]
) -> None:
    config = configured(CHANGES)
    assert start(small_biased, config, tmp_path, polls=12) == ["interrupted"] * PROCESSES
    point = max((tmp_path / "work" / "resume").glob("*.resume"))
    start(small_biased, config, tmp_path, point)
    folder, _ = together
    name = "out/masktune.safetensors"
    assert (tmp_path / "work" / name).read_bytes() == (folder / "work" / name).read_bytes()


@given(st.integers(0, 1000), st.integers(1, 9))
def test_shares_are_in_order_near_equal_and_leave_nothing_out(count: int, size: int) -> None:
    parts = [range(count)[World(rank, size).share(count)] for rank in range(size)]
    assert [item for part in parts for item in part] == list(range(count))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) == World(0, size).largest_share(count)


def test_without_torchrun_a_process_is_alone() -> None:
    assert not launched()
    with process_group() as world:
        assert world == ALONE
        assert world.leads
        assert world.hear("a word") == "a word"
    rows = torch.arange(3)
    assert ALONE.gather(rows) is rows
    assert ALONE.any_of(True, False) == (True, False)


@pytest.mark.parametrize(("architecture", "size"), [("small_cnn", 28), ("timm/efficientnet_b0", 64)])
def test_synchronised_normalisation_keeps_names_weights_and_answers(architecture: str, size: int) -> None:
    model = build_model(architecture, 3).eval()
    names, images = list(model.state_dict()), torch.rand(4, 3, size, size)
    expected = model(images)
    changed = synchronise_batch_norm(model, torch.device("cpu"), ALONE)
    assert list(changed.state_dict()) == names
    assert torch.equal(changed(images), expected)
    assert any(isinstance(module, SharedBatchNorm) for module in changed.modules())
