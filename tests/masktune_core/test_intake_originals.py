"""Published data sets that are no image files by class: read from their archives as they are, and as the makers do."""

from __future__ import annotations

import io
import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from masktune_core.data.archive import ArchiveIndex
from masktune_core.data.dataset import Dataset
from masktune_core.errors import ArchiveError
from masktune_core.intake import IntakeOptions, IntakeReport, normalise
from masktune_core.intake.plain_pickle import read_plain_pickle
from masktune_core.makers.cats_vs_dogs import make_cats_vs_dogs
from masktune_core.makers.cifar10 import make_cifar10
from masktune_core.makers.svhn import make_svhn
from tests.masktune_core.archives import Files, picture, tar_bytes, zip_bytes
from tests.masktune_core.downloads import JPEG, Pixels, batch, celeba, cifar10, kaggle, lay_out, mat, microsoft, svhn
from tests.masktune_core.intake_runs import problems_of, rows_of, take_in


def read(folder: Path, content: bytes, seed: int = 0) -> IntakeReport:
    (folder / "upload").write_bytes(content)
    return normalise(folder / "upload", folder / "n.zip", options=IntakeOptions(seed=seed))


def assert_same_but_for_the_layout(folder: Path, ours: ArchiveIndex, made: Path) -> None:
    """What intake read is what it reads from the maker's archive: names, splits, classes and every byte."""
    theirs = normalise(made, folder / "made.normalised").index
    assert (rows_of(ours), ours.classes) == (rows_of(theirs), theirs.classes)
    with Dataset.open(folder / "n.zip") as one, Dataset.open(folder / "made.normalised") as other:
        assert all(one.read_encoded(index) == other.read_encoded(index) for index in range(len(ours)))


# CIFAR-10


def binary(images: Pixels, labels: list[int]) -> bytes:
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([np.array(labels, dtype=np.uint8)[:, None], planes], axis=1).tobytes()


def in_binary() -> dict[str, bytes]:
    _, images = cifar10()
    labels = [number % 10 for number in range(20)]
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    files = {f"cifar-10-batches-bin/{name}": binary(images[20 * i :][:20], labels) for i, name in enumerate(names)}
    return files | {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n", "cifar-10-batches-bin/readme.html": b"x"}


@pytest.mark.parametrize("form", ["cifar-10-python.tar.gz", "cifar-10-binary.tar.gz", "a torchvision root"])
def test_cifar10_as_its_author_ships_it(tmp_path: Path, form: str) -> None:
    files, images = cifar10()
    archive = tar_bytes(files, "w:gz")
    if form == "cifar-10-binary.tar.gz":
        archive = tar_bytes(in_binary(), "w:gz")
    if form == "a torchvision root":
        archive = zip_bytes({"data/cifar-10-python.tar.gz": archive, **{f"data/{k}": v for k, v in files.items()}})
    report = read(tmp_path, archive, seed=5)
    assert (report.index.layout, report.problems) == ("cifar10", ())
    assert report.summary["splits"]["val"]["classes"] == dict.fromkeys(report.index.classes, 2)
    with Dataset.open(tmp_path / "n.zip") as dataset:
        assert (dataset.read(report.index.names.index("test/airplane/000000.png")) == images[100]).all()
    source = lay_out(tmp_path / "download", files)
    assert_same_but_for_the_layout(tmp_path, report.index, make_cifar10(tmp_path / "made.zip", source, seed=5))


def test_the_binary_version_can_be_packed_too(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "download", in_binary())
    made = make_cifar10(tmp_path / "made.zip", source)
    assert_same_but_for_the_layout(tmp_path, read(tmp_path, zip_bytes(in_binary())).index, made)


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("was here",)


def shared(depth: int) -> list[Any]:
    """A list that would have ten to the power of `depth` numbers, were its parts not the same."""
    nested: list[Any] = [1] * 10
    for _ in range(depth - 1):
        nested = [nested] * 10
    return nested


ONE = np.zeros((1, 32, 32, 3), np.uint8)
ROW = np.zeros((1, 3072), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({b"labels": [Evil()], b"data": ROW}, protocol=2),
        pickle.dumps({b"labels": [1], b"data": np.array([Evil()], dtype=object)}, protocol=2),
        pickle.dumps({b"labels": [1], b"data": np.array([1], dtype=object)}, protocol=2),
        pickle.dumps({b"labels": [1], b"data": np.zeros((1, 3072), np.float64)}, protocol=2),
        pickle.dumps({b"labels": shared(30), b"data": ROW}, protocol=2),
        pickle.dumps({b"labels": [True], b"data": ROW}, protocol=2),
        pickle.dumps({b"labels": [1], b"data": b"x" * 3072}, protocol=2),
        pickle.dumps([1, 2]),
        batch(ONE, [10]),
        batch(ONE, [1])[:-200],
        b"",
        b"no pickle",
    ],
)
def test_a_batch_that_is_none_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    files = cifar10()[0] | {"cifar-10-batches-py/data_batch_3": content}
    assert problems_of(tmp_path, files) == [("archive_damaged", "cifar-10-batches-py/data_batch_3")]
    assert list((tmp_path / "cwd").iterdir()) == []


