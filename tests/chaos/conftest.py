"""One archive, and what an undisturbed job makes of it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from masktune_core import pipeline
from masktune_core.config import resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from tests.chaos import client
from tests.chaos.stack import Stack

CONFIG: dict[str, Any] = {"erm": {"epochs": 30}, "limits": {"max_attempts": 20}}
"""A job of some seconds: long enough to be still running when a test that saw an epoch of it acts."""


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_biased_mnist(tmp_path_factory.mktemp("chaos") / "digits.zip", train=600, val=100, test=100)


@pytest.fixture(scope="package")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """SHA-256 of the finetuned checkpoint, made in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    normalise(archive, folder / "data.zip")
    with Dataset.open(folder / "data.zip") as dataset:
        result = pipeline.run(resolve_config("biased_mnist", CONFIG), dataset, work_dir=folder / "run")
    return hashlib.sha256(result.artifacts["masktune.safetensors"].read_bytes()).hexdigest()


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """A service for the tests of this folder. A test that adds a worker comes last: others look at the first one."""
    # Not pytest's folder, whose parents a database server that dropped root may not enter.
    with tempfile.TemporaryDirectory(prefix="masktune-chaos-") as folder, Stack(Path(folder)) as running:
        client.wait_ready(running)
        yield running


@pytest.fixture(scope="package")
def dataset(stack: Stack, archive: Path) -> str:
    """Its id on the service."""
    return client.upload_dataset(stack, archive)
