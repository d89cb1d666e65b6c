"""The trainer child: `python -m worker.trainer`, started for one attempt of one job, perhaps before there is one."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys

from worker import lifeline


def main() -> int:
    """Load torch, read the specification from standard input, run the attempt, return the exit code."""
    lifeline.die_with_parent()
    faulthandler.register(signal.SIGUSR1)  # Prints all threads' stacks, also while one is stuck in a library.
    # Imported late: the first line ties this process to its parent before seconds go into loading torch.
    from worker.training import run_attempt

    specification = lifeline.receive()
    return run_attempt(specification)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Everything is stored. To take torch's modules apart would hold the device for another second.
