"""Exceptions of a child, as the reason that is stored with the job, data set or checkpoint."""

from __future__ import annotations

import errno

from masktune_core.errors import MaskTuneError, OutOfGpuMemory
from masktune_core.out_of_memory import ran_out_of_gpu_memory, ran_out_of_host_memory
from persistence.database import gave_way, is_unavailable
from persistence.errors import OutOfDisk, StoreError, StoreUnavailable
from worker.outcome import Failure


class Shortage(Exception):
    """The machine has too little of something for this job. Another worker, or this one later, may have more."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def reason_of(error: Exception) -> Failure:
    """Code, message, and whether another attempt may succeed. An error that nobody foresaw is `internal_error`."""
    ours = _ours(error)
    if ours is not None:
        return ours
    if ran_out_of_host_memory(error):
        message = "the machine has too little memory for this: lower runtime.cache_mib or the batch size"
        return Failure("out_of_host_memory", message)
    if ran_out_of_gpu_memory(error):
        first_line = str(error).partition("\n")[0]
        message = f"the GPU's memory ran out ({first_line}): see whether something else uses it, or use smaller batches"
        return Failure("out_of_gpu_memory", message)
    if gave_way(error):
        return Failure("database_away", "the database ended a transaction in favour of another one", retryable=True)
    if is_unavailable(error):
        return Failure("database_away", "the database did not answer", retryable=True)
    return Failure("internal_error", f"{type(error).__name__}: {error}")


def _ours(error: Exception) -> Failure | None:
    match error:
        case OutOfGpuMemory():
            return Failure(error.code, str(error), activity=error.activity)
        case MaskTuneError():
            return Failure(error.code, str(error), retryable=error.retryable)
        case Shortage() | StoreError():
            mended = isinstance(error, Shortage | OutOfDisk | StoreUnavailable)
            return Failure(error.code, str(error), retryable=mended)
        case OSError():
            return _input_output(error)
    return None


def _input_output(error: OSError) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = f"the worker's disk is full ({error.strerror}): free some space"
        return Failure("out_of_disk", message, retryable=True)
    if error.errno == errno.ENOMEM:
        message = f"the machine has too little memory ({error.strerror}): give the worker more"
        return Failure("out_of_host_memory", message, retryable=True)
    if error.errno in (errno.EAGAIN, errno.EMFILE, errno.ENFILE):
        message = f"the worker's machine has no more processes, threads or open files to give ({error.strerror})"
        return Failure("input_output_error", message, retryable=True)
    return Failure("input_output_error", str(error), retryable=True)
