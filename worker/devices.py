"""Which devices this worker may use, and which of them are free. Asks the driver's files, never torch."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")
_LIST_SECONDS = 10.0


class DeviceError(ValueError):
    """`MASKTUNE_DEVICES` names something that is not there or not a device."""


@dataclass(frozen=True, slots=True)
class Device:
    """A slot for one job at a time. `visible` is what the child's `CUDA_VISIBLE_DEVICES` is set to; empty: CPU."""

    name: str
    visible: str

    def environment(self) -> dict[str, str]:
        """What to add to the child's environment, so that it sees this device and no other."""
        return {"CUDA_VISIBLE_DEVICES": self.visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def find_devices(wanted: str, environment: Mapping[str, str] = os.environ) -> list[Device]:
    """The slots that `MASKTUNE_DEVICES` asks for: `auto` is every GPU, or one CPU slot where there is none.

    A comma list names slots: `cpu` (as often as jobs shall run side by side on the CPU), `cuda:<n>` counted among the
    GPUs that this process may see (`CUDA_VISIBLE_DEVICES` is respected).

    Raises `DeviceError` for an unknown or absent device.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if not names:
        raise DeviceError("MASKTUNE_DEVICES is empty: use auto, cpu, or a list such as cuda:0,cuda:1")
    if names == ["auto"]:
        gpus = _visible_gpus(environment)
        return [Device(f"cuda:{n}", gpu) for n, gpu in enumerate(gpus)] or [Device("cpu", "")]
    return [_named(name, environment) for name in names]


def _named(name: str, environment: Mapping[str, str]) -> Device:
    if name == "cpu":
        return Device("cpu", "")
    kind, _, number = name.partition(":")
    if kind != "cuda" or not number.isdecimal():
        raise DeviceError(f"MASKTUNE_DEVICES: {name!r} is not a device: use auto, cpu or cuda:<n>")
    gpus = _visible_gpus(environment)
    if int(number) >= len(gpus):
        raise DeviceError(f"MASKTUNE_DEVICES: {name} is not there, this machine shows {len(gpus)} GPU(s)")
    return Device(name, gpus[int(number)])


def _visible_gpus(environment: Mapping[str, str]) -> list[str]:
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1")]
    if _DRIVER_GPUS.is_dir():
        return [str(n) for n, _ in enumerate(_DRIVER_GPUS.iterdir())]
    # Containers may hide /proc/driver; nvidia-smi is mounted into them by the container toolkit.
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return []
    try:
        listed = subprocess.run([smi, "-L"], capture_output=True, text=True, timeout=_LIST_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    gpus = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(n) for n, _ in enumerate(gpus)] if listed.returncode == 0 else []


class DevicePool:
    """Lends each device to one task thread at a time."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.devices = tuple(devices)
        self._free: queue.SimpleQueue[Device] = queue.SimpleQueue()
        for device in self.devices:
            self._free.put(device)

    @contextmanager
    def lend(self) -> Iterator[Device]:
        """Wait for a free device and hold it. With one task thread per device there is always one."""
        device = self._free.get()
        try:
            yield device
        finally:
            self._free.put(device)
