"""Whether a downloaded checkpoint gives the numbers that its job reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.comparison import Score, Scores, SplitScores, differences
from cli.errors import VerificationFailed

_OTHER_DEVICE_TOLERANCE = 0.005
"""Largest difference of an accuracy when the job ran on another kind of device, whose sums round otherwise."""


def verify_checkpoint(checkpoint: Path, archive: Path, job: dict[str, Any], reported: Scores) -> str:
    """Load `checkpoint`, evaluate it on the normalised `archive` and compare; returns what was found, in words.

    Raises `VerificationFailed` when the data set is another one, or a number differs that must not.
    """
    measured, device = reevaluate(checkpoint, archive, str((job.get("manifest") or {}).get("device_type", "cpu")))
    found = differences(reported, measured)
    count = sum(2 + len(split.groups) for split in measured.values())
    if not found:
        return f"evaluated again here on {len(measured)} splits: the same {count} numbers"
    job_device = (job.get("manifest") or {}).get("device_type")
    largest = max(difference.size for difference in found)
    if job_device != device and largest <= _OTHER_DEVICE_TOLERANCE:
        return f"evaluated again here on {device}, the job ran on {job_device}: within {100 * largest:.2f} points"
    lines = [f"  {difference}" for difference in found]
    raise VerificationFailed("\n".join(["the checkpoint does not give the numbers that the job reported", *lines]))


def reevaluate(checkpoint: Path, archive: Path, device_type: str = "cpu") -> tuple[Scores, str]:
    """Scores of a checkpoint on every split, and the device used: the job's kind where this machine has one."""
    import torch

    from masktune_core.checkpoint import load_checkpoint, restore_model
    from masktune_core.data.dataset import Dataset
    from masktune_core.data.loader import Loader
    from masktune_core.evaluation import evaluate

    loaded = load_checkpoint(checkpoint)
    config = loaded.config
    if config is None:
        raise VerificationFailed(f"{checkpoint} was written by another version: its configuration cannot be read")
    device = torch.device("cuda" if device_type == "cuda" and torch.cuda.is_available() else "cpu")
    with Dataset.open(archive, group_by=config.data.group_by) as dataset:
        if dataset.sha256 != loaded.dataset_sha256:
            raise VerificationFailed(
                f"{archive} has SHA-256 {dataset.sha256}, the checkpoint was trained on {loaded.dataset_sha256}"
            )
        with Loader(dataset, config.input, device=device) as loader:
            model = restore_model(checkpoint, device)
            found = evaluate(model, loader, dataset, batch_size=config.masking.batch_size)
    scores: Scores = {}
    for name, split in found.splits.items():
        groups = {group.name: Score(group.accuracy, group.count) for group in split.groups}
        worst = Score(split.worst_group_accuracy, split.count)
        scores[name] = SplitScores(Score(split.accuracy, split.count), worst, groups)
    return scores, device.type
