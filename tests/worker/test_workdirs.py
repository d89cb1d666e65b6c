"""Working folders of attempts."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from worker.workdirs import WorkDirs

JOB = uuid.UUID(int=1)


def contents(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name != ".lock"]


def test_a_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    work = WorkDirs(tmp_path)
    with work.claim(JOB, 1) as folder:
        assert folder == tmp_path / "work" / str(JOB) / "1"
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "deep" / "er").mkdir(parents=True)
    assert contents(work.root) == []


def test_it_is_gone_after_an_error_too(tmp_path: Path) -> None:
    work = WorkDirs(tmp_path)
    with pytest.raises(RuntimeError):
        with work.claim(JOB, 1):
            raise RuntimeError
    assert contents(work.root) == []


def test_a_sweep_leaves_a_folder_in_use_alone(tmp_path: Path) -> None:
    with WorkDirs(tmp_path).claim(JOB, 1) as folder:
        (folder / "file").touch()
        assert WorkDirs(tmp_path).sweep() == 0
        assert (folder / "file").exists()


def test_a_sweep_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, uuid; from pathlib import Path; from worker.workdirs import WorkDirs\n"
        "with WorkDirs(Path(sys.argv[1])).claim(uuid.UUID(int=1), 1) as folder:\n"
        "    (folder / 'file').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    work = WorkDirs(tmp_path)
    assert (work.root / str(JOB) / "1" / "file").exists()
    assert work.sweep() == 1
    assert contents(work.root) == []


def test_there_may_be_nothing_to_sweep(tmp_path: Path) -> None:
    assert WorkDirs(tmp_path).sweep() == 0
