"""The whole method, from a data set to a finetuned checkpoint: ERM, then rounds of masking and finetuning."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch
from torch import Tensor, nn

from masktune_core.callbacks import Callbacks, Following
from masktune_core.config import JobConfig
from masktune_core.crew import Crew, member, suits_crew
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Loader
from masktune_core.distributed import process_group
from masktune_core.errors import CheckpointError, ConfigError
from masktune_core.manifest import config_sha256, state_sha256
from masktune_core.mask_store import MaskStore
from masktune_core.models import build_model, cam_layer
from masktune_core.optimizers import learning_rate, make_optimizer
from masktune_core.pipeline.erm import keep_erm, train_erm
from masktune_core.pipeline.finetune import finetune
from masktune_core.pipeline.judging import judge
from masktune_core.pipeline.mask_training import mask_training_images
from masktune_core.pipeline.result import Result, finish
from masktune_core.pipeline.session import Session
from masktune_core.pipeline.state import RunState
from masktune_core.precision import full_precision
from masktune_core.randomness import cpu_threads, derive_seed, deterministic, isolated, seed_generators
from masktune_core.resume import RunIdentity, read_resume_point
from masktune_core.saliency import cam_grid
from masktune_core.shared_batch_norm import share_batch_norm, synchronise_batch_norm
from masktune_core.training import Trainer, memory_format, resolve_device


def run(
    config: JobConfig,
    dataset: Dataset,
    *,
    work_dir: Path | None = None,
    callbacks: Callbacks | None = None,
    resume: Path | None = None,
    initial_state: Mapping[str, Tensor] | None = None,
) -> Result:
    """Run a MaskTune job on `dataset` (arXiv 2210.00055, section 3).

    `work_dir` takes masks, resume points (`resume/`) and the final files (`out/`); by default it is a new folder among
    the system's temporary files, which stays, as `Result.artifacts` lie in it. `resume` goes on from a resume point
    of the same configuration and data set, wherever it lies. `initial_state` is the state dict of a trained model of
    the configured architecture: ERM is then skipped, and finetuning runs with a fresh optimizer at the rate that the
    configured schedule ends with.

    The same configuration, data and device type give the same checkpoint, to the bit, interrupted or not. torch's
    global generators and settings are put back.

    Raises `ConfigError`, `ArchitectureError`, `CheckpointError` for input that does not fit; `ResumeError` for a resume
    point of another run or a damaged one; `TrainingDiverged`, `OutOfGpuMemory`; `Interrupted` when the caller asks to
    stop.

    Every process that `torchrun` started calls this alike; see `masktune_core.distributed`. `work_dir` is then that of
    process 0, which alone writes and reports; in the others the result has no `artifacts`.
    """
    identity = RunIdentity(
        config_sha256=config_sha256(config),
        dataset_sha256=dataset.sha256,
        initial_sha256=None if initial_state is None else state_sha256(initial_state),
    )
    with ExitStack() as stack:
        world = stack.enter_context(process_group())
        device = resolve_device(config.runtime)
        callbacks = callbacks or Callbacks()
        if not world.leads:
            work_dir = Path(stack.enter_context(TemporaryDirectory(prefix="masktune-", ignore_cleanup_errors=True)))
            callbacks = Following(callbacks)
        elif work_dir is None:
            work_dir = Path(mkdtemp(prefix="masktune-"))
        work_dir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(isolated(device))
        stack.enter_context(deterministic(device))
        stack.enter_context(full_precision())
        stack.enter_context(cpu_threads(config.model.architecture, device))
        if config.data.group_by is not None:
            dataset = stack.enter_context(Dataset.open(dataset.path, group_by=config.data.group_by))
        runtime = config.runtime
        loader = stack.enter_context(
            Loader(
                dataset,
                config.input,
                device=device,
                workers=runtime.loader_workers,
                cache_mib=runtime.cache_mib,
                world=world,
            )
        )
        crew = stack.enter_context(Crew()) if suits_crew(config, device, world) else None
        session = _prepare(config, dataset, loader, device, crew, identity, callbacks, work_dir, initial_state, resume)
        stack.callback(session.close)
        result = _finish_stages(session)
        return result if world.leads else replace(result, artifacts={})


def _finish_stages(session: Session) -> Result:
    """Every stage stands somewhere, goes on from there, and leaves the session at the beginning of the next."""
    state = session.state
    if state.stage == "training_erm":
        train_erm(session)
    while state.stage != "evaluating":
        if state.stage == "masking":
            mask_training_images(session)
        finetune(session)
    found = judge(session)
    session.settle()
    return finish(session, found)


def _prepare(
    config: JobConfig,
    dataset: Dataset,
    loader: Loader,
    device: torch.device,
    crew: Crew | None,
    identity: RunIdentity,
    callbacks: Callbacks,
    work_dir: Path,
    initial_state: Mapping[str, Tensor] | None,
    resume: Path | None,
) -> Session:
    _require_usable(config, dataset, initial_state is not None)
    seed_generators(device, derive_seed(config.seed, "weights"))
    pretrained = config.model.pretrained and initial_state is None and resume is None
    model = build_model(config.model.architecture, len(dataset.classes), pretrained)
    layer = cam_layer(model, config.model.cam_layer)
    if config.masking.strategy != "none":
        cam_grid(model, config.input.size, layer=layer)  # what does not fit shows now, not after hours of training
    model.to(device)
    if loader.world.size > 1:
        model = synchronise_batch_norm(model, device, loader.world)
    if crew is not None:
        model = share_batch_norm(model, member)
    model.to(memory_format=memory_format(config.runtime, model))  # type: ignore[call-overload]  # not in torch's stubs
    optimizer = make_optimizer(model.parameters(), config.erm.optimizer)
    trainer = Trainer(model, optimizer, config, device, loader.world, crew)
    session = Session(
        config=config,
        dataset=dataset,
        loader=loader,
        device=device,
        model=model,
        trainer=trainer,
        state=RunState(device_type=device.type, processes=loader.world.size),
        identity=identity,
        callbacks=callbacks,
        work_dir=work_dir,
    )
    session.enter("preparing", 0)
    if resume is not None:
        _restore(session, read_resume_point(resume, identity=identity, masks=session.masks_path))
        return session
    _warn_of_splits(session)
    if initial_state is None:
        session.leave("training_erm", 0)
        return session
    _load_initial(model, initial_state)
    erm = config.erm
    session.state.erm_lr = learning_rate(erm.schedule, erm.optimizer.lr, erm.epochs - 1, erm.epochs)
    keep_erm(session)
    return session


def _restore(session: Session, plain: dict[str, Any]) -> None:
    state = session.state = RunState.from_plain(plain["run"])
    size, splits = session.config.masking.batch_size, session.dataset.splits
    if state.pass_batch != size:
        if state.stage == "masking":
            state.go_on_in_batches_of(size, [len(session.train)])
        elif state.stage == "evaluating":
            state.go_on_in_batches_of(size, [len(indices) for indices in splits.values()])
    session.model.load_state_dict(plain["model"])
    session.trainer.optimizer.load_state_dict(plain["optimizer"])
    if plain["scaler"]:
        session.trainer.scaler.load_state_dict(plain["scaler"])
    if session.masks_path.exists() and state.stage not in {"preparing", "training_erm"}:
        session.masks = MaskStore.open(session.masks_path)
    if state.device_type != session.device.type:
        session.warn(
            "resumed_on_other_device",
            f"begun on {state.device_type}, resumed on {session.device.type}: the result is as good, but its "
            "bits differ from those of a run on one device type",
        )
    if state.processes != session.world.size:
        session.warn(
            "resumed_on_other_processes",
            f"begun with {state.processes} processes, resumed with {session.world.size}: the result is as good, but "
            "its bits differ from those of an undisturbed run",
        )


def _load_initial(model: nn.Module, initial_state: Mapping[str, Tensor]) -> None:
    expected = model.state_dict()
    missing = sorted(expected.keys() - initial_state.keys())
    unexpected = sorted(initial_state.keys() - expected.keys())
    misshapen = sorted(
        name for name in expected.keys() & initial_state.keys() if expected[name].shape != initial_state[name].shape
    )
    if missing or unexpected or misshapen:
        raise CheckpointError(
            f"the starting checkpoint does not fit: {len(missing)} keys missing, {len(unexpected)} unexpected, "
            f"{len(misshapen)} of another shape; first: {(missing + unexpected + misshapen)[0]}",
            missing=missing,
            unexpected=unexpected,
            misshapen=misshapen,
        )
    model.load_state_dict(dict(initial_state))


def _require_usable(config: JobConfig, dataset: Dataset, skips_erm: bool) -> None:
    if len(dataset.splits.get("train", ())) < 2:
        raise ConfigError("the data set has fewer than 2 images in its train split: there is nothing to train on")
    if skips_erm or config.erm.select == "last":
        return
    if "val" not in dataset.splits:
        raise ConfigError(f"erm.select is {config.erm.select}, but the data set has no val split: set it to last")
    if config.erm.select == "best_worst_group" and not (dataset.groups[dataset.splits["val"]] >= 0).any():
        raise ConfigError("erm.select is best_worst_group, but no image of the val split has a known group")


def _warn_of_splits(session: Session) -> None:
    splits = session.dataset.splits
    if "val" not in splits:
        session.warn(
            "no_validation_split",
            "the data set has no val split: there is no validation accuracy, and no thresholds for the reject option",
        )
    if not any(name == "test" or name.startswith("test:") for name in splits):
        session.warn("no_test_split", "the data set has no test split: nothing shows how the models do on new images")
