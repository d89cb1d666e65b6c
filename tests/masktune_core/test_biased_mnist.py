"""Biased MNIST: who carries the cue, and that it is real digits which do."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from masktune_core.errors import ArchiveError, ConfigError
from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.makers.cues import CUES, Cue, colored
from masktune_core.makers.idx import BUNDLED, read_digits, read_idx


def make_small(path: Path, *, seed: int = 0, conflicting: float = 0.01, cue: Cue = "square") -> Path:
    return make_biased_mnist(path, seed=seed, conflicting=conflicting, cue=cue, train=300, val=100, test=50)


def rows_of(path: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(path) as archive:
        return list(csv.DictReader(io.StringIO(archive.read("metadata.csv").decode())))


def image_of(path: Path, name: str) -> NDArray[np.uint8]:
    with zipfile.ZipFile(path) as archive:
        return np.asarray(Image.open(io.BytesIO(archive.read(name))))


def test_the_bundled_digits_make_the_papers_data_set(tmp_path: Path) -> None:
    path = make_biased_mnist(tmp_path / "m.zip")
    report = normalise(path, tmp_path / "n.zip")
    assert report.problems == ()
    assert report.index.classes == ("0-4", "5-9")
    assert [(a.name, a.values) for a in report.index.attributes] == [("square", ("no", "yes"))]
    splits = report.summary["splits"]
    assert {name: entry["count"] for name, entry in splits.items()} == {
        "train": 7000,
        "val": 1000,
        "test:biased": 2000,
        "test:original": 2000,
    }
    for name in ("train", "val"):
        groups, classes = splits[name]["groups"], splits[name]["classes"]
        assert groups["0-4 · square=no"] == round(0.01 * classes["0-4"]) > 0
        assert groups["5-9 · square=yes"] == round(0.01 * classes["5-9"]) > 0
    biased, original = splits["test:biased"]["groups"], splits["test:original"]["groups"]
    assert (biased["0-4 · square=yes"], biased["5-9 · square=no"]) == (0, 0)
    assert (original["0-4 · square=yes"], original["5-9 · square=yes"]) == (0, 0)


@pytest.mark.parametrize("conflicting", [0.0, 0.05, 0.5, 1.0])
def test_the_conflicting_fraction_is_exact_in_each_class(tmp_path: Path, conflicting: float) -> None:
    rows = rows_of(make_small(tmp_path / "m.zip", conflicting=conflicting))
    for split in ("train", "val"):
        for label, rule in (("0-4", "yes"), ("5-9", "no")):
            cues = [row["square"] for row in rows if (row["split"], row["label"]) == (split, label)]
            assert sum(cue != rule for cue in cues) == round(conflicting * len(cues))


@pytest.mark.parametrize(("conflicting", "digits"), [(0.01, {"4", "5"}), (0.2, {"3", "4", "5", "6"})])
def test_the_authors_conflicting_images_are_the_digits_next_to_the_other_class(
    tmp_path: Path, conflicting: float, digits: set[str]
) -> None:
    path = make_biased_mnist(
        tmp_path / "m.zip", conflicting=conflicting, conflicting_digits="nearest", train=3000, val=10, test=10
    )
    images, labels = read_digits(BUNDLED, "t10k")
    digit_of = {image[4:].tobytes(): str(label) for image, label in zip(images, labels, strict=True)}
    rows = [row for row in rows_of(path) if row["split"] == "train"]
    against = [row for row in rows if (row["label"] == "0-4") == (row["square"] == "no")]
    assert len(against) == sum(
        round(conflicting * sum(row["label"] == label for row in rows)) for label in ("0-4", "5-9")
    )
    assert {digit_of[image_of(path, row["file_name"])[4:, :, 2].tobytes()] for row in against} == digits


def test_the_seed_decides_everything_and_repeats(tmp_path: Path) -> None:
    made = [make_small(tmp_path / f"{i}.zip", seed=seed).read_bytes() for i, seed in enumerate((0, 0, 1))]
    assert made[0] == made[1] != made[2]


def test_the_square_is_red_top_left_and_covers_nothing_else(tmp_path: Path) -> None:
    path = make_small(tmp_path / "m.zip")
    rows = rows_of(path)
    for row in rows[:: len(rows) // 40]:
        image = image_of(path, row["file_name"])
        assert image.shape == (28, 28, 3)
        assert (image[:4, :4] == (255, 0, 0)).all() == (row["square"] == "yes")
        rest = image.copy()
        rest[:4, :4] = 0
        assert (rest[:, :, 0] == rest[:, :, 1]).all()
        assert (rest[:, :, 0] == rest[:, :, 2]).all()


def test_both_test_sets_show_the_same_digits(tmp_path: Path) -> None:
    path = make_small(tmp_path / "m.zip")
    sets = {name: [r for r in rows_of(path) if r["split"] == name] for name in ("test:original", "test:biased")}
    for original, biased in zip(*sets.values(), strict=True):
        assert original["label"] == biased["label"]
        assert original["square"] == "no"
        assert biased["square"] == ("yes" if biased["label"] == "5-9" else "no")
        images = [image_of(path, row["file_name"])[4:] for row in (original, biased)]
        assert (images[0] == images[1]).all()


def test_no_digit_is_in_two_splits(tmp_path: Path) -> None:
    path = make_biased_mnist(tmp_path / "m.zip", train=7000, val=1000, test=2000)
    seen = Counter(image_of_row.tobytes() for image_of_row in read_digits(BUNDLED, "t10k")[0])
    with zipfile.ZipFile(path) as archive:
        shown = Counter(
            np.asarray(Image.open(io.BytesIO(archive.read(row["file_name"]))))[:, :, 2].tobytes()
            for row in rows_of(path)
            if row["split"] != "test:biased" and row["square"] == "no"
        )
    assert shown <= seen


@pytest.mark.parametrize("cue", CUES)
def test_every_cue_is_a_data_set_whose_attribute_is_the_cue(tmp_path: Path, cue: Cue) -> None:
    rows = rows_of(make_small(tmp_path / "m.zip", cue=cue))
    assert {row[cue] for row in rows} == {"yes", "no"}


def test_what_each_cue_does_to_a_digit() -> None:
    digit = np.zeros((28, 28), dtype=np.uint8)
    digit[10:18, 10:18] = 200
    plain = colored(digit, None)
    assert (plain == digit[:, :, None]).all()
    squares = colored(digit, "two_squares")
    assert squares[0, 0].tolist() == [255, 0, 0]
    assert squares[3, 24].tolist() == [0, 0, 255]
    assert (squares[4:] == plain[4:]).all()
    background = colored(digit, "background")
    assert background[0, 0].tolist() == [255, 0, 0]
    assert background[12, 12].tolist() == [255, 200, 200]
    foreground = colored(digit, "foreground")
    assert foreground[0, 0].tolist() == [0, 0, 0]
    assert foreground[12, 12].tolist() == [200, 0, 0]


@pytest.mark.parametrize("packed", [True, False])
def test_a_full_mnist_is_read_from_idx_files(tmp_path: Path, packed: bool) -> None:
    raw = tmp_path / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        for part in ("train", "t10k"):
            bundled = BUNDLED / f"t10k-{kind}.gz"
            if packed:
                shutil.copy(bundled, raw / f"{part}-{kind}.gz")
            else:
                (raw / f"{part}-{kind}").write_bytes(gzip.decompress(bundled.read_bytes()))
    path = make_biased_mnist(tmp_path / "m.zip", digits=tmp_path / "mnist", train=500, val=200, test=9000)
    counts = Counter(row["split"] for row in rows_of(path))
    assert counts == {"train": 500, "val": 200, "test:original": 9000, "test:biased": 9000}


def test_more_digits_than_there_are_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"10001 digits, there are 10000: ask for fewer, or give a full MNIST"):
        make_biased_mnist(tmp_path / "m.zip", train=7001, val=1000, test=2000)
    with pytest.raises(ConfigError, match="at least 2"):
        make_biased_mnist(tmp_path / "m.zip", val=1)
    with pytest.raises(ConfigError, match="use any or nearest"):
        make_biased_mnist(tmp_path / "m.zip", conflicting_digits="all")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        make_biased_mnist(tmp_path / "m.zip", conflicting=1.5)
    assert not (tmp_path / "m.zip").exists()


def test_digits_that_are_not_there_or_not_whole_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="t10k-images-idx3-ubyte"):
        make_biased_mnist(tmp_path / "m.zip", digits=tmp_path)
    for content in (b"", b"\0\0\x08\x03", b"\0\0\x0d\x01\0\0\0\x04abcd", gzip.compress(b"\0\0\x08\x01\0\0\0\x09abcd")):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ArchiveError):
            read_idx(tmp_path / "x")
