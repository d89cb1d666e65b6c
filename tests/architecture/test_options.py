"""Every option is documented, and something reads it: none is there for show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from masktune_core.config import PRESETS, JobConfig
from persistence.settings import Settings
from tests.architecture.sources import PACKAGES, ROOT, attributes_read

CONFIGURATION = frozenset({"masktune_core/config.py", "masktune_core/config_parts.py"})
OPERATIONS = ROOT / "docs" / "operations.md"


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    """(dotted path, name, field) of every leaf of a model, parts opened."""
    for name, field in model.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield from fields(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", name, field


JOB_FIELDS = list(fields(JobConfig))


@pytest.mark.parametrize(("path", "field"), [(path, field) for path, _, field in JOB_FIELDS])
def test_a_job_option_is_described_where_it_is_defined(path: str, field: FieldInfo) -> None:
    assert field.description, f"{path} has no description"


def test_something_outside_the_configuration_reads_every_job_option() -> None:
    read = attributes_read(*PACKAGES, without=CONFIGURATION)
    assert [path for path, name, _ in JOB_FIELDS if name not in read] == []


def test_something_outside_the_settings_reads_every_setting() -> None:
    read = attributes_read(*PACKAGES, without=frozenset({"persistence/settings.py"}))
    # Read through `Settings.storage`, which fills in the default.
    assert [name for name in Settings.model_fields if name not in read | {"storage_url"}] == []
    assert "storage" in read


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_a_setting_is_explained_to_those_who_run_the_service(name: str) -> None:
    assert f"`MASKTUNE_{name.upper()}`" in OPERATIONS.read_text(encoding="utf-8")


def test_every_preset_of_the_design_is_there_and_says_its_own_name() -> None:
    assert set(PRESETS) == {"biased_mnist", "waterbirds", "celeba", "in9l", "cifar10", "svhn", "catsvsdogs"}
    assert all(preset.preset == name for name, preset in PRESETS.items())
