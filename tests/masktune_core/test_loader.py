"""Batches: what the network sees, whoever decodes it and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from masktune_core.config import AugmentConfig, InputConfig
from masktune_core.data.dataset import Dataset
from masktune_core.data.fill import Fill, fill_masked
from masktune_core.data.loader import Batch, Loader
from masktune_core.data.philox import shuffled
from masktune_core.errors import ArchiveError
from masktune_core.mask_store import MaskStore
from tests.masktune_core.archives import picture, write_dataset

CPU = torch.device("cpu")
AUGMENT = AugmentConfig(
    random_resized_crop=(0.5, 1.0), horizontal_flip=True, rotation_degrees=15.0, translate=0.1, color_jitter=0.2
)
MOVE = AugmentConfig(horizontal_flip=True, rotation_degrees=15.0, translate=0.1)
SMALL = InputConfig(size=16)
CONFIGS = {
    "plain": SMALL,
    "moved": InputConfig(size=16, augment=MOVE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
    "cropped": InputConfig(size=16, resize=20, augment=AUGMENT),
}


@pytest.fixture
def equal(tmp_path: Path) -> Iterator[Dataset]:
    """50 images of 16 × 16."""
    with write_dataset(tmp_path / "equal.zip", [picture(i, 16, 16) for i in range(50)]) as dataset:
        yield dataset


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[Dataset]:
    """50 images of many sizes."""
    images = [picture(i, 20 + i % 7, 18 + i % 11) for i in range(50)]
    with write_dataset(tmp_path / "mixed.zip", images) as dataset:
        yield dataset


def random_masks(path: Path, dataset: Dataset) -> MaskStore:
    store = MaskStore.create(path, dataset.sizes[:, 0], dataset.sizes[:, 1])
    random = np.random.default_rng(0)
    for index, (height, width) in enumerate(dataset.sizes.tolist()):
        store.put(np.array([index]), [random.random((height, width)) < 0.7])
    return store


def images_of(batches: Iterator[Batch]) -> dict[int, torch.Tensor]:
    """Every image by its index."""
    return {index: image for batch in batches for index, image in zip(batch.index.tolist(), batch.image, strict=True)}


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of the images decoded from now on."""
    read: list[int] = []
    original = Dataset.read

    def counting(dataset: Dataset, index: int) -> NDArray[np.uint8]:
        read.append(index)
        return original(dataset, index)

    monkeypatch.setattr(Dataset, "read", counting)
    return read


def same(first: dict[int, torch.Tensor], second: dict[int, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[index], second[index]) for index in first)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("data", ["equal", "mixed"])
@pytest.mark.parametrize("fill", ["zero", "mean", "blur"])
def test_neither_cache_nor_threads_nor_batches_change_a_pixel(
    name: str, data: str, fill: Fill, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    dataset: Dataset = request.getfixturevalue(data)
    indices = dataset.splits["train"]
    with random_masks(tmp_path / "masks", dataset) as masks:

        def epoch(loader: Loader, batch_size: int) -> dict[int, torch.Tensor]:
            return images_of(
                loader.train_epoch(indices, seed=1, epoch=2, batch_size=batch_size, masks=masks, fill=fill)
            )

        with Loader(dataset, CONFIGS[name], device=CPU, workers=3) as cached:
            cold, warm = epoch(cached, 16), epoch(cached, 16)
            other_batches = epoch(cached, 7)
        with Loader(dataset, CONFIGS[name], device=CPU, workers=1, cache_mib=0) as uncached:
            alone = epoch(uncached, 1)
    assert same(cold, warm)
    assert same(cold, other_batches)
    assert same(cold, alone)


def test_an_epoch_shows_every_sample_once_in_an_order_of_its_own(equal: Dataset) -> None:
    indices = np.arange(10, 40)
    with Loader(equal, SMALL, device=CPU) as loader:
        batches = list(loader.train_epoch(indices, seed=4, epoch=1, batch_size=8))
    order = torch.cat([batch.index for batch in batches]).numpy()
    assert [len(batch.index) for batch in batches] == [8, 8, 8, 6]
    assert (order == shuffled(indices, seed=4, epoch=1)).all()
    for batch in batches:
        assert torch.equal(batch.label, batch.index % 2)
        assert batch.image.dtype == torch.float32
        assert batch.image.is_contiguous()


@pytest.mark.parametrize("start", [0, 1, 3, 4, 9])
def test_an_epoch_can_be_entered_at_any_step(mixed: Dataset, start: int) -> None:
    config = CONFIGS["cropped"]
    with Loader(mixed, config, device=CPU) as loader:
        whole = list(loader.train_epoch(mixed.splits["train"], seed=0, epoch=3, batch_size=16))
        rest = list(loader.train_epoch(mixed.splits["train"], seed=0, epoch=3, batch_size=16, start_step=start))
    assert len(rest) == max(len(whole) - start, 0)
    for one, other in zip(whole[start:], rest, strict=True):
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.image, other.image)


