"""What an archive leaves open is said on the command line, to the service and to a local run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.errors import UsageError
from cli.intake_options import given
from cli.main import main
from cli.output import Output
from cli.run import open_dataset
from masktune_core.intake import IntakeOptions, normalise
from persistence.settings import Settings
from tests.api.conftest import key, make_key, serving
from tests.masktune_core.archives import zip_bytes
from tests.masktune_core.downloads import celeba, kaggle

__all__ = ["key", "make_key"]

Run = Callable[..., Any]


@pytest.fixture
def service(settings: Settings) -> Iterator[str]:
    with serving(settings) as (url, _):
        yield url


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process, and the JSON that it prints."""

    def command(*arguments: str | Path) -> Any:
        monkeypatch.setattr(sys, "argv", ["masktune", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        return json.loads(printed.out)

    return command


def test_an_upload_asks_for_columns_and_splits(service: str, key: str, tmp_path: Path, run: Run) -> None:
    pictures, tables = celeba("csv")
    (tmp_path / "celeba.zip").write_bytes(zip_bytes(pictures | tables))
    where = ("--url", service, "--api-key", key)
    asked = ("--split-seed", "3", "--celeba-target", "Smiling", "--celeba-attribute", "Blond_Hair")
    made = run("datasets", "upload", tmp_path / "celeba.zip", "--no-wait", *asked, *where)
    options = run("datasets", "show", made["id"], *where)["options"]
    assert options == {"seed": 3, "celeba": {"target": "Smiling", "attribute": "Blond_Hair"}}
    made = run("datasets", "upload", tmp_path / "celeba.zip", "--no-wait", *where)
    assert run("datasets", "show", made["id"], *where)["options"] == IntakeOptions().model_dump()


def test_the_classes_of_a_checkpoint_are_named_one_by_one(service: str, key: str, tmp_path: Path, run: Run) -> None:
    (tmp_path / "mine.pt").write_bytes(b"weights")
    where = ("--url", service, "--api-key", key)
    described = ("--architecture", "small_cnn", "--num-classes", "2", "--class", "0-4", "--class", "5-9, or so")
    made = run("checkpoints", "upload", tmp_path / "mine.pt", *described, "--no-wait", *where)
    assert made["classes"] == ["0-4", "5-9, or so"]


def test_a_local_run_reads_the_archive_as_asked(tmp_path: Path) -> None:
    (tmp_path / "train.zip").write_bytes(zip_bytes(kaggle()))
    output = Output.make(json=True)
    splits = {}
    for seed in (0, 5):
        with open_dataset(
            tmp_path / "train.zip", tmp_path / str(seed), None, output, given(seed, None, None)
        ) as opened:
            splits[seed] = opened.index.split.tolist()
    assert splits[0] != splits[5]
    again = normalise(tmp_path / "train.zip", tmp_path / "n.zip", options=IntakeOptions(seed=5))
    assert again.index.split.tolist() == splits[5]


def test_a_normalised_archive_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "train.zip").write_bytes(zip_bytes(kaggle()))
    normalise(tmp_path / "train.zip", tmp_path / "n.zip")
    with pytest.raises(UsageError, match="normalised already"):
        open_dataset(tmp_path / "n.zip", tmp_path, None, Output.make(json=True), given(5, None, None))


def test_one_column_for_both_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="two different columns"):
        given(None, "Male", None)
