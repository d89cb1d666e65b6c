"""What can go wrong in the core.

MaskTuneError
├── ArchiveError           an archive or normalised data set cannot be used; carries every problem found
├── ArchitectureError      an architecture or CAM layer does not exist or cannot be built here
├── CheckpointError        a checkpoint does not fit; carries missing, unexpected and misshapen keys
├── ConfigError            the configuration does not fit this data set or machine
├── TrainingDiverged       the loss is no longer finite
├── OutOfGpuMemory         the device could not hold a batch
├── OutOfDisk              writing would leave the disk too little free space
├── ResumeError            a resume point does not belong to this run, or is damaged
└── Interrupted            the caller asked to stop; a resume point was written

Every error has a stable `code` for machines and a message for people that names the thing, the limit and the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal


class MaskTuneError(Exception):
    """Root of the tree. `retryable`: another attempt may succeed with nothing changed."""

    code: ClassVar[str] = "masktune_error"
    retryable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of intake: stable `code`, the archive member or field, a sentence, and whether it is fatal."""

    code: str
    where: str
    message: str
    severity: Literal["error", "converted", "warning"] = "error"


class ArchiveError(MaskTuneError):
    """`problems` lists the findings (the first 100); `total` counts them all."""

    code = "archive_invalid"

    def __init__(self, problems: Sequence[Problem], total: int | None = None) -> None:
        self.problems = tuple(problems)
        self.total = len(self.problems) if total is None else total
        first = self.problems[0] if self.problems else Problem("archive_invalid", "", "the archive cannot be used")
        more = f" (and {self.total - 1} more)" if self.total > 1 else ""
        super().__init__(f"{first.where}: {first.message}{more}" if first.where else f"{first.message}{more}")


class ArchitectureError(MaskTuneError):
    code = "architecture_unusable"


class CheckpointError(MaskTuneError):
    """`missing`, `unexpected`, `misshapen` are parameter names of the named architecture."""

    code = "checkpoint_mismatch"

    def __init__(
        self,
        message: str,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        misshapen: Sequence[str] = (),
    ) -> None:
        self.missing, self.unexpected, self.misshapen = tuple(missing), tuple(unexpected), tuple(misshapen)
        super().__init__(message)


class ConfigError(MaskTuneError):
    code = "config_unusable"


class TrainingDiverged(MaskTuneError):
    code = "training_diverged"


Activity = Literal["training", "masking", "evaluating"]
"""What the device was doing. Unlike a stage: while training, a model is evaluated as well, after every epoch."""


class OutOfGpuMemory(MaskTuneError):
    """`activity` tells whose batches were too large: `runtime.micro_batch` is that of training, `masking.batch_size`
    that of the others."""

    code = "out_of_gpu_memory"

    def __init__(self, message: str, activity: Activity | None = None) -> None:
        self.activity = activity
        super().__init__(message)


class OutOfDisk(MaskTuneError):
    """`free` bytes are left on the disk under `folder`, and `kept` must stay."""

    code = "out_of_disk"

    def __init__(self, folder: Path, free: int, kept: int) -> None:
        self.folder, self.free, self.kept = folder, free, kept
        super().__init__(
            f"only {free // 2**20:,} MiB of disk are free under {folder}, and {kept // 2**20:,} MiB must stay free: "
            "make room there, then ask for the same again"
        )


class ResumeError(MaskTuneError):
    code = "resume_point_unusable"


class Interrupted(MaskTuneError):
    code = "interrupted"
    retryable = True
