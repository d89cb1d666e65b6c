"""The parts of a job's configuration: frozen pydantic models with units, bounds and defaults.

Import them from `masktune_core.config`, which puts them together.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from masktune_core.architectures import ARCHITECTURES, RESNET_TAG, check_architecture, pretrained_weights

Stage = Literal["preparing", "training_erm", "masking", "finetuning", "evaluating"]
STAGES: Final[tuple[Stage, ...]] = ("preparing", "training_erm", "masking", "finetuning", "evaluating")
MOST_CLASSES: Final = 10_000
"""Classes of a data set or a checkpoint. Results have a row for each, per split and model, and stay readable whole."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Channels = tuple[float, float, float]

IMAGENET_MEAN: Final[Channels] = (0.485, 0.456, 0.406)
IMAGENET_STD: Final[Channels] = (0.229, 0.224, 0.225)


class Frozen(BaseModel):
    """Base of every part: immutable, and an unknown field is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Frozen):
    """How the data set's columns are used."""

    group_by: str | None = Field(
        default=None,
        max_length=100,
        description="Attribute column that forms groups (label × attribute). Default: the first one, if any.",
    )


class ModelConfig(Frozen):
    """The network."""

    architecture: str = Field(
        default="small_cnn",
        max_length=100,
        description="One of " + ", ".join(ARCHITECTURES) + ", or timm/<name>.",
        examples=["small_cnn", "resnet50", "timm/convnext_tiny"],
    )
    pretrained: bool = Field(
        default=False,
        description=f"Start from ImageNet weights: torchvision's first ones (timm's tag {RESNET_TAG}) for resnet18 to "
        "resnet101, those of the tag or of timm's choice for timm/<name>[.<tag>]. The manifest names them. The worker "
        "must be able to reach the weight hub.",
    )
    cam_layer: str | None = Field(
        default=None,
        max_length=200,
        pattern=r"^[A-Za-z0-9_.]+$",
        description="Dotted name of the module whose output is explained. Default: the last convolutional block.",
        examples=["layer4.1"],
    )

    @field_validator("architecture")
    @classmethod
    def _known(cls, architecture: str) -> str:
        check_architecture(architecture)
        return architecture

    @field_validator("pretrained")
    @classmethod
    def _has_weights(cls, pretrained: bool, others: ValidationInfo) -> bool:
        if "architecture" in others.data:  # else that one is refused already
            check_architecture(others.data["architecture"], pretrained=pretrained)
        return pretrained

    @property
    def weights(self) -> str | None:
        """timm's full name of the weights to start from, such as resnet50.tv_in1k; None: random ones."""
        return pretrained_weights(self.architecture) if self.pretrained else None


