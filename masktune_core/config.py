"""The one configuration: what a MaskTune job does, as frozen pydantic models.

HTTP bodies, the command line and Python all use these classes. The module imports no torch. A preset is a complete
`JobConfig`; `resolve_config` lays a caller's changes over one. Published settings: MaskTune (arXiv 2210.00055) and the
authors' scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from masktune_core.architectures import ARCHITECTURES
from masktune_core.config_intake import CelebaOptions, IntakeOptions
from masktune_core.config_parts import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MOST_CLASSES,
    STAGES,
    AugmentConfig,
    Channels,
    DataConfig,
    ErmConfig,
    FinetuneConfig,
    Fraction,
    Frozen,
    InputConfig,
    LimitsConfig,
    MaskingConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    ScheduleConfig,
    SelectiveConfig,
    Stage,
)

__all__ = [
    "ARCHITECTURES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "MOST_CLASSES",
    "PRESETS",
    "STAGES",
    "AugmentConfig",
    "CelebaOptions",
    "Channels",
    "DataConfig",
    "ErmConfig",
    "FinetuneConfig",
    "Fraction",
    "Frozen",
    "InputConfig",
    "IntakeOptions",
    "JobConfig",
    "LimitsConfig",
    "MaskingConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "SelectiveConfig",
    "Stage",
    "resolve_config",
]


class JobConfig(Frozen):
    """Everything that decides a MaskTune job, besides the data set and an optional starting checkpoint."""

    preset: str | None = Field(default=None, description="Name of the preset this was resolved from; for the record.")
    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Decides every random draw: initial weights, order, augmentation, random masks.",
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    input: InputConfig = InputConfig()
    erm: ErmConfig = ErmConfig()
    masking: MaskingConfig = MaskingConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    selective: SelectiveConfig = SelectiveConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    limits: LimitsConfig = LimitsConfig()


_SGD_1E4 = OptimizerConfig(lr=1e-4)
_RESNET50_PRETRAINED = ModelConfig(architecture="resnet50", pretrained=True)
_RESNET32 = ModelConfig(architecture="resnet32_cifar")
_FLIP_AFFINE = AugmentConfig(horizontal_flip=True, rotation_degrees=15.0, translate=0.1)
_CROP_FLIP = AugmentConfig(random_resized_crop=(0.7, 1.0), horizontal_flip=True)

PRESETS: Final[Mapping[str, JobConfig]] = {
    "biased_mnist": JobConfig(preset="biased_mnist", erm=ErmConfig(epochs=100)),
    "waterbirds": JobConfig(
        preset="waterbirds",
        model=_RESNET50_PRETRAINED,
        input=InputConfig(size=224, resize=256, mean=IMAGENET_MEAN, std=IMAGENET_STD, augment=_CROP_FLIP),
        erm=ErmConfig(epochs=100, optimizer=_SGD_1E4),
    ),
    "celeba": JobConfig(
        preset="celeba",
        model=_RESNET50_PRETRAINED,
        input=InputConfig(size=224, center_crop=178, mean=IMAGENET_MEAN, std=IMAGENET_STD, augment=_CROP_FLIP),
        erm=ErmConfig(epochs=20, batch_size=512, optimizer=_SGD_1E4),
    ),
    "in9l": JobConfig(
        preset="in9l",
        model=_RESNET50_PRETRAINED,
        input=InputConfig(
            size=224,
            resize=256,
            mean=(0.4717, 0.4499, 0.3837),
            std=(0.2600, 0.2516, 0.2575),
            augment=AugmentConfig(
                random_resized_crop=(0.08, 1.0), horizontal_flip=True, color_jitter=0.1, pca_lighting=0.05
            ),
        ),
        erm=ErmConfig(epochs=100, optimizer=_SGD_1E4),
    ),
    "cifar10": JobConfig(
        preset="cifar10",
        model=_RESNET32,
        input=InputConfig(size=32, augment=_FLIP_AFFINE),
        erm=ErmConfig(
            epochs=300,
            optimizer=OptimizerConfig(lr=0.1),
            schedule=ScheduleConfig(name="step", step_epochs=25, gamma=0.5),
        ),
    ),
    "svhn": JobConfig(
        preset="svhn",
        model=_RESNET32,
        input=InputConfig(size=32),
        erm=ErmConfig(
            epochs=300,
            optimizer=OptimizerConfig(lr=0.1, weight_decay=5e-4),
            schedule=ScheduleConfig(name="step", step_epochs=25, gamma=0.5),
        ),
    ),
    "catsvsdogs": JobConfig(
        preset="catsvsdogs",
        model=_RESNET32,
        input=InputConfig(size=64, augment=_FLIP_AFFINE),
        erm=ErmConfig(
            epochs=200,
            optimizer=OptimizerConfig(name="adam", lr=1e-3),
            schedule=ScheduleConfig(name="multi_step", milestones=(50,), gamma=0.1),
        ),
    ),
}


def resolve_config(preset: str | None = None, changes: Mapping[str, Any] | None = None) -> JobConfig:
    """Lay `changes` (nested, as in JSON merge patch, RFC 7396) over a preset, and validate the whole.

    Without a preset the defaults of `JobConfig` are the base. In a change, null resets a field to its default.

    Raises `KeyError` with the known names for an unknown preset, `pydantic.ValidationError` for a bad value.
    """
    if preset is not None and preset not in PRESETS:
        raise KeyError(f"unknown preset {preset!r}: use one of {', '.join(PRESETS)}")
    base = PRESETS[preset].model_dump(mode="json") if preset else JobConfig().model_dump(mode="json")
    merged = _merge(base, changes or {})
    merged["preset"] = preset
    return JobConfig.model_validate(merged)


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            below = merged.get(name)
            merged[name] = _merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged
