"""What to know about a data set before a job: balance, leaks between splits, shortcuts, and where a job cannot help."""

from masktune_core.preflight.report import preflight

__all__ = ["preflight"]
