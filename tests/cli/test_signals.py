"""Stopping signals, and processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import cli.bound
from cli.guard import Guard
from cli.service_process import ServiceProcess, tail
from cli.signals import StopRequested, StopSignals

_PATIENCE_SECONDS = 15.0


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_stopping_signal_is_one_exception_with_the_shells_exit_code(number: signal.Signals) -> None:
    with pytest.raises(StopRequested) as caught, StopSignals():
        signal.raise_signal(number)
    assert caught.value.exit_code == 128 + number


def test_a_shielded_step_is_finished_before_the_signal_counts() -> None:
    steps = []

    def work(signals: StopSignals) -> None:
        with signals.shielded():
            signal.raise_signal(signal.SIGINT)
            steps.append("shielded")
        steps.append("after")

    with StopSignals() as signals, pytest.raises(StopRequested):
        work(signals)
    assert steps == ["shielded"]


def test_impatient_repeats_do_not_interrupt_the_clean_up() -> None:
    steps = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            steps.append("cleaned")

    with StopSignals(), pytest.raises(StopRequested):
        work()
    assert steps == ["cleaned"]


def test_a_bound_process_ends_when_its_parent_is_killed() -> None:
    program = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, {cli.bound.__file__!r}, str(os.getpid()),"
        " sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)'], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.kill()
        wait_until_gone(child)


def test_a_bound_process_does_not_start_for_a_parent_that_is_dead_already() -> None:
    nobody = os.getpid() + 1
    done = subprocess.run(
        [sys.executable, cli.bound.__file__, str(nobody), "echo", "started"], capture_output=True, check=False
    )
    assert (done.stdout, done.returncode) == (b"", 128 + signal.SIGTERM)


def test_a_service_that_does_not_stop_is_killed_with_its_children(tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    service = ServiceProcess("stubborn", ["-c", program], os.environ, tmp_path, tmp_path / "stubborn.log")
    service.start()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not tail(service.log).strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    service.terminate()
    service.wait(0.2)
    assert service.exit_code == -signal.SIGKILL
    wait_until_gone(int(tail(service.log)))


def test_a_dismissed_guard_goes_away(tmp_path: Path) -> None:
    guard = Guard(tmp_path, 1.0)
    guard.watch(os.getpid())
    guard.dismiss()
    assert gone(guard.pid)
