"""Parts of a batch on all cores: the same bits as one after the other, and torch's threads as before."""

from __future__ import annotations

from threading import get_ident

import pytest
import torch

from masktune_core import cores
from masktune_core.models import build_model, cam_layer
from masktune_core.saliency import explain


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores, "core_count", lambda: 2)


@pytest.mark.usefixtures("two_cores")
def test_results_come_in_the_order_of_the_parts() -> None:
    assert cores.on_all_cores(lambda part: part * part, range(50)) == [part * part for part in range(50)]


@pytest.mark.usefixtures("two_cores")
def test_each_part_runs_on_one_thread_of_torch_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    threads = cores.on_all_cores(lambda _part: (torch.get_num_threads(), get_ident()), range(8))
    assert {count for count, _ in threads} == {1}
    assert get_ident() not in {thread for _, thread in threads}
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("two_cores")
def test_a_thread_keeps_to_one_thread_of_torch_after_its_first_operation() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    cores._pool.cache_clear()

    def add(_: int) -> int:
        torch.ones(1 << 20).sum()
        return torch.get_num_threads()

    try:
        assert set(cores.on_all_cores(add, range(8))) == {1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("two_cores")
def test_parts_run_in_the_modes_of_the_caller() -> None:
    def modes(_: int) -> tuple[bool, bool, bool, torch.dtype]:
        grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        return grad, inference, torch.is_autocast_enabled("cpu"), (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert set(cores.on_all_cores(modes, range(8))) == {(True, False, False, torch.float32)}
    with torch.no_grad():
        assert set(cores.on_all_cores(modes, range(8))) == {(False, False, False, torch.float32)}
    with torch.inference_mode():
        assert set(cores.on_all_cores(modes, range(8))) == {(False, True, False, torch.float32)}
    with torch.autocast("cpu", torch.bfloat16):
        assert set(cores.on_all_cores(modes, range(8))) == {(True, False, True, torch.bfloat16)}
    assert set(cores.on_all_cores(modes, range(8))) == {(True, False, False, torch.float32)}


def test_one_core_works_the_parts_off_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    assert cores.on_all_cores(lambda _part: (torch.get_num_threads(), get_ident()), range(3)) == [(1, get_ident())] * 3
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("two_cores")
def test_an_error_in_a_part_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        cores.on_all_cores(lambda part: 1 // part, [1, 0])


@pytest.mark.parametrize("method", ["xgradcam", "eigencam", "layercam"])
def test_maps_do_not_depend_on_the_number_of_cores(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, images = build_model("small_cnn", 3), torch.rand(700, 3, 28, 28)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = explain(model, images, method=method)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(cores, "core_count", lambda: 4)
    together = explain(model, images, method=method)
    assert torch.equal(together.cams, alone.cams)
    assert torch.equal(together.logits, alone.logits)
    assert not cam_layer(model)._forward_hooks
