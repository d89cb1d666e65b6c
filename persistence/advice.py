"""What to do about an error, by its code; shown with the job that failed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_RESUME = "then resume the job: it goes on from its last resume point"

ADVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "out_of_gpu_memory": "Submit it with a smaller runtime.micro_batch (training) or masking.batch_size (masking "
        "and evaluation), or run it on a device with more memory.",
        "out_of_host_memory": f"Give the worker more memory, or submit it with a lower runtime.cache_mib; {_RESUME}.",
        "out_of_disk": f"Free space on the disk that the message names, or lower MASKTUNE_CACHE_MAX_BYTES; {_RESUME}.",
        "wall_clock_exceeded": "Resume the job to give it the same time once more, or submit it with a higher "
        "limits.wall_seconds or fewer epochs.",
        "training_diverged": "Submit it with a lower erm.optimizer.lr, or in precision fp32 or bf16 in place of fp16.",
        "trainer_killed": f"Look at the machine's memory: that is what most often kills a process; {_RESUME}.",
        "trainer_crashed": "Read the last log lines; if a library crashed, run it on another machine, and report it.",
        "trainer_stalled": "Read in the last log lines where it stood: the usual cause is a hanging disk, network or "
        "GPU driver, and the way out another machine. Where a single batch takes that long, submit it with a higher "
        "limits.stall_seconds or a lower masking.batch_size.",
        "worker_lost": f"Look at the worker's log and machine; {_RESUME}.",
        "worker_shutdown": "Nothing: another worker goes on from the resume point.",
        "interrupted": f"Somebody stopped the trainer from outside; {_RESUME}.",
        "config_unusable": "Submit it with the field changed that the message names. Where workers of several versions "
        "run, bring them to the same one, then resume the job.",
        "architecture_unusable": "Submit it with another model.architecture, model.cam_layer or input.size.",
        "checkpoint_mismatch": "Upload a checkpoint of the configured architecture and the data set's classes.",
        "object_missing": "The object store lost data: restore it from a backup, or upload the data set again.",
        "object_corrupt": "The object store damaged data: restore it from a backup, or upload the data set again.",
        "store_unavailable": "Look at the object store; the job is tried again, ever less often, until that answers.",
        "database_away": "Look at the database; the job is tried again, ever less often, until that answers.",
        "input_output_error": f"Look at the worker's disk; {_RESUME}.",
        "attempts_exhausted": f"See the cause, mend it, {_RESUME}.",
        "internal_error": "This is a defect of the service: report it with the last log lines.",
    }
)


def advised(error: Mapping[str, Any]) -> dict[str, Any]:
    """The error with its `advice`, where its code has one."""
    advice = ADVICE.get(str(error.get("code")))
    return dict(error) if advice is None else {**error, "advice": advice}
