"""Randomness depends on where a run stands, and leaves the caller's generators and settings alone."""

from __future__ import annotations

import pytest
import torch

from masktune_core.randomness import cpu_threads, derive_seed, deterministic, isolated, seed_generators

CPU = torch.device("cpu")


def test_a_seed_is_the_same_in_every_process_and_python_version() -> None:
    assert derive_seed(0, "weights") == 175161404708042246


def test_every_part_counts_and_parts_do_not_run_together() -> None:
    seeds = {
        derive_seed(0),
        derive_seed(1),
        derive_seed(0, "a"),
        derive_seed(0, "a", 1),
        derive_seed(0, "a", "1"),
        derive_seed(0, "a1"),
        derive_seed(0, "a", 1, 2),
        derive_seed(0, "a", 12),
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_callers_generator_goes_on_as_if_nothing_had_been_drawn() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with isolated(CPU):
        seed_generators(CPU, 99)
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)


def test_torchs_settings_are_put_back_also_after_an_error() -> None:
    def settings() -> tuple[bool, ...]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
        )

    def fail_inside() -> None:
        with deterministic(CPU):
            assert torch.are_deterministic_algorithms_enabled()
            raise InterruptedError

    before = settings()
    with pytest.raises(InterruptedError):
        fail_inside()
    assert settings() == before


def test_seeding_is_torchs_own() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    seed_generators(CPU, 7)
    assert torch.equal(torch.rand(3), expected)


def test_a_small_network_runs_on_one_thread_and_a_large_one_on_all() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with cpu_threads("small_cnn", CPU):
            assert torch.get_num_threads() == 1
        with cpu_threads("resnet50", CPU):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
