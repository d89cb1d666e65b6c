"""Short runs on the small data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from masktune_core.config import JobConfig, resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.pipeline import Result, run
from tests.masktune_core.recorder import Recorder

SMALL: dict[str, Any] = {"erm": {"epochs": 2, "batch_size": 64}, "masking": {"batch_size": 50}}


def configured(changes: dict[str, Any] | None = None) -> JobConfig:
    merged: dict[str, Any] = {key: dict(value) for key, value in SMALL.items()}
    for part, values in (changes or {}).items():
        merged[part] = {**merged.get(part, {}), **values} if isinstance(values, dict) else values
    return resolve_config("biased_mnist", merged)


def go(dataset: Dataset, folder: Path, changes: dict[str, Any] | None = None) -> tuple[Result, Recorder]:
    recorder = Recorder()
    return run(configured(changes), dataset, work_dir=folder, callbacks=recorder), recorder
