"""A file in memory and on disk at once reads as one that was on disk all the time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masktune_core.data import tail_buffer
from masktune_core.data.tail_buffer import TailBuffer

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.binary(max_size=40)),
        st.tuples(st.just("back"), st.integers(0, 60)),
        st.tuples(st.just("end"), st.none()),
        st.tuples(st.just("settle"), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(STEPS)
def test_it_is_written_like_any_file(steps: list[tuple[str, bytes | int | None]]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail_buffer, "_MOST", 30)
        path, end = Path(name) / "ours", 0
        ours, theirs = TailBuffer(path), (Path(name) / "theirs").open("w+b")
        for step, value in steps:
            if step == "write":
                assert ours.write(value) == theirs.write(value)  # type: ignore[arg-type]
            elif step == "settle":
                ours.settle()
            else:
                place = end if step == "end" else max(0, theirs.tell() - int(value))  # type: ignore[arg-type]
                assert ours.seek(place) == theirs.seek(place)
            end = max(end, theirs.tell())
            assert ours.tell() == theirs.tell()
        ours.close()
        theirs.close()
        assert path.read_bytes() == (Path(name) / "theirs").read_bytes()


def test_other_places_are_refused(tmp_path: Path) -> None:
    file = TailBuffer(tmp_path / "file")
    with pytest.raises(ValueError, match="from the beginning"):
        file.seek(0, 2)
    file.close()
    file.close()
