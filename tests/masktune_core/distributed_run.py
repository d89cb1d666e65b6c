"""What `torchrun` starts in the tests: a job, whose figures each process leaves in a file of its own."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import astuple
from pathlib import Path

import torch

from masktune_core.callbacks import Callbacks
from masktune_core.config import JobConfig
from masktune_core.data.dataset import Dataset
from masktune_core.errors import Interrupted
from masktune_core.pipeline import run


class StopAfter(Callbacks):
    """Asks to stop at the given poll, 0 for never; in the last process only, so that the others must hear of it."""

    def __init__(self, polls: int) -> None:
        self._left = polls if os.environ["RANK"] == str(int(os.environ["WORLD_SIZE"]) - 1) else 0

    def should_stop(self) -> bool:
        self._left -= 1
        return self._left == 0


def main() -> None:
    """Arguments: data set, configuration in JSON, working folder, folder for figures, resume point or -, polls."""
    data, config, work, figures, point, polls = sys.argv[1:]
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    with Dataset.open(data) as dataset:
        try:
            result = run(
                JobConfig.model_validate_json(config),
                dataset,
                work_dir=Path(work),
                callbacks=StopAfter(int(polls)),
                resume=None if point == "-" else Path(point),
            )
        except Interrupted:
            (Path(figures) / f"{rank}.json").write_text('"interrupted"')
            return
    found = {"metrics": [astuple(metric) for metric in result.metrics], "artifacts": sorted(result.artifacts)}
    (Path(figures) / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
