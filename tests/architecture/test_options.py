"""Every option is documented, and something reads it: none is there for show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from masktune_core.config import IMAGENET_MEAN, IMAGENET_STD, PRESETS, JobConfig, resolve_config
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


# Architecture, pretrained, input size, (optimizer, rate, weight decay, momentum), batch, ERM epochs, steps of the rate:
# the authors' settings (arXiv 2210.00055, appendix, and their scripts, but for weights that two of these leave out).
SETTINGS = {
    "biased_mnist": ("small_cnn", False, 28, ("sgd", 0.01, 1e-4, 0.9), 128, 100, None),
    "waterbirds": ("resnet50", True, 224, ("sgd", 1e-4, 1e-4, 0.9), 128, 100, None),
    "celeba": ("resnet50", True, 224, ("sgd", 1e-4, 1e-4, 0.9), 512, 20, None),
    "in9l": ("resnet50", True, 224, ("sgd", 1e-4, 1e-4, 0.9), 128, 100, None),
    "cifar10": ("resnet32_cifar", False, 32, ("sgd", 0.1, 1e-4, 0.9), 128, 300, (0.5, 25)),
    "svhn": ("resnet32_cifar", False, 32, ("sgd", 0.1, 5e-4, 0.9), 128, 300, (0.5, 25)),
    "catsvsdogs": ("resnet32_cifar", False, 64, ("adam", 1e-3, 1e-4, None), 128, 200, (0.1, 50)),
}
NORMALISED = {
    "waterbirds": (IMAGENET_MEAN, IMAGENET_STD),
    "celeba": (IMAGENET_MEAN, IMAGENET_STD),
    "in9l": ((0.4717, 0.4499, 0.3837), (0.2600, 0.2516, 0.2575)),
}
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_preset_has_the_settings_of_the_paper(name: str) -> None:
    preset = PRESETS[name]
    optimizer, schedule = preset.erm.optimizer, preset.erm.schedule
    momentum = optimizer.momentum if optimizer.name == "sgd" else None
    changes = {
        "none": None,
        "step": (schedule.gamma, schedule.step_epochs),
        "multi_step": (schedule.gamma, *schedule.milestones),
    }
    assert SETTINGS[name] == (
        preset.model.architecture,
        preset.model.pretrained,
        preset.input.size,
        (optimizer.name, optimizer.lr, optimizer.weight_decay, momentum),
        preset.erm.batch_size,
        preset.erm.epochs,
        changes[schedule.name],
    )
    assert (preset.input.mean, preset.input.std) == NORMALISED.get(name, PLAIN)
    masking = preset.masking
    assert (masking.strategy, masking.saliency, masking.target, masking.k) == ("masktune", "xgradcam", "predicted", 2.0)
    assert (masking.fill, masking.iterations, preset.finetune.epochs, preset.finetune.lr) == ("zero", 1, 1, None)


def test_how_the_presets_change_images_in_training() -> None:
    augment = {name: preset.input.augment.model_dump(exclude_defaults=True) for name, preset in PRESETS.items()}
    crop = {"random_resized_crop": (0.7, 1.0), "horizontal_flip": True}
    affine = {"horizontal_flip": True, "rotation_degrees": 15.0, "translate": 0.1}
    colours = {"random_resized_crop": (0.08, 1.0), "horizontal_flip": True, "color_jitter": 0.1, "pca_lighting": 0.05}
    assert augment == {
        "biased_mnist": {},
        "waterbirds": crop,
        "celeba": crop,
        "in9l": colours,
        "cifar10": affine,
        "svhn": {},
        "catsvsdogs": affine,
    }
    cut = {name: (preset.input.resize, preset.input.center_crop) for name, preset in PRESETS.items()}
    assert {name: each for name, each in cut.items() if each != (None, None)} == {
        "waterbirds": (256, None),
        "celeba": (None, 178),
        "in9l": (256, None),
    }


def test_the_random_mask_has_its_first_name_as_well() -> None:
    assert resolve_config(None, {"masking": {"strategy": "random"}}).masking.strategy == "random_mask"


def test_every_preset_of_the_design_is_there_and_says_its_own_name() -> None:
    assert set(PRESETS) == {"biased_mnist", "waterbirds", "celeba", "in9l", "cifar10", "svhn", "catsvsdogs"}
    assert all(preset.preset == name for name, preset in PRESETS.items())
