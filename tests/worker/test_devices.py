"""Which devices a worker offers."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from worker import devices
from worker.devices import Device, DeviceError, DevicePool, find_devices


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "_DRIVER_GPUS", tmp_path / "no-driver")
    monkeypatch.setenv("PATH", str(tmp_path))


def test_without_a_gpu_auto_is_one_cpu_slot() -> None:
    assert find_devices("auto", {}) == [Device("cpu", "")]


def test_every_gpu_of_the_driver_is_a_slot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "_DRIVER_GPUS", tmp_path / "gpus")
    for address in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / address).mkdir(parents=True)
    assert find_devices("auto", {}) == [Device("cuda:0", "0"), Device("cuda:1", "1")]


def test_in_a_container_nvidia_smi_is_asked(tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\n")
    smi.chmod(0o755)
    assert [device.name for device in find_devices("auto", {})] == ["cuda:0"]


def test_a_narrowed_process_counts_only_the_gpus_it_was_given() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "3,GPU-aa"}
    assert find_devices("auto", environment) == [Device("cuda:0", "3"), Device("cuda:1", "GPU-aa")]
    assert find_devices("cuda:1", environment) == [Device("cuda:1", "GPU-aa")]
    assert find_devices("auto", {"CUDA_VISIBLE_DEVICES": ""}) == [Device("cpu", "")]


def test_the_cpu_can_take_several_jobs_side_by_side() -> None:
    assert find_devices("cpu, cpu", {}) == [Device("cpu", ""), Device("cpu", "")]


@pytest.mark.parametrize("wanted", ["", " , ", "gpu", "cuda", "cuda:x", "cuda:-1", "cuda:0"])
def test_an_unknown_or_absent_device_is_refused_by_name(wanted: str) -> None:
    with pytest.raises(DeviceError, match="MASKTUNE_DEVICES"):
        find_devices(wanted, {})


def test_a_child_sees_its_device_and_no_other() -> None:
    assert Device("cuda:1", "GPU-aa").environment()["CUDA_VISIBLE_DEVICES"] == "GPU-aa"
    assert Device("cpu", "").environment()["CUDA_VISIBLE_DEVICES"] == ""


def test_a_device_is_lent_to_one_thread_at_a_time() -> None:
    pool = DevicePool([Device("cpu", "")])
    second_has_it = threading.Event()

    def second() -> None:
        with pool.lend():
            second_has_it.set()

    with pool.lend():
        thread = threading.Thread(target=second)
        thread.start()
        assert not second_has_it.wait(0.1)
    assert second_has_it.wait(5)
    thread.join()


def test_the_celery_process_never_loads_torch() -> None:
    code = "import sys, worker.app, worker.context; assert 'torch' not in sys.modules, 'torch was imported'"
    environment = {"MASKTUNE_DATABASE_URL": "postgresql+psycopg:///x", "MASKTUNE_REDIS_URL": "redis://localhost:1/0"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=Path(__file__).parents[2])
