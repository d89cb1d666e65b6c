"""The steps of MaskTune as its authors' scripts do them, written anew: the baseline of `pipeline.py`.

Images are files; worker processes of `DataLoader` read them through torchvision. For every training image the PyPI
package grad-cam makes the map, with a full backward pass, on the CPU; the threshold is NumPy's. A pool of processes,
made anew for every batch, then reads each image once more, masks it and writes it as a PNG file; finetuning reads those
files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import cv2
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


def kept_pixels(maps: Maps) -> NDArray[np.int64]:
    """1 where a map does not exceed mean + 2 standard deviations of its positive values, else 0; (B, H, W, 1)."""
    positive = np.where(maps > 0, maps, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a map without a positive value has no mean
        mean, deviation = (found(positive, axis=(1, 2), keepdims=True) for found in (np.nanmean, np.nanstd))
    kept: NDArray[np.int64] = np.where(maps > mean + 2 * deviation, 0, 1)[..., None]
    return kept


def write_masked(kept: NDArray[np.int64], sources: list[Path], targets: list[Path]) -> None:
    """Write each image file of a batch, masked, under another name."""
    with Pool() as pool:
        pool.starmap(_write_one, zip(kept, sources, targets, strict=True))


def _write_one(kept: NDArray[np.int64], source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        pixels = np.array(image.convert("RGB"))
    height, width = pixels.shape[:2]
    mask = cv2.resize(kept, dsize=(width, height), interpolation=cv2.INTER_NEAREST)[..., None]
    Image.fromarray((pixels * mask).astype(np.uint8)).save(target)


def mask_files(model: nn.Module, batches: DataLoader[Any], folder: Path) -> list[Path]:
    """Explain and mask every image of a pass in order; returns the new files."""
    model.eval()
    maps, written = explainer(model), []
    sources = batches.dataset.paths  # type: ignore[attr-defined]  # the data set is `Files`
    for images, _, positions in batches:
        targets = [folder / f"{position:06d}.png" for position in positions.tolist()]
        write_masked(kept_pixels(maps(images)), [sources[position] for position in positions.tolist()], targets)
        written += targets
    return written
