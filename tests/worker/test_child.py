"""Child processes: told what to do, watched, and never left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from worker.child import Child
from worker.outcome import Exit

SLEEP = "from worker import lifeline; lifeline.receive(); print('ready', flush=True); import time; time.sleep(60)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_a_child_gets_its_specification_and_its_output_is_kept() -> None:
    code = "from worker import lifeline; print('got', lifeline.receive()['answer']); print('last')"
    output = io.StringIO()
    child = Child(python(code), {"answer": 42}, output=output)
    assert child.wait(20) == 0
    child.close()
    assert child.log == ("got 42", "last")
    assert output.getvalue() == "got 42\nlast\n"


def test_only_the_end_of_a_long_output_is_kept() -> None:
    child = Child(python("for n in range(5000): print(n, 'x' * 5000)"), {}, output=io.StringIO())
    assert child.wait(20) == 0
    child.close()
    assert len(child.log) == 50
    assert child.log[-1].startswith("4999 xxx")
    assert len(child.log[-1]) == 2000


def test_a_child_that_ends_before_it_is_told_anything_shows_its_exit_code() -> None:
    child = Child(["/bin/sh", "-c", "exit 3"], {"much": "x" * 1_000_000}, output=io.StringIO())
    assert child.wait(5) == 3
    child.close()


def test_a_child_sees_what_is_added_to_its_environment() -> None:
    child = Child(
        python("import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['HOME'])"),
        {},
        environment={"CUDA_VISIBLE_DEVICES": "3"},
        output=io.StringIO(),
    )
    assert child.wait(10) == 0
    child.close()
    assert child.log == (f"3 {os.environ['HOME']}",)


def test_threads_of_a_child_sleep_while_they_wait_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        if wanted is None:
            monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        else:
            monkeypatch.setenv("OMP_WAIT_POLICY", wanted)
        child = Child(python("import os; print(os.environ['OMP_WAIT_POLICY'])"), {}, output=io.StringIO())
        assert child.wait(10) == 0
        child.close()
        assert child.log == (expected,)


def test_closing_ends_the_child_and_everything_it_started() -> None:
    child = Child(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], {}, output=io.StringIO())
    while not child.log:
        time.sleep(0.01)
    assert child.close() == -signal.SIGKILL
    assert wait_gone(int(child.log[0]))


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from worker.child import Child\n"
        f"child = Child([sys.executable, '-c', {SLEEP!r}], {{}})\n"
        "while not child.log: time.sleep(0.01)\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_gone(pid)


@pytest.mark.parametrize("line", [b"{}\n", b"", b"{half"])
def test_the_end_of_its_input_tells_a_child_that_its_parent_is_gone(line: bytes) -> None:
    process = subprocess.Popen(python(SLEEP), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.close()
    assert process.wait(10) == Exit.ORPHANED
