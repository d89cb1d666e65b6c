"""Saliency maps: against the PyPI package grad-cam, and against plain inference of the same network."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.table import Row, compare
from masktune_core.masking import keep_mask, upsample_cams
from masktune_core.models import build_model, cam_layer
from masktune_core.saliency import compute_cams


@dataclass(frozen=True, slots=True)
class Case:
    """One network at one input size.

    `goal` is the least speed-up over grad-cam; `maps_goal` and `masks_goal` are the least speeds of maps, and of maps
    and masks, as shares of plain inference.
    """

    architecture: str
    size: int
    batch: int
    quick_batch: int
    goal: float
    maps_goal: float
    masks_goal: float


CASES = (
    Case("small_cnn", 28, 512, 128, goal=8.0, maps_goal=0.9, masks_goal=0.9),
    Case("resnet50", 224, 16, 4, goal=4.5, maps_goal=0.95, masks_goal=0.95),
)


def run(quick: bool) -> list[Row]:
    """Images a second on the CPU with random weights and images, both sides taking turns."""
    torch.manual_seed(0)
    rounds = 3 if quick else 7
    return [row for case in CASES for row in _rows(case, case.quick_batch if quick else case.batch, rounds)]


def _rows(case: Case, batch: int, rounds: int) -> list[Row]:
    model = build_model(case.architecture, 10).eval()
    images = torch.rand(batch, 3, case.size, case.size)
    where = f"{case.architecture}, {case.size} px, batch {batch}"

    def ours() -> Tensor:
        return upsample_cams(compute_cams(model, images), case.size)

    theirs = _grad_cam(model, images)
    difference = float(np.abs(ours().numpy() - theirs()).max())
    against_grad_cam = compare(ours, theirs, rounds=max(2, rounds // 2))

    def inference() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = model(images)
            return logits

    against_inference = compare(lambda: compute_cams(model, images), inference, rounds=rounds, warmup=2)
    with_masks = compare(lambda: keep_mask(compute_cams(model, images), case.size), inference, rounds=rounds)
    return [
        Row(
            f"XGrad-CAM maps against grad-cam: {where}",
            batch / against_grad_cam.measured_seconds,
            batch / against_grad_cam.baseline_seconds,
            against_grad_cam.speedup,
            "images/s",
            at_least=case.goal,
            note=f"scaled maps at input size; largest difference {difference:.0e}",
        ),
        Row(
            f"XGrad-CAM maps against plain inference: {where}",
            batch / against_inference.measured_seconds,
            batch / against_inference.baseline_seconds,
            against_inference.speedup,
            "images/s",
            at_least=case.maps_goal,
            note="raw maps and logits, against logits alone in inference mode",
        ),
        Row(
            f"maps and masks against plain inference: {where}",
            batch / with_masks.measured_seconds,
            batch / with_masks.baseline_seconds,
            with_masks.speedup,
            "images/s",
            at_least=case.masks_goal,
            note="up to the boolean mask at input size",
        ),
    ]


def _grad_cam(model: nn.Module, images: Tensor) -> Callable[[], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """grad-cam's XGradCAM of the predicted classes; its hooks are set up in each call, as ours are."""
    with warnings.catch_warnings():  # its own dependencies warn on import
        warnings.simplefilter("ignore")
        from pytorch_grad_cam import XGradCAM

    def maps() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        with XGradCAM(model=model, target_layers=[cam_layer(model)]) as explainer:
            found: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = explainer(images, None)
        return found

    return maps
