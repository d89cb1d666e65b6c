"""A small Biased MNIST, made and normalised once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from masktune_core.data.dataset import Dataset
from masktune_core.intake.normalise import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.pipeline import Result
from tests.masktune_core.recorder import Recorder
from tests.masktune_core.small_runs import go


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and lose much on a machine that does other things too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_biased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """200 training images (10 % against the rule, so that every group has some), 60 for validation, 40 in each test."""
    folder = tmp_path_factory.mktemp("biased")
    source = make_biased_mnist(folder / "source.zip", train=200, val=60, test=40, conflicting=0.1)
    normalise(source, folder / "dataset.zip")
    with Dataset.open(folder / "dataset.zip") as dataset:
        yield dataset


@pytest.fixture(scope="session")
def tiny_biased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """48 training images, 16 for validation, 8 in each test: for what is slow, or has to run only."""
    folder = tmp_path_factory.mktemp("tiny")
    source = make_biased_mnist(folder / "source.zip", train=48, val=16, test=8, conflicting=0.1)
    normalise(source, folder / "dataset.zip")
    with Dataset.open(folder / "dataset.zip") as dataset:
        yield dataset


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `finished` ran."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def finished(small_biased: Dataset, folder: Path) -> tuple[Result, Recorder]:
    """A run with the default options, and all it told."""
    return go(small_biased, folder)
