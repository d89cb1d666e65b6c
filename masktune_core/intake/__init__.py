"""From an uploaded archive to a normalised data set, with every problem named."""

from masktune_core.config_intake import CelebaOptions, IntakeOptions
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.normalise import IntakeReport, normalise

__all__ = ["CelebaOptions", "IntakeLimits", "IntakeOptions", "IntakeReport", "normalise"]
