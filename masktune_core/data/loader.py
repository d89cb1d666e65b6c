"""Batches of normalised views, for training and for evaluation.

Randomness is a function of (seed, epoch, sample index) alone, so neither threads, nor the cache, nor the batch a sample
falls into can change what the network sees, and an epoch can be entered at any step.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masktune_core.config import InputConfig
from masktune_core.cores import core_count
from masktune_core.data.augment import move, recolor, training_views
from masktune_core.data.cache import DecodedCache
from masktune_core.data.dataset import Dataset
from masktune_core.data.fill import Fill, fill_masked
from masktune_core.data.philox import shuffled
from masktune_core.data.views import Box, Views, evaluation_views, is_whole_image, resample, whole_boxes
from masktune_core.distributed import ALONE, World

_BATCHES_AHEAD: Final = 2
_IMAGES_PER_TASK: Final = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """B images: `index` int64 (B,) on the CPU, `image` float32 (B, 3, S, S) and `label` int64 (B,) on the device."""

    index: Tensor
    image: Tensor
    label: Tensor


class Masks(Protocol):
    """Keep masks by data-set index, at each image's own height and width; False = masked (see `MaskStore`)."""

    def get(self, index: int) -> NDArray[np.bool_]:
        """(H, W)."""

    def get_batch(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(B, H, W); the images have one size."""


class _Draw(NamedTuple):
    """Where the randomness of a training epoch comes from."""

    seed: int
    epoch: int


class Loader:
    """Reads, masks, crops, resizes, augments and normalises images of one data set.

    `workers` decoding threads (0: one per core) work at most two batches ahead of the consumer; decoded images are kept
    up to `cache_mib` MiB. Iterators of one loader may be used one after the other or side by side. In a `world` of
    several processes each one's batches are its share of the whole ones.
    """

    def __init__(
        self,
        dataset: Dataset,
        input: InputConfig,  # noqa: A002 - the configuration's own name for this part
        *,
        device: torch.device,
        workers: int = 0,
        cache_mib: int = 2048,
        world: World = ALONE,
    ) -> None:
        self.dataset = dataset
        self.world = world
        self.input = input
        self.device = device
        self._cache = DecodedCache(dataset, cache_mib * 2**20)
        self._workers = workers or core_count()
        self._pool: ThreadPoolExecutor | None = None
        self._mean = torch.tensor(input.mean, dtype=torch.float32, device=device)[:, None, None]
        self._std = torch.tensor(input.std, dtype=torch.float32, device=device)[:, None, None]
        self._scaled_only = input.mean == (0.0, 0.0, 0.0) and input.std == (1.0, 1.0, 1.0)

    def train_epoch(
        self,
        indices: NDArray[np.int64],
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        masks: Masks | None = None,
        fill: Fill = "zero",
        start_step: int = 0,
    ) -> Iterator[Batch]:
        """One pass over `indices` in random order, augmented; the last batch may be smaller.

        Order and augmentations depend on (seed, epoch, sample index) only. `start_step` batches are skipped, which is
        exact and costs nothing. Raises `ArchiveError` if an image cannot be read.
        """
        order = shuffled(indices, seed=seed, epoch=epoch)[start_step * batch_size :]
        return self._batches(order, batch_size, masks, fill, _Draw(seed, epoch))

    def eval_batches(
        self, indices: NDArray[np.int64], *, batch_size: int, masks: Masks | None = None, fill: Fill = "zero"
    ) -> Iterator[Batch]:
        """`indices` in the order given, in the evaluation view. Raises `ArchiveError` if an image cannot be read."""
        return self._batches(np.asarray(indices, dtype=np.int64), batch_size, masks, fill, None)

    def boxes(self, indices: NDArray[np.int64]) -> list[Box]:
        """What part of each image the evaluation view shows, in whole data-set pixels."""
        sizes = self.dataset.sizes[indices]
        return whole_boxes(evaluation_views(sizes, self.input), sizes)

    def close(self) -> None:
        """Stop the decoding threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batches(
        self, order: NDArray[np.int64], batch_size: int, masks: Masks | None, fill: Fill, draw: _Draw | None
    ) -> Iterator[Batch]:
        """Keep a few batches in the making; finish and hand out the oldest."""
        starts = iter(range(0, len(order), batch_size))
        pending: deque[_Pending] = deque()
        try:
            while True:
                for start in itertools.islice(starts, 1 + _BATCHES_AHEAD - len(pending)):
                    whole = order[start : start + batch_size]
                    pending.append(self._start(whole[self.world.share(len(whole))], masks, fill, draw))
                if not pending:
                    return
                yield self._finish(pending.popleft(), draw)
        finally:
            for batch in pending:
                batch.cancel()

    def _start(self, indices: NDArray[np.int64], masks: Masks | None, fill: Fill, draw: _Draw | None) -> _Pending:
        sizes = self.dataset.sizes[indices]
        if draw is None:
            views = evaluation_views(sizes, self.input)
        else:
            views = training_views(indices, sizes, self.input, seed=draw.seed, epoch=draw.epoch)
        if len(indices) and self._cache.holds(indices) and fill != "blur" and is_whole_image(views, sizes):
            return _Pending(indices, views, self._gather(indices, masks, fill), ())
        shape = (len(indices), self.input.size, self.input.size, 3)
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        target = pixels.numpy()

        def render(start: int, stop: int) -> None:
            for position in range(start, stop):
                index = int(indices[position])
                image = self._cache.read(index)
                if masks is not None:
                    image = fill_masked(image, masks.get(index), fill)
                target[position] = resample(image, views.regions[position], views.boxes[position], views.size)

        step = _IMAGES_PER_TASK
        tasks = tuple(
            self._submit(render, start, min(start + step, len(indices))) for start in range(0, len(indices), step)
        )
        return _Pending(indices, views, pixels, tasks)

    def _gather(self, indices: NDArray[np.int64], masks: Masks | None, fill: Fill) -> Tensor:
        """The fast path: all images cached at the network's size, so a batch is one gather."""
        block = self._cache.block
        assert block is not None
        pixels = torch.from_numpy(block)[torch.from_numpy(indices)]
        if masks is None:
            return pixels
        keep = torch.from_numpy(masks.get_batch(indices))[:, :, :, None]
        if fill == "zero":
            return pixels * keep
        count = keep.shape[1] * keep.shape[2]
        mean = (pixels.sum(dim=(1, 2), dtype=torch.int64) * 2 + count) // (2 * count)
        return torch.where(keep, pixels, mean.to(torch.uint8)[:, None, None, :])

    def _submit(self, render: Callable[[int, int], None], start: int, stop: int) -> Future[None]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="masktune-decode")
        return self._pool.submit(render, start, stop)

    def _finish(self, pending: _Pending, draw: _Draw | None) -> Batch:
        for task in pending.tasks:
            task.result()
        indices = pending.indices
        pixels = pending.pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).contiguous()
        image = pixels.to(torch.float32).div_(255.0)
        if draw is not None:
            image = recolor(image, pixels, indices, self.input.augment, seed=draw.seed, epoch=draw.epoch)
            image = move(image, pending.views)
        if not self._scaled_only:
            image = image.sub_(self._mean).div_(self._std)
        label = torch.from_numpy(self.dataset.labels[indices]).to(self.device)
        return Batch(torch.from_numpy(indices), image, label)


class _Pending(NamedTuple):
    """A batch in the making: `pixels` uint8 (B, S, S, 3) is whole when all `tasks` are done."""

    indices: NDArray[np.int64]
    views: Views
    pixels: Tensor
    tasks: tuple[Future[None], ...]

    def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()
