"""A run that goes on with smaller batches, because memory ran out, goes on where it stood: nothing is made twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktune_core.config import Stage
from masktune_core.data.dataset import Dataset
from masktune_core.errors import Interrupted
from masktune_core.mask_store import MaskStore
from masktune_core.pipeline import run
from masktune_core.pipeline.state import images_seen
from tests.masktune_core.recorder import Recorder, joined
from tests.masktune_core.small_runs import configured

ROUNDS: dict[str, Any] = {"masking": {"batch_size": 64, "iterations": 2, "cumulative": True}}


class StopIn(Recorder):
    """Says stop after so many steps of one stage."""

    def __init__(self, stage: Stage, iteration: int, steps: int) -> None:
        super().__init__()
        self._place, self._left = (stage, iteration), steps

    def should_stop(self) -> bool:
        if self.stages[-1] == self._place:
            self._left -= 1
        return self._left < 0


@pytest.fixture(scope="module")
def undisturbed(small_biased: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorder, Path]:
    recorder, folder = Recorder(), tmp_path_factory.mktemp("undisturbed")
    run(configured(ROUNDS), small_biased, work_dir=folder, callbacks=recorder)
    return recorder, folder


@pytest.mark.parametrize("size", [32, 25], ids=["half", "no divisor"])
@pytest.mark.parametrize(
    ("stage", "iteration"), [("masking", 1), ("masking", 2), ("evaluating", 0)], ids=["masking", "again", "evaluating"]
)
def test_it_goes_on_with_the_next_image(
    undisturbed: tuple[Recorder, Path],
    small_biased: Dataset,
    tmp_path: Path,
    stage: Stage,
    iteration: int,
    size: int,
) -> None:
    stopped = StopIn(stage, iteration, 1)
    with pytest.raises(Interrupted):
        run(configured(ROUNDS), small_biased, work_dir=tmp_path / "a", callbacks=stopped)
    assert (stopped.points[-1].stage, stopped.points[-1].step) == (stage, 1)
    smaller = configured({"masking": {**ROUNDS["masking"], "batch_size": size}})
    # Again, so that what was counted anew has to be read back as well.
    between = StopIn(stage, iteration, 2)
    with pytest.raises(Interrupted):
        run(smaller, small_biased, work_dir=tmp_path / "b", callbacks=between, resume=stopped.points[-1].path)
    resumed = Recorder()
    run(smaller, small_biased, work_dir=tmp_path / "c", callbacks=resumed, resume=between.points[-1].path)

    expected, folder = undisturbed
    together = [*stopped.samples, *between.samples, *resumed.samples]
    indices = joined(together, "index")
    assert indices.tolist() == joined(expected.samples, "index").tolist(), "every image once, in order"
    found, wanted = (joined(each, "masked_fraction").astype(float) for each in (together, expected.samples))
    np.testing.assert_allclose(found, wanted, atol=0.02)
    with MaskStore.open(tmp_path / "c" / "masks.bin") as made, MaskStore.open(folder / "masks.bin") as whole:
        same = [bool((made.get(index) == whole.get(index)).all()) for index in range(len(made))]
    assert np.mean(same) > 0.98, "but for what a sum in another order rounds otherwise"
    shown = [each for each in (*between.progress, *resumed.progress) if each.stage == stage]
    assert all(each.step <= each.steps for each in shown)
    last = [each for each in resumed.progress if (each.stage, each.iteration) == (stage, iteration)][-1]
    assert last.step == last.steps
    assert set(resumed.warnings) <= set(expected.warnings), "nothing to warn of"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 9), st.data())
def test_the_images_behind_are_those_of_the_batches_made(splits: list[int], size: int, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, sum(splits)))
    batches = list(_batches(splits, offset, size))
    steps = data.draw(st.integers(0, len(batches)))
    assert images_seen(splits, offset, steps, size) == offset + sum(batches[:steps])


def _batches(splits: Sequence[int], offset: int, size: int) -> list[int]:
    found = []
    for images in splits:
        left = max(0, images - offset)
        offset = max(0, offset - images)
        found += [min(size, left - number * size) for number in range(math.ceil(left / size))]
    return found
