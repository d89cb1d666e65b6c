"""Telling that a device's memory ran out, whichever library it was that asked for some. Imports no torch."""

from __future__ import annotations

from typing import Final

_GPU: Final = (
    "CUDA out of memory",  # torch's own allocator
    "CUDA error: out of memory",  # the driver: a context, a stream, pinned memory
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
)
_HOST: Final = "DefaultCPUAllocator: can't allocate memory"


def ran_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether an exception of torch says so: `torch.OutOfMemoryError`, or a `RuntimeError` of a library below it."""
    if any(kind.__name__ == "OutOfMemoryError" and kind.__module__.startswith("torch") for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _GPU)


def ran_out_of_host_memory(error: BaseException) -> bool:
    """Whether Python or torch could not have the machine's memory."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _HOST in str(error))
