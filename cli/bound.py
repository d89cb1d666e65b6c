"""Run a command that ends when the process that started it ends: `python bound.py PARENT_PID COMMAND …`.

The kernel sends SIGTERM to this process when its parent dies, even by SIGKILL (prctl(2), PR_SET_PDEATHSIG; kept
across execve). A separate program rather than `preexec_fn`, which is unsafe once the parent has threads. It uses the
standard library only, and needs nothing of this package, so that it starts in milliseconds. Systems without prctl
run the command unbound.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def bind_to_parent(parent: int) -> None:
    """Ask for SIGTERM at the parent's death; ends at once if it died before this could be asked."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        return
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    bind_to_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is the point
