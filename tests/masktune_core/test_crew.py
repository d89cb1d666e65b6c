"""Two threads that share a batch find what one finds alone."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from masktune_core.config import resolve_config
from masktune_core.crew import SIZE, Crew, Share, member
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.shared_batch_norm import SharedBatchNorm, share_batch_norm
from masktune_core.training import EpochSums, Trainer

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Images:
    image: Tensor
    label: Tensor


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew() as made:
        yield made


def digits(count: int, dtype: torch.dtype = torch.float64) -> Images:
    generator = torch.Generator().manual_seed(count)
    return Images(
        torch.rand(count, 3, 28, 28, generator=generator, dtype=dtype),
        torch.randint(0, 2, (count,), generator=generator),
    )


def two_models() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    alone = build_model("small_cnn", 2).double()
    return alone, share_batch_norm(copy.deepcopy(alone), member)


def after_steps(model: nn.Module, batches: list[Images], crew: Crew | None) -> tuple[EpochSums, dict[str, Tensor]]:
    config = resolve_config("biased_mnist")
    trainer = Trainer(model.train(), make_optimizer(model.parameters(), config.erm.optimizer), config, CPU, crew=crew)
    sums = EpochSums.zero(CPU)
    for images in batches:
        trainer.step(images, sums)
    return sums, model.state_dict()


@settings(max_examples=12)
@given(sizes=st.lists(st.integers(2, 40), min_size=1, max_size=3))
def test_steps_are_those_of_one_thread(crew: Crew, sizes: list[int]) -> None:
    alone, shared = two_models()
    batches = [digits(size) for size in sizes]
    expected, weights = after_steps(alone, batches, None)
    found, ours = after_steps(shared, batches, crew)
    assert (int(found.correct), found.images) == (int(expected.correct), expected.images)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=0)  # the loss is taken in float32
    assert ours.keys() == weights.keys(), "checkpoints name the same things"
    for name, value in weights.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-7)


def test_parts_of_a_batch_are_shared_out_one_after_the_other(crew: Crew) -> None:
    config = resolve_config("biased_mnist", {"runtime": {"micro_batch": 8}})
    results = []
    for helped in (None, crew):
        model = two_models()[helped is not None].train()
        optimizer = make_optimizer(model.parameters(), config.erm.optimizer)
        Trainer(model, optimizer, config, CPU, crew=helped).step(digits(21), EpochSums.zero(CPU))
        results.append([parameter.detach() for parameter in model.parameters()])
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-7)


def test_the_model_says_the_same_outside_the_crew() -> None:
    alone, shared = two_models()
    images = digits(5).image
    for mode in (True, False):
        torch.testing.assert_close(shared.train(mode)(images), alone.train(mode)(images), rtol=0, atol=0)


def test_statistics_follow_the_whole_batch_once(crew: Crew) -> None:
    reference = nn.BatchNorm2d(3)
    norm = SharedBatchNorm(nn.BatchNorm2d(3), member)
    values = torch.randn(7, 3, 4, 5)
    reference(values)
    images, labels = values, torch.zeros(7, dtype=torch.int64)

    def work(images: Tensor, labels: Tensor) -> Share:
        norm(images)
        return Share(torch.zeros(()), torch.zeros(()), ())

    crew.share_out(images, labels, work)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)


def test_an_error_of_one_ends_the_batch_for_all_and_the_next_one_works(crew: Crew) -> None:
    def fail(images: Tensor, labels: Tensor) -> Share:
        here = member()
        assert here is not None
        if here.rank == SIZE - 1:
            raise ArithmeticError("one of us failed")
        here.gather(images)  # the other never comes
        raise AssertionError("unreachable")

    images = digits(8)
    for _ in range(2):
        with pytest.raises(ArithmeticError, match="one of us failed"):
            crew.share_out(images.image, images.label, fail)
    shares = crew.share_out(
        images.image, images.label, lambda part, labels: Share(part.sum(), torch.tensor(len(labels)), ())
    )
    assert sum(int(share.correct) for share in shares) == 8
    assert member() is None


PROGRAM = """
import hashlib, os, sys, torch
if sys.argv[1] == "one": os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from masktune_core.config import resolve_config
from masktune_core.crew import Crew, member
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.randomness import cpu_threads
from masktune_core.shared_batch_norm import share_batch_norm
from masktune_core.training import EpochSums, Trainer
from tests.masktune_core.test_crew import CPU, digits
torch.manual_seed(0)
config = resolve_config("biased_mnist")
model = share_batch_norm(build_model("small_cnn", 2), member).train()
with cpu_threads("small_cnn", CPU), Crew() as crew:
    trainer = Trainer(model, make_optimizer(model.parameters(), config.erm.optimizer), config, CPU, crew=crew)
    for count in (32, 17, 5):
        trainer.step(digits(count, torch.float32), EpochSums.zero(CPU))
state = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
print(hashlib.sha256(state).hexdigest())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_the_bits_do_not_depend_on_the_number_of_cores() -> None:
    hashes = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, cores],
            env={**os.environ, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for cores, threads in (("one", "1"), ("all", "4"))
    ]
    assert hashes[0] == hashes[1] != ""
