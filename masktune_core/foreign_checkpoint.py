"""Checkpoints from elsewhere: read without ever running what is in them, and matched strictly.

Accepted are safetensors, and files of `torch.save` that hold a state dict, bare or wrapped as training scripts and
Lightning do. Pickles are read by torch's restricted unpickler (`weights_only=True`) or not at all.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from masktune_core.errors import CheckpointError
from masktune_core.intake.names import printable
from masktune_core.models.registry import build_model

_WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net", "network")
_SHOWN: Final = 5


def read_foreign_checkpoint(
    path: Path, *, architecture: str, num_classes: int, name: str | None = None
) -> dict[str, Tensor]:
    """State of `architecture` with `num_classes` classes from a file of unknown origin, ready for `load_state_dict`.

    `name` stands for the file in messages, where it is not to be `path`'s own.

    Undone on the way: a wrapping mapping (`state_dict`, `model_state_dict`, `model`, `net`, `network`), and prefixes
    that all keys share (`module.`, `model.`, `_orig_mod.`). Floating-point types are converted to the architecture's.
    Raises `CheckpointError` if the file is neither format, wants to run code, does not match the architecture key by
    key and shape by shape (the error carries the keys), or holds values that are not finite; `ArchitectureError` for an
    unknown architecture; `MemoryError` where the machine has too little memory for such a file.
    """
    name = name or path.name
    content = _load_safetensors(path, name) if _is_safetensors(path) else _load_torch(path, name)
    state = _unwrapped(content, name)
    try:
        return fit_state(state, architecture=architecture, num_classes=num_classes, name=name)
    except RuntimeError:
        _require_memory(path)
        raise


def fit_state(state: Mapping[str, Tensor], *, architecture: str, num_classes: int, name: str) -> dict[str, Tensor]:
    """`state` in the architecture's names, types and memory layout; `name` of the file is for messages.

    Raises `CheckpointError` with every missing, unexpected and misshapen key.
    """
    with torch.device("meta"):  # names and shapes, no memory, no random numbers
        expected = build_model(architecture, num_classes).state_dict()
    state = _without_shared_prefix(state, expected)
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    if missing or unexpected or misshapen:
        shapes = [
            f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}" for key in misshapen[:_SHOWN]
        ]
        findings = [
            _listed("missing", missing, len(missing)),
            _listed("unexpected", unexpected, len(unexpected)),
            _listed("of another shape", shapes, len(misshapen)),
        ]
        raise CheckpointError(
            f"{name} does not fit {architecture} with {num_classes} classes: {'; '.join(filter(None, findings))}",
            missing=missing,
            unexpected=unexpected,
            misshapen=misshapen,
        )
    return {key: _plain(key, state[key], expected[key].dtype, name) for key in expected}


def _listed(what: str, keys: Sequence[str], count: int) -> str:
    more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
    return f"{count} {what} ({_some(keys)}{more})" if count else ""


def _some(keys: Sequence[str]) -> str:
    return ", ".join(map(printable, keys[:_SHOWN]))


def _without_shared_prefix(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    while state:
        prefix, dot, _ = next(iter(state)).partition(".")
        prefix += dot
        if not dot or not all(key.startswith(prefix) and key != prefix for key in state):
            break
        if any(key.startswith(prefix) for key in expected):
            break
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _plain(key: str, tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
        raise CheckpointError(f"{key} in {name} is not a plain tensor: save dense, unquantised weights")
    if tensor.is_floating_point() != dtype.is_floating_point:
        raise CheckpointError(f"{key} in {name} has type {tensor.dtype}, {dtype} is needed", misshapen=[key])
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise CheckpointError(f"{key} in {name} holds values that are not finite: the training that made it diverged")
    return tensor.detach().to(dtype=dtype, copy=True).contiguous()


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size


def _load_safetensors(path: Path, name: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{name} is a damaged safetensors file: {printable(str(error))}") from error


def _load_torch(path: Path, name: str) -> Any:
    if zipfile.is_zipfile(path):
        _refuse_inflating(path, name)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # arbitrary bytes: the unpickler and the tensor rebuilders raise every kind
        if isinstance(error, MemoryError | RuntimeError):
            _require_memory(path)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{name} is neither safetensors nor a PyTorch state dict that can be read without running code "
            f"({printable(reason[0])}): save model.state_dict(), best as safetensors"
        ) from error


def _refuse_inflating(path: Path, name: str) -> None:
    """torch.save stores tensors uncompressed; a compressed entry would only serve to fill the memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CheckpointError(f"{name} is a damaged PyTorch file: {printable(str(error))}") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(f"{name} is a compressed zip, which torch.save never writes: save it anew")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise CheckpointError(f"{name} claims more content than it has bytes: save the state dict anew")


def _require_memory(path: Path) -> None:
    """Raises `MemoryError` if what an honest file of that size needs is not there: its tensors, once more for a copy.

    torch raises `RuntimeError` where it finds no memory, and a file that lies about what it holds provokes both.
    """
    wanted = 2 * path.stat().st_size
    try:
        torch.empty(wanted, dtype=torch.uint8)
    except (MemoryError, RuntimeError) as error:
        raise MemoryError(f"{wanted:,} bytes of memory are not there") from error


def _unwrapped(content: Any, name: str) -> dict[str, Tensor]:
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{name} holds {type(content).__name__}, not a state dict: save model.state_dict()")
    strangers = [
        str(key) for key, value in content.items() if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if strangers:
        raise CheckpointError(
            f"{name} holds entries that are not tensors ({_some(strangers)}): save model.state_dict()",
            unexpected=strangers,
        )
    return dict(content)
