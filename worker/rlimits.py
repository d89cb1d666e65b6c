"""Hard limits on what a child may take from the machine."""

from __future__ import annotations

import resource


def limit_memory(max_bytes: int) -> None:
    """Let this process allocate at most `max_bytes`; past that Python raises `MemoryError`. No core dumps.

    RLIMIT_DATA counts private writable memory (on Linux, mappings too) and, unlike RLIMIT_AS, not the code of large
    libraries.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
