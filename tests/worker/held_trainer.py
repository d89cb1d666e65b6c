"""The real trainer, made to stay in the stage named by its argument until it is asked to stop."""

from __future__ import annotations

import sys
import time

from worker import lifeline


def main() -> int:
    specification = lifeline.receive()
    from worker import training
    from worker.recorder import Recorder

    held = sys.argv[1]

    class HeldRecorder(Recorder):
        stage = ""

        def on_stage(self, stage: str, iteration: int) -> None:  # type: ignore[override]  # any stage's name will do
            super().on_stage(stage, iteration)  # type: ignore[arg-type]
            self.stage = stage
            if stage == held == "preparing":
                time.sleep(60)

        def should_stop(self) -> bool:
            while self.stage == held and not super().should_stop():
                time.sleep(0.02)
            return super().should_stop()

    training.Recorder = HeldRecorder  # type: ignore[misc]
    return training.run_attempt(specification)


if __name__ == "__main__":
    sys.exit(main())
