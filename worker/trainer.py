"""The trainer child: `python -m worker.trainer`, started by the supervisor for one attempt of one job."""

from __future__ import annotations

import sys

from worker import lifeline


def main() -> int:
    """Read the specification from standard input, run the attempt, return the exit code."""
    specification = lifeline.receive()
    # Imported late: the line above ties this process to its parent before seconds go into loading torch.
    from worker.training import run_attempt

    return run_attempt(specification)


if __name__ == "__main__":
    sys.exit(main())
