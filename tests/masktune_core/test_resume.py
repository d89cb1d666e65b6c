"""A resume point is whole, of this run, and free of code; or it is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masktune_core import resume
from masktune_core.errors import ResumeError
from masktune_core.pipeline.state import RunState
from masktune_core.resume import RunIdentity, read_resume_point, write_resume_point

IDENTITY = RunIdentity("c" * 64, "d" * 64, None)
STATE: dict[str, Any] = {"weights": {"a": torch.arange(6.0).reshape(2, 3)}, "step": 3, "none": None, "lr": [0.1]}


def written(folder: Path, number: int = 1, masks: bytes | None = None) -> Path:
    source = folder / "source.bin"
    if masks is not None:
        source.write_bytes(masks)
    return write_resume_point(
        folder / "resume", number, identity=IDENTITY, state=STATE, masks=source if masks is not None else None
    )


def test_state_and_masks_come_back(tmp_path: Path) -> None:
    masks = bytes(range(256)) * 5000
    found = read_resume_point(written(tmp_path, masks=masks), identity=IDENTITY, masks=tmp_path / "back.bin")
    assert torch.equal(found["weights"]["a"], STATE["weights"]["a"])
    assert (found["step"], found["none"], found["lr"]) == (3, None, [0.1])
    assert (tmp_path / "back.bin").read_bytes() == masks


def test_the_file_is_a_plain_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path, masks=b"x")) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["identity.json", "state.pt", "masks"]


def test_only_the_newest_two_stay_and_nothing_half_made(tmp_path: Path) -> None:
    for number in range(1, 5):
        written(tmp_path, number)
    assert sorted(p.name for p in (tmp_path / "resume").iterdir()) == ["point-00000003.resume", "point-00000004.resume"]


def test_a_failed_write_leaves_the_older_points(tmp_path: Path) -> None:
    old = written(tmp_path)
    with pytest.raises(FileNotFoundError):
        write_resume_point(tmp_path / "resume", 2, identity=IDENTITY, state=STATE, masks=tmp_path / "gone.bin")
    assert list((tmp_path / "resume").iterdir()) == [old]
    read_resume_point(old, identity=IDENTITY, masks=tmp_path / "back.bin")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    path = written(tmp_path, masks=b"masks")
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(ResumeError, match="damaged"):
        read_resume_point(path, identity=IDENTITY, masks=tmp_path / "back.bin")


@pytest.mark.parametrize(
    ("identity", "what"),
    [
        (RunIdentity("x" * 64, "d" * 64, None), "another configuration"),
        (RunIdentity("c" * 64, "x" * 64, None), "another data set"),
        (RunIdentity("c" * 64, "d" * 64, "e" * 64), "another starting checkpoint"),
    ],
)
def test_a_point_of_another_run_is_refused_before_anything_is_read(
    tmp_path: Path, identity: RunIdentity, what: str
) -> None:
    path = written(tmp_path, masks=b"masks")
    with pytest.raises(ResumeError, match=what):
        read_resume_point(path, identity=identity, masks=tmp_path / "back.bin")
    assert not (tmp_path / "back.bin").exists()


@pytest.mark.parametrize(("format_", "readable"), [(1, True), (2, True), (3, False)])
def test_points_of_the_version_before_are_read_and_those_of_a_later_one_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: int, readable: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(resume, "FORMAT", format_)
        path = written(tmp_path)
    if readable:
        assert read_resume_point(path, identity=IDENTITY, masks=tmp_path / "back.bin")["step"] == 3
        return
    with pytest.raises(ResumeError, match="has format 3, this version reads 1 and 2"):
        read_resume_point(path, identity=IDENTITY, masks=tmp_path / "back.bin")


def test_a_state_of_the_version_before_stands_where_it_did() -> None:
    plain = RunState(stage="masking", iteration=1, step=3, pass_batch=64).to_plain()
    del plain["offset"]
    state = RunState.from_plain(plain)
    assert (state.stage, state.step, state.pass_batch, state.offset) == ("masking", 3, 64, 0)


def test_reading_runs_no_code(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "attacked",))

    path = write_resume_point(tmp_path / "resume", 1, identity=IDENTITY, state={"x": Attack()}, masks=None)
    with pytest.raises(ResumeError, match="not one of ours"):
        read_resume_point(path, identity=IDENTITY, masks=tmp_path / "back.bin")
    assert not (tmp_path / "attacked").exists()
