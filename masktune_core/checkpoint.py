"""Checkpoints written by this project: safetensors, with everything needed to use them in the file's metadata."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from masktune_core.config import JobConfig
from masktune_core.errors import CheckpointError
from masktune_core.foreign_checkpoint import fit_state, read_foreign_checkpoint
from masktune_core.models.registry import build_model

__all__ = [
    "LoadedCheckpoint",
    "Role",
    "load_checkpoint",
    "read_foreign_checkpoint",
    "restore_model",
    "save_checkpoint",
    "stated_classes",
]

Role = Literal["erm", "masktune"]

_KEY: Final = "masktune"  # one key only: safetensors writes several in an order that differs from process to process
_FORMAT: Final = 1
_LONGEST_CLASS: Final = 80  # characters, as in a data set


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """`state`: parameters and buffers by name, on the CPU. `config` is None if another version wrote it in a shape that
    this one cannot read; the weights are usable all the same."""

    state: dict[str, Tensor]
    architecture: str
    classes: tuple[str, ...]
    config: JobConfig | None
    dataset_sha256: str
    role: Role


def save_checkpoint(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    config: JobConfig,
    classes: Sequence[str],
    dataset_sha256: str,
    role: Role,
) -> None:
    """Write `state` (a model's `state_dict()`) to `path`, atomically; equal arguments give equal bytes.

    Metadata key `masktune` holds JSON: format, architecture, classes, normalisation (size in px, mean, std), the whole
    config, the data set's SHA-256, and the role.
    """
    described = {
        "format": _FORMAT,
        "architecture": config.model.architecture,
        "classes": list(classes),
        "normalisation": {"size": config.input.size, "mean": config.input.mean, "std": config.input.std},
        "config": config.model_dump(mode="json"),
        "dataset_sha256": dataset_sha256,
        "role": role,
    }
    metadata = {_KEY: json.dumps(described, sort_keys=True, ensure_ascii=False, separators=(",", ":"))}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        staged = Path(folder) / path.name
        save_file(tensors, staged, metadata=metadata)
        descriptor = os.open(staged, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        staged.replace(path)


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Read a file that `save_checkpoint` wrote.

    Raises `CheckpointError` if it is no safetensors file, or lacks this project's metadata; `OSError` if it cannot be
    opened. Checkpoints from elsewhere: `read_foreign_checkpoint`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = _described(path, (file.metadata() or {}).get(_KEY))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no mapping
    except SafetensorError as error:
        raise CheckpointError(f"{path.name} is not a safetensors file, or is damaged: {error}") from error
    try:
        config = JobConfig.model_validate(described.get("config"))
    except ValidationError:
        config = None
    return LoadedCheckpoint(
        state=state,
        architecture=described["architecture"],
        classes=tuple(described["classes"]),
        config=config,
        dataset_sha256=described["dataset_sha256"],
        role=described["role"],
    )


def stated_classes(path: Path) -> tuple[str, ...] | None:
    """The classes that a file of unknown origin states in the metadata that `save_checkpoint` writes, in the order of
    the outputs; None if it states none, or none that could be a data set's."""
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {}).get(_KEY, "null"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None
    classes = described.get("classes") if isinstance(described, dict) else None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        return None
    fit = all(0 < len(name) <= _LONGEST_CLASS and name.isprintable() for name in classes)
    return tuple(classes) if fit and len(set(classes)) == len(classes) else None


def restore_model(path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """The network of a file that `save_checkpoint` wrote, in evaluation mode on `device`.

    Raises `CheckpointError` as `load_checkpoint` does, or if the weights do not fit the architecture named beside them.
    """
    loaded = load_checkpoint(path)
    state = fit_state(loaded.state, architecture=loaded.architecture, num_classes=len(loaded.classes), name=path.name)
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten: leave no trace in the generator
        model = build_model(loaded.architecture, len(loaded.classes))
    model.load_state_dict(state, strict=True)
    return model.to(device).eval()


def _described(path: Path, text: str | None) -> dict[str, Any]:
    if text is None:
        raise CheckpointError(
            f"{path.name} does not say which architecture and classes it is for (no {_KEY!r} in its metadata): it was "
            "not written by this service; upload it as a checkpoint and name its architecture"
        )
    try:
        described = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path.name} has unreadable {_KEY!r} metadata: {error}") from error
    if not (
        isinstance(described, dict)
        and isinstance(described.get("architecture"), str)
        and isinstance(described.get("classes"), list)
        and isinstance(described.get("dataset_sha256"), str)
        and described.get("role") in get_args(Role)
    ):
        raise CheckpointError(f"{path.name} has incomplete {_KEY!r} metadata: architecture, classes, data set or role")
    return described
