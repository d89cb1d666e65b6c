"""A job over HTTP gives what the library gives in this process, to the bit."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

from masktune_core.config import JobConfig
from masktune_core.data.dataset import Dataset
from masktune_core.evaluation import as_dict
from masktune_core.intake import normalise
from masktune_core.pipeline import run
from tests.web.browser.stack import Stack


def test_a_job_over_http_and_the_library_make_the_same_checkpoints_and_figures(
    stack: Stack, archive: Path, finished_job: uuid.UUID, tmp_path: Path
) -> None:
    job = stack.client.get(f"/v1/jobs/{finished_job}").json()
    normalise(archive, tmp_path / "dataset.zip")
    with Dataset.open(tmp_path / "dataset.zip") as dataset:
        assert job["manifest"]["dataset_sha256"] == dataset.sha256
        alone = run(JobConfig.model_validate(job["config"]), dataset, work_dir=tmp_path / "run")

    files = f"/v1/jobs/{finished_job}/artifacts"
    for name in ("erm.safetensors", "masktune.safetensors"):
        downloaded = hashlib.sha256(stack.client.get(f"{files}/{name}").content).hexdigest()
        assert (
            downloaded
            == hashlib.sha256(alone.artifacts[name].read_bytes()).hexdigest()
            == sha256_of(stack, files, name)
        )
    result = stack.client.get(f"{files}/result.json").json()
    for name, evaluation in (("erm", alone.erm), ("masktune", alone.masktune)):
        assert result[name] == plain(as_dict(evaluation))


def sha256_of(stack: Stack, files: str, name: str) -> str:
    """As the list of files tells it."""
    return next(str(each["sha256"]) for each in stack.client.get(files).json()["data"] if each["name"] == name)


def plain(value: object) -> object:
    """As JSON brings it back: lists for tuples."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
