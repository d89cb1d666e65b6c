"""float32 means float32 in a run, whatever torch is set to outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from masktune_core.callbacks import Callbacks
from masktune_core.config import Stage
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Loader
from masktune_core.evaluation import predict
from masktune_core.models import build_model
from masktune_core.pipeline import run
from tests.masktune_core.small_runs import configured

FAST = (True, "high")
FULL = (False, "highest")


def settings() -> tuple[bool, str]:
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.fixture
def _fast() -> Iterator[None]:
    """As a program may set torch that would rather be fast."""
    before = settings()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    yield
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


class Watch(Callbacks):
    def __init__(self) -> None:
        self.seen: dict[Stage, tuple[bool, str]] = {}

    def on_stage(self, stage: Stage, iteration: int) -> None:
        self.seen[stage] = settings()


@pytest.mark.usefixtures("_fast")
def test_no_stage_of_a_run_uses_tf32_and_the_callers_settings_come_back(small_biased: Dataset, tmp_path: Path) -> None:
    watch = Watch()
    run(configured({"erm": {"epochs": 1}}), small_biased, work_dir=tmp_path, callbacks=watch)
    assert watch.seen == dict.fromkeys(watch.seen, FULL)
    assert len(watch.seen) == 5
    assert settings() == FAST


@pytest.mark.usefixtures("_fast")
def test_nor_does_an_evaluation_outside_of_a_run(small_biased: Dataset) -> None:
    seen = []

    def look(_layer: nn.Module, _inputs: object) -> None:
        seen.append(settings())

    model = build_model("small_cnn", 2)
    model.register_forward_pre_hook(look)
    with Loader(small_biased, configured().input, device=torch.device("cpu")) as loader:
        predict(model, loader, small_biased.splits["val"])
    assert set(seen) == {FULL}
    assert settings() == FAST