def test_an_array_cannot_be_led_to_take_bytes_for_objects() -> None:
    """NumPy's own `__setstate__` believes a dtype's flags, and takes the bytes of the file for addresses."""
    program = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08AAAAAAAAtb."
    )
    with pytest.raises(pickle.UnpicklingError, match="something else than bytes"):
        read_plain_pickle(program)


def test_what_a_stream_does_to_a_stand_in_is_gone_with_it() -> None:
    program = b"\x80\x02c_codecs\nencode\nN}U\x0c__defaults__U\x01xs\x86b."
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Python thinks of it
        read_plain_pickle(program)
    assert read_plain_pickle(pickle.dumps(b"\xff", protocol=2)) == b"\xff"


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    files = cifar10()[0]
    del files["cifar-10-batches-py/data_batch_4"]
    assert problems_of(tmp_path, files) == [("missing_file", "cifar-10-batches-py/data_batch_4")]


def test_binary_records_with_other_labels_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x0a" + bytes(3072), bytes(3072)):
        files = in_binary() | {"cifar-10-batches-bin/test_batch.bin": content}
        assert problems_of(tmp_path, files) == [("archive_damaged", "cifar-10-batches-bin/test_batch.bin")]


# SVHN


@pytest.mark.parametrize("folder", ["", "svhn/"])
def test_svhn_as_its_authors_ship_it(tmp_path: Path, folder: str) -> None:
    files, images = svhn(40, 10)
    named = {f"{folder}{name}": content for name, content in files.items()}
    report = read(tmp_path, zip_bytes(named | {f"{folder}extra_32x32.mat": b"x"}), seed=2)
    assert report.index.layout == "svhn"
    assert [(problem.code, problem.where) for problem in report.problems] == [
        ("files_ignored", f"{folder}extra_32x32.mat")
    ]
    with Dataset.open(tmp_path / "n.zip") as dataset:
        assert (dataset.read(report.index.names.index("test/0/000009.png")) == images[49]).all()
    made = make_svhn(tmp_path / "made.zip", lay_out(tmp_path / "download", files), seed=2)
    assert_same_but_for_the_layout(tmp_path, report.index, made)


def mat_of(**variables: Any) -> bytes:
    out = io.BytesIO()
    savemat(out, variables)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no MATLAB",
        mat_of(X=np.zeros((32, 32, 3, 2), np.uint8)),
        mat_of(X=np.zeros((32, 32, 3, 2), np.float64), y=np.ones((2, 1), np.uint8)),
        mat_of(X=np.zeros((32, 32, 3, 2), np.uint8), y=np.ones((3, 1), np.uint8)),
        mat_of(X=np.zeros((28, 28, 3, 2), np.uint8), y=np.ones((2, 1), np.uint8)),
        mat_of(X=np.zeros((32, 32, 3, 2), np.uint8), y=np.full((2, 1), 11, np.uint8)),
        mat_of(X=np.zeros((32, 32, 3, 2), np.uint8), y={"a": 1}),
        mat(np.stack([picture(0, 32, 32)] * 3), [1, 2, 3])[:-3000],
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400),
    ],
)
def test_a_file_that_is_no_svhn_is_named(tmp_path: Path, content: bytes) -> None:
    assert problems_of(tmp_path, svhn()[0] | {"train_32x32.mat": content}) == [("archive_damaged", "train_32x32.mat")]


