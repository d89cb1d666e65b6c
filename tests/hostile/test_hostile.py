"""Nothing of the corpus gets through, nothing of it runs, and what is merely odd is taken."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest

from tests.hostile import archives, batches, checkpoints, images
from tests.hostile.trial import try_archive, try_checkpoint, try_image

ARCHIVES, ODD_ARCHIVES = archives.refused(), archives.harmless()
IMAGES, ODD_IMAGES = images.refused(), images.harmless()


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused_for_what_it_is(name: str) -> None:
    content, code = ARCHIVES[name]
    assert code in try_archive(content)


@pytest.mark.parametrize("name", ODD_ARCHIVES)
def test_an_odd_archive_is_taken(name: str) -> None:
    assert try_archive(ODD_ARCHIVES[name]) == set()


@pytest.mark.parametrize("name", IMAGES)
def test_a_hostile_image_is_refused_for_what_it_is(name: str) -> None:
    content, code = IMAGES[name]
    assert try_image(content) == code


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_an_odd_image_is_taken(name: str) -> None:
    assert try_image(ODD_IMAGES[name]) == ""


def test_every_malicious_checkpoint_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    taken = []
    for name, content in checkpoints.corpus(canary).items():
        if not try_checkpoint(content, tmp_path):
            taken.append(name)
        assert not canary.exists(), name
    assert taken == []


def test_every_malicious_batch_of_a_data_set_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    taken = []
    for name, content in batches.corpus(canary).items():
        if try_archive(content) != {"archive_damaged"}:
            taken.append(name)
        assert not canary.exists(), name
    assert taken == []


@pytest.mark.parametrize("name", ["os.system", "subprocess", "eval", "exec", "in an attribute", "in an item"])
def test_the_payloads_do_run_when_unpickled_carelessly(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(checkpoints.payloads(canary)[name]))
    assert canary.exists()


@pytest.mark.parametrize("name", ["GLOBAL REDUCE", "INST", "OBJ", "STACK_GLOBAL", "BUILD"])
def test_the_handwritten_programs_do_run_when_unpickled_carelessly(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    assert pickle.loads(checkpoints.programs(canary)[name]) in (0, OrderedDict())
    assert canary.exists()
