"""Names of groups: label × attribute value."""

from __future__ import annotations

from masktune_core.config import JobConfig
from persistence.tables import Dataset


def group_names(dataset: Dataset, config: JobConfig) -> list[str]:
    """Name by group number, label × values + value; empty without attribute columns."""
    if not dataset.attributes:
        return []
    wanted = config.data.group_by
    attribute = next((a for a in dataset.attributes if a["name"] == wanted), dataset.attributes[0])
    return [f"{label} · {attribute['name']}={value}" for label in dataset.classes for value in attribute["values"]]
