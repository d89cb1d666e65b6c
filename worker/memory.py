"""A configuration that needs less of the device's memory and computes the same."""

from __future__ import annotations

from typing import Any

from masktune_core.config import JobConfig

_SMALLEST_MICRO_BATCH = 2  # batch normalisation needs two images


def need_less_memory(config: JobConfig, doing: str | None) -> JobConfig | None:
    """`config` with half as many images on the device at a time; None when there is nothing left to halve.

    In training that is the micro-batch: gradients still add up to those of `erm.batch_size`. In masking and evaluation,
    where nothing is trained, it is `masking.batch_size`. `doing` is an activity or a stage; when it does not tell, both
    are halved.
    """
    changes: dict[str, Any] = {}
    micro_batch = min(config.runtime.micro_batch or config.erm.batch_size, config.erm.batch_size)
    if doing not in ("masking", "evaluating") and micro_batch // 2 >= _SMALLEST_MICRO_BATCH:
        changes["runtime"] = config.runtime.model_copy(update={"micro_batch": micro_batch // 2})
    if doing not in ("training", "training_erm", "finetuning") and config.masking.batch_size >= 2:
        changes["masking"] = config.masking.model_copy(update={"batch_size": config.masking.batch_size // 2})
    return config.model_copy(update=changes) if changes else None
