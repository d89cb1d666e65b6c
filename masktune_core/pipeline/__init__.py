"""The whole method as one call: `run(config, dataset, work_dir=…) -> Result`."""

from masktune_core.pipeline.execution import run
from masktune_core.pipeline.result import Result

__all__ = ["Result", "run"]
