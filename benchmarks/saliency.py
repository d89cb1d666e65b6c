"""Saliency maps: against the PyPI package grad-cam, and against plain inference of the same network."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._device import device, finished
from benchmarks.table import Row, compare
from masktune_core.masking import keep_mask, upsample_cams
from masktune_core.models import build_model, cam_layer
from masktune_core.saliency import compute_cams


@dataclass(frozen=True, slots=True)
class Case:
    """One network at one input size.

    `goal` is the least speed-up over grad-cam, None where that is not measured; `maps_goal` and `masks_goal` are the
    least speeds of maps, and of maps and masks, as shares of plain inference. With `half`, both sides run under
    autocast to bfloat16; jobs explain in full precision.
    """

    architecture: str
    size: int
    batch: int
    quick_batch: int
    goal: float | None
    maps_goal: float
    masks_goal: float
    half: bool = False


CASES = {
    "cpu": (
        Case("small_cnn", 28, 512, 128, goal=8.0, maps_goal=0.9, masks_goal=0.9),
        Case("resnet50", 224, 16, 4, goal=4.5, maps_goal=0.95, masks_goal=0.95),
    ),
    "cuda": (
        Case("resnet50", 224, 128, 32, goal=4.5, maps_goal=0.95, masks_goal=0.95),
        Case("resnet50", 224, 128, 32, goal=None, maps_goal=0.95, masks_goal=0.95, half=True),  # NumPy has no bfloat16
    ),
}


def run(quick: bool) -> list[Row]:
    """Images a second with random weights and images, both sides taking turns."""
    where = device()
    torch.manual_seed(0)
    rounds = 3 if quick else 7
    found = []
    for case in CASES[where.type]:
        with torch.autocast(where.type, torch.bfloat16, enabled=case.half):
            found += _rows(case, case.quick_batch if quick else case.batch, rounds, where)
    return found


def _rows(case: Case, batch: int, rounds: int, where: torch.device) -> list[Row]:
    model = build_model(case.architecture, 10).eval().to(where)
    images = torch.rand(batch, 3, case.size, case.size, device=where)
    name = f"{case.architecture}, {case.size} px, batch {batch}{', bf16' if case.half else ''}"

    def inference() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = model(images)
            return logits

    def maps() -> Tensor:
        return compute_cams(model, images)

    def masks() -> Tensor:
        return keep_mask(maps(), case.size)

    plain = finished(inference, where)
    against_inference = compare(finished(maps, where), plain, rounds=rounds, warmup=2, in_a_row=2)
    with_masks = compare(finished(masks, where), plain, rounds=rounds, in_a_row=2)
    return [
        *([] if case.goal is None else [_against_grad_cam(case, case.goal, model, images, name, rounds)]),
        Row(
            f"XGrad-CAM maps against plain inference: {name}",
            batch / against_inference.measured_seconds,
            batch / against_inference.baseline_seconds,
            against_inference.speedup,
            "images/s",
            at_least=case.maps_goal,
            note="raw maps and logits, against logits alone in inference mode",
        ),
        Row(
            f"maps and masks against plain inference: {name}",
            batch / with_masks.measured_seconds,
            batch / with_masks.baseline_seconds,
            with_masks.speedup,
            "images/s",
            at_least=case.masks_goal,
            note="up to the boolean mask at input size",
        ),
    ]


def _against_grad_cam(case: Case, goal: float, model: nn.Module, images: Tensor, name: str, rounds: int) -> Row:
    def ours() -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = upsample_cams(compute_cams(model, images), case.size).cpu().numpy()
        return scaled

    theirs = _grad_cam(model, images)
    difference = float(np.abs(ours() - theirs()).max())
    comparison = compare(ours, theirs, rounds=rounds, in_a_row=2)
    most = _most_images_a_second(model, images) * comparison.baseline_seconds / len(images)
    return Row(
        f"XGrad-CAM maps against grad-cam: {name}",
        len(images) / comparison.measured_seconds,
        len(images) / comparison.baseline_seconds,
        comparison.speedup,
        "images/s",
        at_least=goal,
        note=f"scaled maps at input size; largest difference {difference:.0e}; if the network's operations ran as fast "
        f"as a matrix product here, and nothing else took time, it would be {most:.1f}×",
    )


def _most_images_a_second(model: nn.Module, images: Tensor) -> float:
    """How many images a second the forward pass allows if every operation ran as fast as those of a matrix product."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(images[:2])
    side = 2048
    left, right = torch.rand(side, side, device=images.device), torch.rand(side, side, device=images.device)
    product = finished(lambda: left @ right, images.device)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    return 2.0 * side**3 / min(seconds) / (int(counter.get_total_flops()) / 2)


def _grad_cam(model: nn.Module, images: Tensor) -> Callable[[], NDArray[np.float32]]:
    """grad-cam's XGradCAM of the predicted classes; its hooks are set up in each call, as ours are."""
    with warnings.catch_warnings():  # its own dependencies warn on import
        warnings.simplefilter("ignore")
        from pytorch_grad_cam import XGradCAM

    def maps() -> NDArray[np.float32]:
        with XGradCAM(model=model, target_layers=[cam_layer(model)]) as explainer:
            found: NDArray[np.float32] = explainer(images, None)
        return found

    return maps
