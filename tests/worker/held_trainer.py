"""The real trainer, made to stay in the stage named by its argument until it is asked to stop."""

from __future__ import annotations

import sys
import time
from unittest.mock import patch

from worker import lifeline


def main() -> int:
    specification = lifeline.receive()
    from masktune_core.config import Stage
    from worker.recorder import Recorder
    from worker.training import run_attempt

    held = sys.argv[1]

    class HeldRecorder(Recorder):
        now = ""

        def on_stage(self, stage: Stage, iteration: int) -> None:
            super().on_stage(stage, iteration)
            self.now = stage
            if stage == held == "preparing":
                time.sleep(60)

        def should_stop(self) -> bool:
            while self.now == held and not super().should_stop():
                time.sleep(0.02)
            return super().should_stop()

    with patch("worker.training.Recorder", HeldRecorder):
        return run_attempt(specification)


if __name__ == "__main__":
    sys.exit(main())