class AugmentConfig(Frozen):
    """Random changes of a training image. Drawn from (seed, epoch, sample index), so a rerun repeats them."""

    random_resized_crop: tuple[Fraction, Fraction] | None = Field(
        default=None, description="Area of the random crop as a fraction (low, high) of the image; null: no crop."
    )
    horizontal_flip: bool = Field(default=False, description="Mirror left to right with probability 0.5.")
    rotation_degrees: float = Field(default=0.0, ge=0.0, le=180.0, description="Largest rotation either way, degrees.")
    translate: Fraction = Field(default=0.0, description="Largest shift either way, as a fraction of the side.")
    color_jitter: Fraction = Field(default=0.0, description="Strength for brightness, contrast and saturation.")
    pca_lighting: float = Field(default=0.0, ge=0.0, le=1.0, description="Standard deviation of AlexNet's PCA noise.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        crop = self.random_resized_crop
        if crop is not None and not 0.0 < crop[0] <= crop[1]:
            raise ValueError(f"random_resized_crop must satisfy 0 < low <= high, got {crop}")
        return self


class InputConfig(Frozen):
    """From a data-set image to the network's input: centre crop, resize, crop, scale to [0, 1], normalise."""

    size: int = Field(default=28, ge=8, le=1024, description="Side of the square network input, pixels.")
    center_crop: int | None = Field(
        default=None, ge=1, le=8192, description="Side of a first centre crop at the image's own resolution, pixels."
    )
    resize: int | None = Field(
        default=None,
        ge=8,
        le=2048,
        description="Evaluation: shorter side is resized to this, then the centre `size` square is taken. "
        "Null: the whole image is resized to `size`.",
    )
    mean: Channels = Field(default=(0.0, 0.0, 0.0), description="Per-channel mean subtracted, on the [0, 1] scale.")
    std: Channels = Field(default=(1.0, 1.0, 1.0), description="Per-channel divisor, on the [0, 1] scale.")
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if min(self.std) <= 0.0:
            raise ValueError(f"std must be positive in every channel, got {self.std}")
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize ({self.resize}) must be at least size ({self.size})")
        return self

    def evaluation_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of a `height × width` image that the network sees in evaluation: (top, left, height, width), pixels.

        What a CAM belongs to, in whole pixels: the edges of the evaluation view, rounded to the nearest pixel edge.
        Equal to `masktune_core.data.views.whole_boxes` of the evaluation views, for callers without torch.
        """
        if height < 1 or width < 1:
            raise ValueError(f"an image has at least one pixel, got {height}×{width}")
        sides = (height, width)
        taken = tuple(side if self.center_crop is None else min(side, self.center_crop) for side in sides)
        starts: list[int] = []
        lengths: list[int] = []
        for side, extent in zip(sides, taken, strict=True):
            edge, length = float(round((side - extent) / 2)), float(extent)
            if self.resize is not None:
                resized = self.resize * extent // min(taken)
                scale = extent / resized
                edge, length = edge + round((resized - self.size) / 2) * scale, self.size * scale
            start = min(max(round(edge), 0), side - 1)
            starts.append(start)
            lengths.append(min(max(round(edge + length), start + 1), side) - start)
        return starts[0], starts[1], lengths[0], lengths[1]


class OptimizerConfig(Frozen):
    """Gradient step."""

    name: Literal["sgd", "adam", "adamw"] = Field(
        default="sgd", description="Optimizer; its state is carried into finetuning."
    )
    lr: float = Field(default=0.01, gt=0.0, le=100.0, description="Learning rate at the start.")
    weight_decay: float = Field(
        default=1e-4, ge=0.0, le=10.0, description="L2 penalty on the weights; decoupled from the gradient in adamw."
    )
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0, description="SGD only.")


class ScheduleConfig(Frozen):
    """Learning rate over ERM epochs. Finetuning continues at the rate ERM ended with."""

    name: Literal["none", "step", "multi_step", "cosine"] = Field(
        default="none", description="none keeps the rate; cosine falls to zero over the ERM epochs."
    )
    step_epochs: int = Field(default=25, ge=1, le=10_000, description="step: multiply by gamma every so many epochs.")
    milestones: tuple[int, ...] = Field(default=(), max_length=100, description="multi_step: epochs to multiply after.")
    gamma: float = Field(default=0.1, gt=0.0, le=1.0, description="Factor for step and multi_step.")


class ErmConfig(Frozen):
    """Stage 1: empirical risk minimisation, plain cross-entropy. No group labels are used for training."""

    epochs: int = Field(default=5, ge=1, le=10_000, description="Passes over the training split.")
    batch_size: int = Field(default=128, ge=1, le=65_536, description="Images per optimizer step.")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    label_smoothing: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Share of the target spread evenly over all classes."
    )
    early_stopping_epochs: int | None = Field(
        default=None, ge=1, le=10_000, description="Stop after so many epochs without a better selection score."
    )
    select: Literal["last", "best_accuracy", "best_worst_class", "best_worst_group"] = Field(
        default="last",
        description="Which epoch's weights go on, judged on the validation split; used for masking and finetuning.",
    )

    @model_validator(mode="after")
    def _stoppable(self) -> Self:
        if self.early_stopping_epochs is not None and self.select == "last":
            raise ValueError("early_stopping_epochs needs a score: set erm.select to best_accuracy or another best_…")
        return self


class MaskingConfig(Frozen):
    """Stage 2: explain every training image and mask what the model relies on most (paper, section 3)."""

    strategy: Literal["masktune", "random_mask", "none"] = Field(
        default="masktune",
        description="masktune: the saliency mask. Controls: random_mask = one random square of the same area; none.",
    )
    saliency: Literal["xgradcam", "gradcam", "gradcam++", "layercam", "eigencam", "scorecam"] = Field(
        default="xgradcam", description="How an image is explained; the paper uses xgradcam."
    )
    target: Literal["predicted", "label"] = Field(default="predicted", description="Class that is explained.")
    k: float = Field(default=2.0, ge=0.0, le=10.0, description="Threshold μ + k·σ over the map's positive pixels.")
    fill: Literal["zero", "mean", "blur"] = Field(
        default="zero", description="What a masked pixel becomes: black, the image's mean colour, or a blurred copy."
    )
    iterations: int = Field(default=1, ge=1, le=3, description="Rounds of masking and finetuning.")
    cumulative: bool = Field(
        default=True,
        description="Later rounds add to the earlier masks. Without it they replace them, and show the model its first"
        " shortcut again.",
    )
    batch_size: int = Field(default=512, ge=1, le=65_536, description="Images explained at a time; bounds memory only.")

    @field_validator("strategy", mode="before")
    @classmethod
    def _renamed(cls, strategy: object) -> object:
        return "random_mask" if strategy == "random" else strategy  # as it was called at first


class FinetuneConfig(Frozen):
    """Stage 3: finetune on the masked images, optimizer state carried on."""

    epochs: int = Field(default=1, ge=1, le=1_000, description="Passes over the masked images in each round.")
    lr: float | None = Field(default=None, gt=0.0, le=100.0, description="Default: the rate that ERM ended with.")


class SelectiveConfig(Frozen):
    """Reject option: thresholds are chosen on the validation split, judged on every test set (paper, section 3.2)."""

    coverages: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = Field(
        default=(1.0, 0.95, 0.9, 0.85), max_length=50, description="Fractions of samples to accept."
    )
    risks: tuple[Fraction, ...] = Field(
        default=(), max_length=50, description="Error rates not to exceed among accepted samples."
    )


class RuntimeConfig(Frozen):
    """How, not what: device, precision and memory."""

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA when there is one.")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32",
        description="Of training. fp32 is full single precision, without TF32; bf16 and fp16 are autocast and need "
        "CUDA. Maps and evaluations are in fp32 always.",
    )
    channels_last: bool | None = Field(
        default=None,
        description="Memory format NHWC; faster on GPUs with bf16 or fp16. Default: for small_cnn on a CPU only.",
    )
    compile: bool = Field(default=False, description="torch.compile for training steps.")
    loader_workers: int = Field(
        default=0, ge=0, le=64, description="Decoding threads; 0: one per core. Never changes results."
    )
    cache_mib: int = Field(default=2048, ge=0, le=1_048_576, description="Budget of the decoded image cache, MiB.")
    micro_batch: int | None = Field(
        default=None, ge=1, le=65_536, description="Images per backward pass; gradients accumulate to the batch size."
    )
    resume_minutes: float = Field(
        default=10.0,
        gt=0.0,
        le=1440.0,
        description="A resume point is written at every epoch end and at least this often.",
    )


class LimitsConfig(Frozen):
    """When the service gives up on a job."""

    wall_seconds: int = Field(
        default=86_400,
        ge=1,
        le=2_592_000,
        description="Longest running time of the job, all attempts together, seconds; pauses and waiting do not count.",
    )
    stall_seconds: int = Field(
        default=1800,
        ge=1,
        le=604_800,
        description="An attempt that shows no sign of progress for so long is ended and counts as crashed, seconds; "
        "signs are steps, batches and pieces of files, so it must exceed the slowest single batch.",
    )
    max_attempts: int = Field(default=3, ge=1, le=20, description="Attempts after crashes of a worker or trainer.")
