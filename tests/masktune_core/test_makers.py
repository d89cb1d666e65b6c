"""Archives are made from downloads in exactly the layouts in which people have them, and intake takes them in."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masktune_core.data.archive import ArchiveIndex
from masktune_core.data.dataset import Dataset
from masktune_core.errors import ArchiveError
from masktune_core.intake import normalise
from masktune_core.intake.layouts.backgrounds import VARIANTS
from masktune_core.intake.plain_pickle import read_plain_pickle
from masktune_core.makers.backgrounds import make_backgrounds
from masktune_core.makers.cats_vs_dogs import make_cats_vs_dogs
from masktune_core.makers.celeba import make_celeba
from masktune_core.makers.cifar10 import make_cifar10
from masktune_core.makers.svhn import make_svhn
from masktune_core.makers.waterbirds import make_waterbirds
from tests.masktune_core.archives import tar_bytes, zip_bytes
from tests.masktune_core.downloads import (
    JPEG,
    Pixels,
    backgrounds,
    batch,
    celeba,
    cifar10,
    kaggle,
    lay_out,
    microsoft,
    svhn,
    waterbirds,
)
from tests.masktune_core.intake_runs import IMAGE


def taken_in(made: Path) -> ArchiveIndex:
    return normalise(made, made.with_suffix(".normalised")).index


def splits_of(index: ArchiveIndex) -> Counter[tuple[str, str]]:
    pairs = zip(index.split.tolist(), index.label.tolist(), strict=True)
    return Counter((index.split_names[split], index.classes[label]) for split, label in pairs)


# CIFAR-10


@pytest.fixture(scope="module")
def cifar() -> tuple[dict[str, bytes], Pixels]:
    return cifar10()


@pytest.mark.parametrize("form", ["folder", "root with the archive", "archive"])
def test_cifar10_as_torchvision_keeps_it(tmp_path: Path, cifar: Any, form: str) -> None:
    files, images = cifar
    source = tmp_path / "root"
    if form == "folder":
        lay_out(source, files)
    else:
        source = lay_out(source, {"cifar-10-python.tar.gz": tar_bytes(files, "w:gz")})
        source = source if form.startswith("root") else source / "cifar-10-python.tar.gz"
    index = taken_in(make_cifar10(tmp_path / "made.zip", source))
    assert splits_of(index)[("train", "cat")] == 8
    assert splits_of(index)[("val", "cat")] == 2
    assert splits_of(index)[("test", "truck")] == 2
    with Dataset.open(tmp_path / "made.normalised") as dataset:
        first = index.names.index("test/airplane/000000.png")
        assert (dataset.read(first) == images[100]).all()


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize("content", [Evil(), {b"data": Evil()}, np.array([Evil()], dtype=object)])
def test_a_batch_that_would_call_something_is_refused(content: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="system"):
        read_plain_pickle(pickle.dumps(content))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil()),
        b"",
        b"no pickle",
        pickle.dumps({b"labels": [1]}),
        batch(np.zeros((1, 32, 32, 3), np.uint8), [10]),
    ],
)
def test_a_broken_batch_is_named_and_leaves_nothing(tmp_path: Path, cifar: Any, content: bytes) -> None:
    source = lay_out(tmp_path / "root", {**cifar[0], "cifar-10-batches-py/data_batch_3": content})
    with pytest.raises(ArchiveError, match="data_batch_3"):
        make_cifar10(tmp_path / "out" / "made.zip", source)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path, cifar: Any) -> None:
    source = lay_out(tmp_path / "root", cifar[0])
    one, two, other = (make_cifar10(tmp_path / f"{n}.zip", source, seed=n // 2).read_bytes() for n in range(3))
    assert one == two != other


# SVHN


def test_svhn_as_torchvision_keeps_it(tmp_path: Path) -> None:
    files, images = svhn()
    index = taken_in(make_svhn(tmp_path / "made.zip", lay_out(tmp_path / "root", files), val=0.5))
    assert index.classes == tuple("0123456789")
    assert splits_of(index) == {(split, digit): 1 for split in ("train", "val", "test") for digit in index.classes}
    with Dataset.open(tmp_path / "made.normalised") as dataset:
        assert (dataset.read(index.names.index("test/0/000009.png")) == images[29]).all()
    with pytest.raises(ArchiveError, match="test_32x32"):
        make_svhn(tmp_path / "x.zip", lay_out(tmp_path / "half", {"train_32x32.mat": files["train_32x32.mat"]}))
    with pytest.raises(ArchiveError, match="does not hold SVHN"):
        make_svhn(tmp_path / "x.zip", lay_out(tmp_path / "broken", {**files, "train_32x32.mat": b"x"}))


# Cats vs Dogs


@pytest.mark.parametrize("form", ["microsoft", "kaggle", "kaggle's zip in a zip", "folder"])
def test_cats_vs_dogs_in_every_form(tmp_path: Path, form: str) -> None:
    source = tmp_path / "download"
    if form == "folder":
        lay_out(source, kaggle())
    elif form == "kaggle's zip in a zip":
        source.write_bytes(zip_bytes({"train.zip": zip_bytes(kaggle()), "test1.zip": zip_bytes({"test1/1.jpg": JPEG})}))
    else:
        source.write_bytes(zip_bytes(microsoft() if form == "microsoft" else kaggle()))
    made = make_cats_vs_dogs(tmp_path / "made.zip", source)
    assert made.left_out == (["PetImages/Cat/666.jpg"] if form == "microsoft" else [])
    counts = splits_of(taken_in(made.path))
    assert counts.total() == 50
    assert counts[("test", "cat")] == counts[("test", "dog")] == 5
    assert counts[("val", "dog")] == 4


def test_pictures_of_dogs_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="PetImages"):
        make_cats_vs_dogs(tmp_path / "made.zip", lay_out(tmp_path / "x", {"train/dog.1.jpg": JPEG}))


# Waterbirds, CelebA, Backgrounds Challenge


@pytest.mark.parametrize("form", ["folder", "tar.gz"])
def test_waterbirds_as_its_authors_ship_it(tmp_path: Path, form: str) -> None:
    top = "waterbird_complete95_forest2water2/"
    files = waterbirds(top)
    source = tmp_path / "download"
    if form == "folder":
        lay_out(source, files)
    else:
        source.write_bytes(tar_bytes(files, "w:gz"))
    index = taken_in(make_waterbirds(tmp_path / "made.zip", source))
    assert (index.layout, len(index), index.classes) == ("waterbirds", 12, ("landbird", "waterbird"))
    del files[f"{top}001.Crow/3.jpg"]
    with pytest.raises(ArchiveError, match=r"3\.jpg"):
        make_waterbirds(tmp_path / "made.zip", lay_out(tmp_path / "holes", files))


@pytest.mark.parametrize("form", ["csv", "text", "text and zip"])
def test_celeba_with_any_target_and_attribute(tmp_path: Path, form: str) -> None:
    pictures, tables = celeba("csv" if form == "csv" else "txt")
    files = tables | ({"img_align_celeba.zip": zip_bytes(pictures)} if form == "text and zip" else pictures)
    source = lay_out(tmp_path / "celeba", files)
    index = taken_in(make_celeba(tmp_path / "made.zip", source, target="Smiling", attribute="Blond_Hair"))
    assert set(index.classes) == {"Smiling", "not Smiling"}
    assert [index.classes[label] == "Smiling" for label in index.label] == [bool(i >> 2 & 1) for i in range(24)]
    assert [index.attributes[0].values[value] for value in index.attribute[:, 0]] == [
        ("no", "yes")[i & 1] for i in range(24)
    ]
    assert index.split.tolist() == [i // 8 for i in range(24)]
    with pytest.raises(ArchiveError, match="Green_Hair"):
        make_celeba(tmp_path / "made.zip", source, target="Green_Hair")


def test_in9l_and_all_eight_test_sets(tmp_path: Path) -> None:
    challenge, training = backgrounds()
    (tmp_path / "challenge.tar.gz").write_bytes(tar_bytes(challenge, "w:gz"))
    (tmp_path / "in9l.tar.gz").write_bytes(tar_bytes(training, "w:gz"))
    index = taken_in(make_backgrounds(tmp_path / "made.zip", tmp_path / "challenge.tar.gz", tmp_path / "in9l.tar.gz"))
    assert index.layout == "backgrounds_challenge"
    assert index.split_names == ("train", "val", *sorted(f"test:{variant}" for variant in VARIANTS))
    assert len(index) == 40
    part = lay_out(tmp_path / "part", {name: IMAGE for name in challenge if "mixed_rand" not in name})
    with pytest.raises(ArchiveError, match="no images of mixed_rand"):
        make_backgrounds(tmp_path / "made.zip", part, tmp_path / "in9l.tar.gz")


def test_a_download_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="does not exist"):
        make_waterbirds(tmp_path / "made.zip", tmp_path / "nowhere")
