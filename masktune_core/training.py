"""One optimizer step, and one epoch of them: cross-entropy and nothing else.

ERM and finetuning run this same loop; they differ in the batches it is given. The sums of an epoch in progress are
part of its state, so an interrupted epoch goes on exactly where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from masktune_core.config import JobConfig, RuntimeConfig
from masktune_core.crew import SIZE as CREW_SIZE
from masktune_core.crew import Crew, Share
from masktune_core.distributed import ALONE, World, launched
from masktune_core.errors import Activity, ConfigError, OutOfGpuMemory, TrainingDiverged
from masktune_core.fresh_memory import reuse_freed_memory
from masktune_core.out_of_memory import ran_out_of_gpu_memory
from masktune_core.randomness import derive_seed, seed_generators
from masktune_core.shared_batch_norm import SharedBatchNorm

_CHECK_EVERY = 20  # steps between looks at the loss on a GPU, where each look waits for the device


class LabelledImages(Protocol):
    """The part of `masktune_core.data.loader.Batch` that training reads."""

    @property
    def image(self) -> Tensor: ...  # (B, 3, S, S) float32 on the device

    @property
    def label(self) -> Tensor: ...  # (B,) int64 on the device


@dataclass(slots=True)
class EpochSums:
    """Sums over the images of an epoch so far, on the training device: exact to carry on from."""

    loss: Tensor  # () float64
    correct: Tensor  # () int64
    images: int = 0

    @classmethod
    def zero(cls, device: torch.device) -> EpochSums:
        return cls(
            torch.zeros((), dtype=torch.float64, device=device), torch.zeros((), dtype=torch.int64, device=device)
        )

    def means(self) -> tuple[float, float]:
        """(loss, accuracy), every image weighted equally; waits for the device."""
        return float(self.loss) / max(self.images, 1), int(self.correct) / max(self.images, 1)


def resolve_device(runtime: RuntimeConfig) -> torch.device:
    """The device that `runtime` asks for; under `torchrun`, the GPU that `process_group` gave this process.

    Raises `ConfigError` where it asks for CUDA, or for a precision that needs it, and there is none.
    """
    available = torch.cuda.is_available()
    if runtime.device == "cuda" and not available:
        raise ConfigError("runtime.device is cuda, but this machine has no usable CUDA device: use auto or cpu")
    device = torch.device("cuda" if available and runtime.device != "cpu" else "cpu")
    if device.type == "cuda" and launched():
        device = torch.device("cuda", torch.cuda.current_device())
    if runtime.precision != "fp32" and device.type != "cuda":
        raise ConfigError(
            f"runtime.precision {runtime.precision} needs a CUDA device, and this job runs on the CPU: use fp32"
        )
    return device


def memory_format(runtime: RuntimeConfig, model: nn.Module) -> torch.memory_format:
    """How images and the weights of convolutions lie in memory: as `runtime` asks.

    By default NHWC where batch normalisation is a `SharedBatchNorm`: on a CPU it is faster. Elsewhere on a CPU it would
    be too, but torch's own normalisation is less exact in it.
    """
    shared = any(isinstance(module, SharedBatchNorm) for module in model.modules())
    channels_last = shared if runtime.channels_last is None else runtime.channels_last
    return torch.channels_last if channels_last else torch.contiguous_format


class Trainer:
    """A model with its optimizer, precision and gradient accumulation, alone or with its likes in a `World`.

    A `crew` takes every batch apart among its threads; the model's batch normalisations are then shared by it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: JobConfig,
        device: torch.device,
        world: World = ALONE,
        crew: Crew | None = None,
    ) -> None:
        self.model, self.optimizer, self.device, self.world, self.crew = model, optimizer, device, world, crew
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.label_smoothing = config.erm.label_smoothing
        self.micro_batch = config.runtime.micro_batch
        self.batch_size = config.erm.batch_size
        self.memory_format = memory_format(config.runtime, model)
        self.autocast_dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.runtime.precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.runtime.precision == "fp16")
        self.has_batch_norm = any(isinstance(module, _BatchNorm) for module in model.modules())
        self._parallel = None
        if world.size > 1:
            self._parallel = DistributedDataParallel(
                model, device_ids=[device.index] if device.type == "cuda" else None
            )
        forward = self._parallel or model
        self._forward = cast("nn.Module", torch.compile(forward)) if config.runtime.compile else forward
        smallest = min(self.batch_size, self.micro_batch or self.batch_size)
        if self.has_batch_norm and smallest == 1:
            raise ConfigError(
                f"{config.model.architecture} uses batch normalisation, which needs at least 2 images per pass: "
                "raise erm.batch_size or runtime.micro_batch"
            )

    def step(self, batch: LabelledImages, sums: EpochSums) -> None:
        """One optimizer step on `batch`, this process's share of it, added to `sums`, which are the whole group's.

        With `micro_batch`, gradients of near-equal parts add up to that of the whole batch; batch normalisation still
        sees each part by itself, so such a run is close to, not equal to, one without. A batch of a single image is
        left out where the model has batch normalisation: one image has no variance.
        """
        count = self.world.count(len(batch.label))
        if self.has_batch_norm and count == 1:
            return
        parts = 1 if self.micro_batch is None else math.ceil(self.world.largest_share(count) / self.micro_batch)
        if self.has_batch_norm:
            parts = max(1, min(parts, count // (2 * self.world.size)))  # no part of a single image
        self.optimizer.zero_grad(set_to_none=True)
        pieces = zip(batch.image.tensor_split(parts), batch.label.tensor_split(parts), strict=True)
        for number, (image, label) in enumerate(pieces, 1):
            images = image.contiguous(memory_format=self.memory_format)
            if self.crew is not None and len(label) >= 2 * CREW_SIZE:  # no share of a single image
                self._pass_with_crew(self.crew, images, label, count, sums)
                continue
            with self._gradients(exchanged=number == parts):
                loss, correct = self._losses(images, label)
                # the group averages gradients over processes, and their sum is wanted
                scaled = self.scaler.scale(loss * self.world.size / count)
                scaled.backward()  # type: ignore[no-untyped-call]  # torch's own
            sums.loss += self.world.add(loss.detach().double())
            sums.correct += self.world.add(correct)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        sums.images += count

    def _losses(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the images' losses, with its graph, and how many of them the model has right."""
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            logits = self._forward(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing, reduction="sum")
        return loss, (logits.detach().argmax(1) == labels).sum()

    def _pass_with_crew(self, crew: Crew, images: Tensor, labels: Tensor, count: int, sums: EpochSums) -> None:
        """Forward and backward pass by the crew's threads; gradients add up in the order of their ranks."""

        def work(images: Tensor, labels: Tensor) -> Share:
            loss, correct = self._losses(images, labels)
            return Share(loss.detach().double(), correct, torch.autograd.grad(loss / count, self._parameters))

        for share in crew.share_out(images, labels, work):
            sums.loss += share.loss
            sums.correct += share.correct
            for parameter, gradient in zip(self._parameters, share.gradients, strict=True):
                if parameter.grad is None:
                    parameter.grad = gradient
                else:
                    parameter.grad.add_(gradient)

    def _gradients(self, *, exchanged: bool) -> AbstractContextManager[None]:
        """Gradients accumulate in each process, and are exchanged with the last part of a batch."""
        if self._parallel is None or exchanged:
            return nullcontext()
        return self._parallel.no_sync()

    def require_finite_loss(self, sums: EpochSums, where: str) -> None:
        """Raise `TrainingDiverged` if the loss has stopped being a number."""
        if not math.isfinite(float(sums.loss)):
            raise TrainingDiverged(f"the loss is not finite {where}: {self._advice()}")

    def require_finite_weights(self, where: str) -> None:
        """Raise `TrainingDiverged` if a weight or a batch-norm statistic is not finite."""
        state: dict[str, Any] = self.model.state_dict()
        for name, value in state.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise TrainingDiverged(f"{name} is not finite {where}: {self._advice()}")

    def _advice(self) -> str:
        lr = self.optimizer.param_groups[0]["lr"]
        return f"lower erm.optimizer.lr (now {lr:g}), or use precision fp32 or bf16 in place of fp16"


def train_epoch(
    trainer: Trainer,
    batches: Callable[[int], Generator[LabelledImages, None, None]],
    sums: EpochSums,
    *,
    steps: int,
    start_step: int,
    seed: int,
    where: str,
    before_step: Callable[[int], None],
) -> None:
    """Make the steps `start_step`, …, `steps` - 1 of an epoch.

    `batches(start_step)` yields the batch of each. `before_step(step)` may raise to stop; it finds model, optimizer and
    `sums` as they are after `step` finished steps, and is called once more after the last. `seed` is the epoch's:
    dropout at each step draws from it and the step.

    Raises `TrainingDiverged`, `OutOfGpuMemory`, and `ConfigError` if the model was to be compiled and cannot be.
    """
    trainer.model.train()
    if trainer.device.type == "cpu":
        reuse_freed_memory()
    stream = () if trainer.world.leads else (trainer.world.rank,)  # other images, so other dropout
    if start_step < steps:
        with closing(batches(start_step)) as source, gpu_memory("training"), compilation():
            for step, batch in enumerate(source, start_step):
                before_step(step)
                seed_generators(trainer.device, derive_seed(seed, "step", step, *stream))
                trainer.step(batch, sums)
                if trainer.device.type == "cpu" or step % _CHECK_EVERY == 0 or step == steps - 1:
                    trainer.require_finite_loss(sums, f"at step {step + 1} of {steps} of {where}")
    before_step(steps)
    trainer.require_finite_weights(f"after {where}")


@contextmanager
def compilation() -> Iterator[None]:
    """Turn the failure of `torch.compile`, which shows at the first step, into `ConfigError`."""
    try:
        yield
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException  # a second to import, and needed only here

        if not isinstance(error, TorchDynamoException):
            raise
        reason = " ".join(str(error).split("\n")[:2])
        raise ConfigError(f"runtime.compile: the model cannot be compiled here ({reason}): set it to false") from error


@contextmanager
def gpu_memory(activity: Activity) -> Iterator[None]:
    """Turn an out-of-memory error inside the block into `OutOfGpuMemory`, with the way out of this activity."""
    try:
        yield
    except RuntimeError as error:
        if not ran_out_of_gpu_memory(error):
            raise
        way_out = (
            "set runtime.micro_batch, or lower erm.batch_size" if activity == "training" else "lower masking.batch_size"
        )
        first_line = str(error).partition("\n")[0]
        raise OutOfGpuMemory(
            f"the GPU could not hold a batch while {activity}: {way_out} ({first_line})", activity
        ) from error