def test_more_digits_than_a_file_may_hold_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masktune_core.intake.layouts.svhn._MOST_BYTES", 19 * 3072)
    (tmp_path / "upload").write_bytes(zip_bytes(svhn(20, 10)[0]))
    with pytest.raises(ArchiveError, match=r"20 images; the limit is 19"):
        normalise(tmp_path / "upload", tmp_path / "n.zip")


# Cats vs Dogs


@pytest.mark.parametrize("form", ["train.zip", "with test1", "without a folder"])
def test_cats_vs_dogs_as_on_kaggle(tmp_path: Path, form: str) -> None:
    files = kaggle()
    if form == "without a folder":
        files = {name.removeprefix("train/"): content for name, content in files.items()}
    others = {f"test1/{number}.jpg": JPEG for number in range(3)} if form == "with test1" else {}
    report = read(tmp_path, zip_bytes(files | others), seed=4)
    assert (report.index.layout, report.index.classes) == ("cats_vs_dogs", ("cat", "dog"))
    assert [problem.code for problem in report.problems] == (["files_ignored"] if others else [])
    made = make_cats_vs_dogs(tmp_path / "made.zip", lay_out(tmp_path / "download", kaggle()), seed=4)
    theirs = normalise(made.path, tmp_path / "made.normalised").index
    placed = {(name.rpartition("/")[2], split) for name, split, _ in rows_of(report.index)}
    assert placed == {(name.rpartition("/")[2], split) for name, split, _ in rows_of(theirs)}


def test_folders_of_cats_and_dogs_are_folders(tmp_path: Path) -> None:
    files = {f"{kind}s/{kind}.{number}.jpg": JPEG for kind in ("cat", "dog") for number in range(10)}
    assert take_in(tmp_path, files).index.layout == "class_folders"


# What is not read in place


def nested(name: str) -> Files:
    return {name: b"PK", "sample.csv": b"x"}


@pytest.mark.parametrize(
    ("files", "code", "way_out"),
    [
        (microsoft(), "layout_unknown", "masktune datasets make catsvsdogs"),
        (nested("train.zip"), "layout_unknown", "masktune datasets make catsvsdogs"),
        ({f"train/dog.{i}.jpg": JPEG for i in range(9)}, "one_class", "masktune datasets make catsvsdogs"),
        (celeba("txt")[0] | celeba("txt")[1], "one_class", "masktune datasets make celeba"),
        (nested("celeba/img_align_celeba.zip"), "layout_unknown", "masktune datasets make celeba"),
        (nested("cifar-10-python.tar.gz"), "layout_unknown", "masktune datasets make cifar10"),
        (nested("train_32x32.mat"), "layout_unknown", "masktune datasets make svhn"),
        (nested("MNIST/raw/t10k-images-idx3-ubyte"), "layout_unknown", "masktune datasets make biased-mnist"),
        (nested("photos.rar"), "layout_unknown", "upload what is in them"),
        ({f"cow/{i}.jpg": JPEG for i in range(9)}, "one_class", "masktune datasets make --help"),
        ({"notes.txt": b"x"}, "layout_unknown", "masktune datasets make --help"),
    ],
)
def test_an_archive_that_has_to_be_packed_first_is_told_how(
    tmp_path: Path, files: Files, code: str, way_out: str
) -> None:
    with pytest.raises(ArchiveError) as error:
        take_in(tmp_path, files)
    (problem,) = error.value.problems
    assert problem.code == code
    assert way_out in problem.message


def test_the_seed_of_the_options_draws_the_splits(tmp_path: Path) -> None:
    drawn = {seed: Counter(rows_of(read(tmp_path, zip_bytes(kaggle()), seed).index)) for seed in (0, 1)}
    assert drawn[0] != drawn[1]