def test_evaluation_keeps_the_order_given_and_normalises(equal: Dataset) -> None:
    indices = np.array([7, 3, 3, 40, 0])
    with Loader(equal, CONFIGS["moved"], device=CPU) as loader:
        (batch,) = loader.eval_batches(indices, batch_size=8)
    assert batch.index.tolist() == indices.tolist()
    expected = torch.from_numpy(np.stack([picture(i, 16, 16) for i in indices])).permute(0, 3, 1, 2) / 255.0
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    torch.testing.assert_close(batch.image, (expected - mean) / std)


@pytest.mark.parametrize("fill", ["zero", "mean", "blur"])
def test_a_mask_changes_the_masked_pixels_and_no_others(equal: Dataset, fill: Fill, tmp_path: Path) -> None:
    indices = equal.splits["train"]
    with random_masks(tmp_path / "masks", equal) as masks, Loader(equal, SMALL, device=CPU) as loader:
        for _ in ("cold", "warm"):
            plain = images_of(loader.eval_batches(indices, batch_size=16))
            masked = images_of(loader.eval_batches(indices, batch_size=16, masks=masks, fill=fill))
            for index in indices.tolist():
                keep: NDArray[np.bool_] = masks.get(index)
                assert torch.equal(masked[index][:, keep], plain[index][:, keep])
                filled = torch.from_numpy(fill_masked(picture(index, 16, 16), keep, fill)).permute(2, 0, 1) / 255.0
                assert torch.equal(masked[index], filled)


def test_a_mask_follows_its_image_through_crop_and_motion(mixed: Dataset, tmp_path: Path) -> None:
    """On a white data set, what is dark in the view is the mask: it must be the view of a picture of the mask."""
    whites = [np.full((*size, 3), 255, dtype=np.uint8) for size in mixed.sizes.tolist()]
    config = InputConfig(
        size=16, resize=20, augment=AugmentConfig(random_resized_crop=(0.5, 1.0), horizontal_flip=True)
    )
    with random_masks(tmp_path / "masks", mixed) as masks:
        drawn = [np.repeat(masks.get(i)[:, :, None] * np.uint8(255), 3, axis=2) for i in range(len(mixed))]
        white, pictures = (
            write_dataset(tmp_path / f"{name}.zip", images) for name, images in (("white", whites), ("drawn", drawn))
        )
        with (
            white,
            pictures,
            Loader(white, config, device=CPU) as masked,
            Loader(pictures, config, device=CPU) as plain,
        ):
            indices = white.splits["train"]
            shown = images_of(masked.train_epoch(indices, seed=3, epoch=5, batch_size=16, masks=masks))
            assert same(shown, images_of(plain.train_epoch(indices, seed=3, epoch=5, batch_size=16)))


def test_boxes_are_what_the_evaluation_view_shows(mixed: Dataset) -> None:
    config = InputConfig(size=16, resize=18, center_crop=22)
    with Loader(mixed, config, device=CPU) as loader:
        boxes = loader.boxes(np.array([4, 30]))
    assert [tuple(box) for box in boxes] == [config.evaluation_box(*mixed.sizes[i].tolist()) for i in (4, 30)]


def test_leaving_an_epoch_early_is_no_harm(mixed: Dataset) -> None:
    with Loader(mixed, CONFIGS["cropped"], device=CPU) as loader:
        before = next(loader.train_epoch(mixed.splits["train"], seed=0, epoch=0, batch_size=4))
        after = next(loader.train_epoch(mixed.splits["train"], seed=0, epoch=0, batch_size=4))
    assert torch.equal(before.image, after.image)


def test_only_a_few_batches_are_decoded_ahead(mixed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    read = count_reads(monkeypatch)
    with Loader(mixed, SMALL, device=CPU, cache_mib=0) as loader:
        epoch = loader.train_epoch(mixed.splits["train"], seed=0, epoch=0, batch_size=5)
        next(epoch)
        loader.close()
        assert len(read) <= 15


def test_the_cache_stays_within_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images: Sequence[NDArray[np.uint8]] = [picture(i, 300, 400 + i) for i in range(6)]  # 0.34 MiB each
    read = count_reads(monkeypatch)
    with (
        write_dataset(tmp_path / "d.zip", images) as dataset,
        Loader(dataset, SMALL, device=CPU, cache_mib=1) as loader,
    ):
        for _ in range(2):
            list(loader.eval_batches(np.arange(6), batch_size=2))
    assert len(read) == 6 + 4


def test_a_damaged_image_is_named(mixed: Dataset) -> None:
    content = bytearray(mixed.path.read_bytes())
    start = int(mixed.index.offset[33])
    content[start : start + 20] = bytes(20)
    mixed.path.write_bytes(content)
    with Loader(mixed, SMALL, device=CPU) as loader, pytest.raises(ArchiveError, match=r"33\.png"):
        list(loader.train_epoch(mixed.splits["train"], seed=0, epoch=0, batch_size=8))


def test_no_images_make_no_batches(equal: Dataset) -> None:
    with Loader(equal, SMALL, device=CPU) as loader:
        assert list(loader.eval_batches(np.array([], dtype=np.int64), batch_size=8)) == []
