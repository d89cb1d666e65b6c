"""How the end of a child is told and understood."""

from __future__ import annotations

import errno
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from psycopg.errors import DeadlockDetected
from sqlalchemy.exc import OperationalError

from masktune_core.errors import ArchitectureError, OutOfGpuMemory, TrainingDiverged
from persistence.errors import ObjectCorrupt, OutOfDisk, StoreUnavailable
from worker.outcome import Exit, Failure, classify, count_host_ooms, read_outcome, write_outcome
from worker.reasons import reason_of

LOG = tuple(str(n) for n in range(30))


def test_what_the_child_says_counts(tmp_path: Path) -> None:
    told = Failure("out_of_gpu_memory", "too large", "finetuning", retryable=False, activity="evaluating")
    write_outcome(tmp_path, told)
    assert read_outcome(tmp_path) == told
    assert classify(Exit.FAILED, tmp_path, log=LOG) == replace(told, log=LOG[-20:]), "with its last words"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"code": "x"}'])
def test_an_outcome_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "outcome.json").write_text(content)
    assert read_outcome(tmp_path) is None
    assert classify(Exit.FAILED, tmp_path, log=LOG).code == "trainer_crashed"


def test_a_kill_is_a_memory_kill_when_the_kernel_counted_one(tmp_path: Path) -> None:
    assert classify(-signal.SIGKILL, tmp_path, log=LOG, host_ooms=1).code == "out_of_host_memory"
    suspected = classify(-signal.SIGKILL, tmp_path, log=LOG)
    assert suspected.code == "trainer_killed"
    assert "memory" in suspected.message


@pytest.mark.parametrize(
    ("returncode", "named"), [(-signal.SIGSEGV, "SIGSEGV"), (1, "exit code 1"), (-99, "signal 99")]
)
def test_a_crash_names_its_signal_or_code_and_keeps_the_end_of_the_log(
    tmp_path: Path, returncode: int, named: str
) -> None:
    failure = classify(returncode, tmp_path, log=LOG)
    assert failure.code == "trainer_crashed"
    assert named in failure.message
    assert failure.retryable
    assert failure.as_error()["log"] == list(LOG[-20:])


def test_an_error_without_a_log_has_four_fields() -> None:
    assert Failure("a", "b").as_error() == {"code": "a", "message": "b", "stage": None, "retryable": False}


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (TrainingDiverged("nan"), "training_diverged", False),
        (OutOfGpuMemory("batch"), "out_of_gpu_memory", False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_gpu_memory", False),
        (RuntimeError("CUDA error: out of memory"), "out_of_gpu_memory", False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out_of_gpu_memory", False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out_of_gpu_memory", False),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "out_of_host_memory",
            False,
        ),
        (RuntimeError("something else"), "internal_error", False),
        (ArchitectureError("no"), "architecture_unusable", False),
        (ObjectCorrupt("ab", "cd"), "object_corrupt", False),
        (StoreUnavailable("away"), "store_unavailable", True),
        (OutOfDisk(2, 1), "out_of_disk", True),
        (OSError(errno.ENOSPC, "No space left on device"), "out_of_disk", True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_host_memory", True),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "input_output_error", True),
        (ConnectionResetError("reset"), "input_output_error", True),
        (MemoryError(), "out_of_host_memory", False),
        (OperationalError("SELECT", {}, Exception("gone")), "database_away", True),
        (OperationalError("UPDATE", {}, DeadlockDetected("deadlock detected")), "database_away", True),
        (ZeroDivisionError("division by zero"), "internal_error", False),
    ],
)
def test_every_error_has_a_code_and_says_whether_to_try_again(error: Exception, code: str, retryable: bool) -> None:
    reason = reason_of(error)
    assert (reason.code, reason.retryable) == (code, retryable)


def test_memory_kills_are_counted_or_zero_but_never_an_error() -> None:
    assert count_host_ooms() >= 0
