"""What a result was made from: the settings that decide it, versions, device and hashes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from masktune_core.config import JobConfig, LimitsConfig, MaskingConfig, RuntimeConfig

_PACKAGES: Final = ("masktune-service", "numpy", "pillow", "safetensors", "timm", "torch", "torchvision")
_INDIFFERENT: Final = ("loader_workers", "cache_mib", "resume_minutes")  # of `runtime`: how fast, never what


def deciding_config(config: JobConfig) -> JobConfig:
    """`config` with every field that cannot change a result put back to its default.

    It goes into checkpoints, whose bytes must not depend on the number of decoding threads.
    """
    defaults = RuntimeConfig()
    runtime = config.runtime.model_copy(update={name: getattr(defaults, name) for name in _INDIFFERENT})
    return config.model_copy(update={"runtime": runtime, "limits": LimitsConfig()})


def config_sha256(config: JobConfig) -> str:
    """Hash of what decides a run: equal for two configurations that resume each other.

    Leaves out the device, and how many images are on it at a time: a run that needs less memory may go on from one
    that needed more.
    """
    config = deciding_config(config)
    runtime = config.runtime.model_copy(update={"device": "auto", "micro_batch": None})
    masking = config.masking.model_copy(update={"batch_size": MaskingConfig().batch_size})
    config = config.model_copy(update={"preset": None, "runtime": runtime, "masking": masking})
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of names, types, shapes and values of a state dict, whatever its order and device."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Versions and device, as plain JSON values."""
    versions = {name: version for name in _PACKAGES if (version := _version(name)) is not None}
    described: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "device_type": device.type,
        "device_name": platform.processor() or platform.machine(),
        "cpu_threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        described["device_name"] = torch.cuda.get_device_name(device)
        described["cuda"] = torch.version.cuda
        described["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    return described


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
