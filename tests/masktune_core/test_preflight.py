"""The report of a data set says what it is like, and where a job could not help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.preflight import preflight
from masktune_core.preflight.association import contingency, cramers_v
from masktune_core.preflight.duplicates import exact_pairs, similar_pairs
from masktune_core.preflight.warnings import warnings_of
from tests.masktune_core.archives import Files, encoded, picture, png, table, two_classes, zip_bytes


def report_of(folder: Path, files: Files) -> dict[str, Any]:
    (folder / "upload").write_bytes(zip_bytes(files))
    report = preflight(folder / "n.zip", normalise(folder / "upload", folder / "n.zip"))
    json.dumps(report)
    return report


def scene(seed: int, side: int = 64) -> Image.Image:
    """A smooth random picture, as photographs are."""
    noise = Image.fromarray(picture(seed, 12, 12)).resize((side, side), Image.Resampling.BICUBIC)
    return noise.filter(ImageFilter.GaussianBlur(2))


def codes(report: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in report["warnings"]}


def test_a_biased_data_set_shows_its_shortcut(tmp_path: Path) -> None:
    made = make_biased_mnist(tmp_path / "digits.zip", train=600, val=100, test=100)
    report = preflight(tmp_path / "n.zip", normalise(made, tmp_path / "n.zip"))
    assert report["images"] == sum(split["count"] for split in report["splits"].values())
    assert [each["name"] for each in report["classes"]] == ["0-4", "5-9"]
    (square,) = report["attributes"]
    assert square["cramers_v"]["train"] > 0.9
    assert square["cramers_v"]["test:original"] is None
    assert square["groups"]["train"].keys() == report["splits"]["train"]["groups"].keys()
    assert report["sizes"]["most_frequent"] == [{"width": 28, "height": 28, "count": report["images"]}]
    assert report["duplicates"]["exact"]["images"] == 0
    assert "group_empty" in codes(report)
    assert "attribute_determines_label" not in codes(report)


def test_images_in_two_splits_are_found_byte_for_byte_and_by_their_looks(tmp_path: Path) -> None:
    files = {f"train/{'ab'[i % 2]}/{i}.png": encoded(scene(i), "png") for i in range(20)}
    files |= {f"test/{'ab'[i % 2]}/{i}.png": encoded(scene(100 + i), "png") for i in range(20)}
    files["test/a/same.png"] = files["train/a/0.png"]
    files["val/b/like.jpg"] = encoded(scene(1), "jpeg", quality=80)
    files["test/a/small.png"] = encoded(scene(2).resize((48, 48), Image.Resampling.LANCZOS), "png")
    report = report_of(tmp_path, files)
    exact, similar = report["duplicates"]["exact"], report["duplicates"]["similar"]
    assert exact["between"] == [{"splits": ["train", "test"], "count": 1}]
    assert exact["examples"] == [["train/a/0.png", "test/a/same.png"]]
    assert sorted(similar["examples"]) == [["train/a/2.png", "test/a/small.png"], ["train/b/1.png", "val/b/like.jpg"]]
    assert similar["complete"]
    assert {"duplicates_across_splits", "similar_across_splits"} <= codes(report)


def test_different_digits_are_no_duplicates(tmp_path: Path) -> None:
    made = make_biased_mnist(tmp_path / "digits.zip", train=2000, val=200, test=200)
    similar = preflight(tmp_path / "n.zip", normalise(made, tmp_path / "n.zip"))["duplicates"]["similar"]
    own = [each for each in similar["between"] if each["splits"][0] == "train"]
    assert sum(each["count"] for each in own) <= 2


def labelled(rows: list[tuple[str, str, str]]) -> dict[str, bytes]:
    """Images with (label, split, attribute)."""
    names = [(f"{i}.png", *row) for i, row in enumerate(rows)]
    images = {name: png(picture(i, 24, 24)) for i, (name, *_) in enumerate(names)}
    return {"metadata.csv": table(names, "file_name,label,split,place")} | images


def test_a_shortcut_without_counterexamples_is_warned_of(tmp_path: Path) -> None:
    rows = [
        (label, split, "land" if label == "cow" else "sea") for split in ("train", "test") for label in ("cow", "cod")
    ]
    report = report_of(tmp_path, labelled(rows * 3))
    assert report["attributes"][0]["cramers_v"] == {"train": 1.0, "test": 1.0}
    assert {"attribute_determines_label", "group_empty", "group_small", "no_validation_split"} <= codes(report)


def test_an_attribute_that_tells_nothing_is_no_shortcut(tmp_path: Path) -> None:
    rows = [(label, split, place) for split in ("train", "test") for label in "ab" for place in ("land", "sea")]
    report = report_of(tmp_path, labelled(rows * 3))
    assert report["attributes"][0]["cramers_v"]["train"] == pytest.approx(0.0)
    assert "attribute_independent" in codes(report)


def test_classes_that_are_missing_or_rare_are_warned_of(tmp_path: Path) -> None:
    rows = [("a", "train", "x")] * 60 + [("b", "train", "x")] * 2 + [("a", "test", "x"), ("c", "test", "y")]
    report = report_of(tmp_path, labelled(rows))
    assert report["imbalance"] == 30.0
    assert {"class_not_trained", "class_not_tested", "few_of_class", "imbalanced", "few_training_images"} <= codes(
        report
    )


def test_tiny_images_without_attributes(tmp_path: Path) -> None:
    assert {"tiny_images", "no_attributes"} <= codes(report_of(tmp_path, two_classes()))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3)), max_size=60))
def test_cramers_v_is_between_none_and_one_and_blind_to_order(rows: list[tuple[int, int]]) -> None:
    labels, values = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    counts = contingency(labels, values, 3, 4)
    assert counts.sum() == (values >= 0).sum()
    strength = cramers_v(counts)
    assert strength is None or 0.0 <= strength <= 1.0
    swapped = cramers_v(counts.T)
    assert (strength is None) == (swapped is None)
    assert strength is None or strength == pytest.approx(swapped)


def test_cramers_v_of_known_tables() -> None:
    assert cramers_v(np.array([[10, 0], [0, 7]])) == pytest.approx(1.0)
    assert cramers_v(np.array([[10, 20], [20, 40]])) == pytest.approx(0.0)
    assert cramers_v(np.array([[30, 10], [10, 30]])) == pytest.approx(0.5)
    assert cramers_v(np.array([[3, 4], [0, 0]])) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=40))
def test_exact_pairs_are_those_of_a_plain_search(rows: list[tuple[int, int]]) -> None:
    digests = np.array([(value, 7) for value, _ in rows], dtype=np.uint64).reshape(-1, 2)
    splits = np.array([split for _, split in rows], dtype=np.int16)
    found = {tuple(pair) for pair in exact_pairs(digests, splits).tolist()}
    expected = set()
    for other in range(len(rows)):
        same = [i for i in range(len(rows)) if rows[i][0] == rows[other][0]]
        first = min(same, key=lambda i: (splits[i], i))
        if splits[first] < splits[other]:
            expected.add((first, other))
    assert found == expected


def test_hashes_that_nearly_agree_are_found_wherever_they_differ() -> None:
    base = 0x0F1E2D3C4B5A6978
    hashes = np.array([base, base ^ (1 << 3) ^ (1 << 40), base ^ 0b1111, 0, 0], dtype=np.uint64)
    pairs, whole = similar_pairs(hashes, np.array([0, 1, 1, 0, 1], dtype=np.int16))
    assert (pairs.tolist(), whole) == ([[0, 1]], True)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "1 image of val looks the same as an image of train: its accuracy is flattered"),
        (2, "2 images of val look the same as images of train: its accuracy is flattered"),
    ],
)
def test_one_leaked_image_is_not_told_as_many(tmp_path: Path, count: int, words: str) -> None:
    report = report_of(tmp_path, two_classes())
    report["duplicates"]["similar"]["between"] = [{"splits": ["train", "val"], "count": count}]
    assert words in [each["message"] for each in warnings_of(report)]
