"""A capped file reads like any other, but for what is too much at once."""

from __future__ import annotations

import io
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktune_core.intake import capped_file
from masktune_core.intake.capped_file import CappedFile, OversizeReadError

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 50)),
        st.tuples(st.sampled_from(["set", "cur", "end"]), st.integers(-60, 60)),
    ),
    max_size=30,
)
WHENCE = {"set": io.SEEK_SET, "cur": io.SEEK_CUR, "end": io.SEEK_END}


@given(st.binary(max_size=200), MOVES)
def test_it_reads_like_any_file(content: bytes, moves: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(capped_file, "_AHEAD", 16)
        file.write(content)
        file.flush()
        ours, theirs = CappedFile(file, 1000), io.BytesIO(content)
        for step, value in moves:
            if step == "read":
                assert ours.read(value) == theirs.read(value)
            else:
                whence = WHENCE[step]
                start = {io.SEEK_SET: 0, io.SEEK_CUR: theirs.tell(), io.SEEK_END: len(content)}[whence]
                if start + value < 0:
                    with pytest.raises(OSError, match="nothing before"):
                        ours.seek(value, whence)
                else:
                    assert ours.seek(value, whence) == theirs.seek(value, whence)
            assert ours.tell() == theirs.tell()


def test_more_than_the_cap_at_once_is_refused_and_as_much_piece_by_piece_is_not() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 30)
        file.flush()
        capped = CappedFile(file, 20)
        with pytest.raises(OversizeReadError, match="30 bytes; the limit is 20"):
            capped.read()
        assert capped.read(20) + capped.read(20) == b"x" * 30
