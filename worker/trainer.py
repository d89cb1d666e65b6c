"""The trainer child: `python -m worker.trainer`, started for one attempt of one job, perhaps before there is one."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from importlib import import_module
from typing import Final

from worker import lifeline

WAITS: Final = "MASKTUNE_TRAINER_WAITS"
"""Set for a trainer that is started before there is a job."""


def main() -> int:
    """Load torch, read the specification from standard input, run the attempt, return the exit code."""
    lifeline.die_with_parent()
    faulthandler.register(signal.SIGUSR1)  # Prints all threads' stacks, also while one is stuck in a library.
    # Imported late: the first line ties this process to its parent before seconds go into loading torch.
    from worker.training import run_attempt

    if os.environ.get(WAITS):
        # Loaded by the runs that need them when they do, which is late or never; now there is time.
        for name in ("sklearn.calibration", "sklearn.cluster", "timm"):
            import_module(name)

    specification = lifeline.receive()
    return run_attempt(specification)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Everything is stored. To take torch's modules apart would hold the device for another second.
