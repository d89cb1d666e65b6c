"""One epoch of a training stage, with its validation and its numbers."""

from __future__ import annotations

import math
from collections.abc import Generator

from masktune_core.callbacks import EpochRecord, Metric
from masktune_core.data.loader import Batch
from masktune_core.evaluation import SplitEvaluation, evaluate_split
from masktune_core.optimizers import set_learning_rate
from masktune_core.pipeline.session import Session
from masktune_core.randomness import derive_seed
from masktune_core.training import train_epoch


def run_epoch(session: Session, *, epochs: int, lr: float) -> SplitEvaluation | None:
    """Train the epoch that the session stands in, from the step where it stands; returns the model's validation.

    In finetuning the images are masked. The session then stands at the beginning of the next epoch.
    """
    config, state, train = session.config, session.state, session.train
    masks = session.masks if state.stage == "finetuning" else None
    steps = math.ceil(len(train) / config.erm.batch_size)
    start_step, epoch = state.step, state.epoch + 1
    seed = derive_seed(config.seed, state.stage, state.iteration)
    set_learning_rate(session.trainer.optimizer, lr)
    sums = session.begin_epoch()
    start_images = sums.images

    def batches(start: int) -> Generator[Batch, None, None]:
        yield from session.loader.train_epoch(
            train,
            seed=seed,
            epoch=epoch,
            batch_size=config.erm.batch_size,
            masks=masks,
            fill=config.masking.fill,
            start_step=start,
        )

    def before_step(step: int) -> None:
        session.poll(step)
        if step > start_step:
            session.progress(step=step, steps=steps, epochs=epochs, images=sums.images - start_images)

    name = "ERM" if state.stage == "training_erm" else f"finetuning round {state.iteration}"
    train_epoch(
        session.trainer,
        batches,
        sums,
        steps=steps,
        start_step=start_step,
        seed=derive_seed(seed, "epoch", epoch),
        where=f"{name}, epoch {epoch}",
        before_step=before_step,
    )
    validation = validate(session, steps)
    loss, accuracy = sums.means()
    record = EpochRecord(
        stage=state.stage,
        iteration=state.iteration,
        epoch=epoch,
        epochs=epochs,
        loss=loss,
        accuracy=accuracy,
        val_accuracy=validation.accuracy if validation else None,
        lr=lr,
        seconds=session.epoch_seconds(),
    )
    session.record(_metrics(record, sums.images, validation))
    session.callbacks.on_epoch(record)
    state.epoch += 1
    state.begin_epoch()
    session.sums = None
    return validation


def validate(session: Session, steps: int) -> SplitEvaluation | None:
    """The current model on the validation split, None without one. Interruptible: the epoch's steps stay done."""
    if "val" not in session.dataset.splits:
        return None
    return evaluate_split(
        session.model,
        session.loader,
        session.dataset,
        "val",
        batch_size=session.config.masking.batch_size,
        before_batch=lambda: session.poll(steps),
        confusion=False,  # of no use for choosing an epoch
    )


def _metrics(record: EpochRecord, images: int, validation: SplitEvaluation | None) -> list[Metric]:
    def row(split: str, name: str, value: float | None, count: int | None) -> Metric:
        return Metric(record.stage, record.iteration, record.epoch, split, None, name, value, count)

    rows = [
        row("train", "loss", record.loss, images),
        row("train", "accuracy", record.accuracy, images),
        row("train", "lr", record.lr, None),
    ]
    if validation is not None:
        rows.append(row("val", "accuracy", validation.accuracy, validation.count))
        rows.append(row("val", "worst_class_accuracy", validation.worst_class_accuracy, validation.count))
        if validation.groups:
            rows.append(row("val", "worst_group_accuracy", validation.worst_group_accuracy, validation.count))
    return rows
