"""The steps of MaskTune as its authors' scripts do them, written anew: the baseline of `pipeline.py`.

Images are files; worker processes of `DataLoader` read them through torchvision. For every training image the PyPI
package grad-cam makes the map, with a full backward pass, on the CPU; the threshold is NumPy's, image by image; the
masked image is written as a file, and finetuning reads those files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional

from masktune_core.models import cam_layer

Maps = NDArray[np.float32]


class Files(Dataset[tuple[Tensor, int, int]]):
    """Images below a folder: (tensor in [0, 1], label, position)."""

    def __init__(self, paths: list[Path], labels: list[int]) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[Tensor, int, int]:
        with Image.open(self.paths[position]) as image:
            return functional.to_tensor(image.convert("RGB")), self.labels[position], position


def loader(files: Files, batch: int, *, shuffle: bool, workers: int) -> DataLoader[Any]:
    """Worker processes start anew in each pass, as `DataLoader` does unless told otherwise."""
    return DataLoader(files, batch_size=batch, shuffle=shuffle, num_workers=workers)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: DataLoader[Any]) -> None:
    """One epoch."""
    model.train()
    for images, labels, _ in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()


def test(model: nn.Module, batches: DataLoader[Any]) -> float:
    """Accuracy."""
    model.eval()
    correct = count = 0
    with torch.no_grad():
        for images, labels, _ in batches:
            correct += int((model(images).argmax(1) == labels).sum())
            count += len(labels)
    return correct / count


def explainer(model: nn.Module) -> Callable[[Tensor], Maps]:
    """grad-cam's XGradCAM of the predicted classes, scaled to [0, 1] at input size (B, H, W)."""
    with warnings.catch_warnings():  # its own dependencies warn on import
        warnings.simplefilter("ignore")
        from pytorch_grad_cam import XGradCAM

    made = XGradCAM(model=model, target_layers=[cam_layer(model)])

    def maps(images: Tensor) -> Maps:
        found: Maps = made(images, None)
        return found

    return maps


def masked_pixels(scaled: Maps) -> NDArray[np.bool_]:
    """Where one map (H, W) exceeds mean + 2 standard deviations of its positive values."""
    positive = scaled[scaled > 0]
    if not len(positive):
        return np.zeros(scaled.shape, dtype=np.bool_)
    above: NDArray[np.bool_] = scaled > positive.mean() + 2 * positive.std()
    return above


def write_masked(images: Tensor, maps: Maps, paths: list[Path]) -> None:
    """Write each image (3, H, W) as a PNG file, black where its map is high."""
    for image, scaled, path in zip(images, maps, paths, strict=True):
        pixels = (image.numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
        pixels[masked_pixels(scaled)] = 0
        Image.fromarray(pixels).save(path)


def mask_files(model: nn.Module, batches: DataLoader[Any], folder: Path) -> list[Path]:
    """Explain and mask every image of a pass in order; returns the new files."""
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    maps, written = explainer(model), []
    for images, _, positions in batches:
        paths = [folder / f"{position:06d}.png" for position in positions.tolist()]
        write_masked(images, maps(images), paths)
        written += paths
    return written
