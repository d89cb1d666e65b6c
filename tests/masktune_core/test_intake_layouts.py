"""Every layout a data set may come in, and what is wrong with it when it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktune_core.data.archive import Attribute
from masktune_core.data.dataset import Dataset
from masktune_core.intake import CelebaOptions, IntakeOptions, normalise
from masktune_core.intake.layouts.backgrounds import VARIANTS
from masktune_core.intake.splits import seeded_splits, split_name, split_of_folder
from tests.masktune_core.archives import Files, table
from tests.masktune_core.intake_runs import IMAGE, problems_of, rows_of, take_in


def test_waterbirds_as_wilds_ships_it(tmp_path: Path) -> None:
    rows = [(i, f"001.Crow/{i}.jpg", i % 2, i // 4, i // 2 % 2, "/o/ocean/1.jpg") for i in range(12)]
    files = {f"waterbirds/001.Crow/{i}.jpg": IMAGE for i in range(12)}
    columns = "img_id,img_filename,y,split,place,place_filename"
    files["waterbirds/metadata.csv"] = table(rows, columns)
    index = take_in(tmp_path, files).index
    assert index.layout == "waterbirds"
    assert index.classes == ("landbird", "waterbird")
    assert index.attributes == (Attribute("place", ("land", "water")),)
    assert index.split_names == ("train", "val", "test")
    with Dataset.open(tmp_path / "n.zip") as dataset:
        assert dataset.group_names[1] == "landbird · place=water"
        assert Counter(dataset.groups.tolist()) == {0: 3, 1: 3, 2: 3, 3: 3}
    files["waterbirds/metadata.csv"] = table([*rows[1:], (0, "001.Crow/0.jpg", 2, 3, "", "")], columns)
    assert problems_of(tmp_path, files) == [
        ("metadata_invalid", "metadata.csv:13"),
        ("split_unknown", "metadata.csv:13"),
        ("metadata_invalid", "metadata.csv:13"),
    ]


class TestCeleba:
    COLUMNS = ("Blond_Hair", "Male", "Smiling")

    def files(self, folder: str = "img_align_celeba/img_align_celeba/") -> dict[str, bytes]:
        values = [(f"{i:06d}.jpg", *(1 if i >> bit & 1 else -1 for bit in range(3)), i // 8) for i in range(24)]
        return {f"{folder}{row[0]}": IMAGE for row in values} | {
            "list_attr_celeba.csv": table([row[:4] for row in values], "image_id," + ",".join(self.COLUMNS)),
            "list_eval_partition.csv": table([(row[0], row[4]) for row in values], "image_id,partition"),
        }

    @pytest.mark.parametrize("folder", ["img_align_celeba/img_align_celeba/", "img_align_celeba/", ""])
    def test_hair_against_gender_wherever_the_pictures_lie(self, tmp_path: Path, folder: str) -> None:
        index = take_in(tmp_path, self.files(folder)).index
        assert index.layout == "celeba"
        assert index.classes == ("not Blond_Hair", "Blond_Hair")
        assert index.attributes == (Attribute("Male", ("no", "yes")),)
        assert index.label.tolist() == [i & 1 for i in range(24)]
        assert index.attribute[:, 0].tolist() == [i >> 1 & 1 for i in range(24)]
        assert index.split.tolist() == [i // 8 for i in range(24)]

    def test_any_other_target_and_attribute(self, tmp_path: Path) -> None:
        options = CelebaOptions(target="Smiling", attribute="Blond_Hair")
        index = take_in(tmp_path, self.files(), celeba=options).index
        assert index.classes == ("not Smiling", "Smiling")
        assert index.label.tolist() == [i >> 2 & 1 for i in range(24)]
        assert index.attribute[:, 0].tolist() == [i & 1 for i in range(24)]

    def test_an_unknown_target_is_named(self, tmp_path: Path) -> None:
        options = CelebaOptions(target="Green_Hair")
        assert problems_of(tmp_path, self.files(), celeba=options) == [("metadata_invalid", "list_attr_celeba.csv")]

    def test_faults_are_named(self, tmp_path: Path) -> None:
        files = self.files()
        del files["img_align_celeba/img_align_celeba/000003.jpg"]
        files["list_eval_partition.csv"] = files["list_eval_partition.csv"].replace(b"000004.jpg,0", b"000004.jpg,7")
        files["list_attr_celeba.csv"] = files["list_attr_celeba.csv"].replace(b"000005.jpg,1", b"000005.jpg,2")
        assert problems_of(tmp_path, files) == [
            ("split_unknown", "list_eval_partition.csv:6"),
            ("missing_file", "list_attr_celeba.csv:5"),
            ("missing_split", "list_attr_celeba.csv:6"),
            ("metadata_invalid", "list_attr_celeba.csv:7"),
        ]


class TestBackgrounds:
    LABELS = ("00_dog", "01_bird", "02_wheeled vehicle")

    def variants(self) -> dict[str, bytes]:
        return {
            f"{variant}/val/{label}/{i}.JPEG": IMAGE for variant in VARIANTS for label in self.LABELS for i in (0, 1)
        }

    def training(self, folder: str) -> dict[str, bytes]:
        return {f"{folder}{label}/n{i}.JPEG": IMAGE for label in self.LABELS for i in range(3)}

    @pytest.mark.parametrize("training", ["in9l/", ""])
    def test_all_eight_variants_are_named_test_sets(self, tmp_path: Path, training: str) -> None:
        files = self.variants() | self.training(f"{training}train/") | self.training(f"{training}val/")
        index = take_in(tmp_path, {f"bg_challenge/{name}": content for name, content in files.items()}).index
        assert index.layout == "backgrounds_challenge"
        assert index.classes == ("dog", "bird", "wheeled vehicle")
        assert index.split_names == ("train", "val", *sorted(f"test:{variant}" for variant in VARIANTS))
        assert len(index) == 8 * 6 + 9 + 9
        assert ("mixed_rand/val/01_bird/0.JPEG", "test:mixed_rand", "bird") in rows_of(index)

    def test_the_original_training_set_serves_where_there_is_no_other(self, tmp_path: Path) -> None:
        files = self.variants() | self.training("original/train/") | self.training("mixed_rand/train/")
        report = take_in(tmp_path, files)
        assert report.summary["splits"]["train"]["count"] == 9
        assert {problem.code for problem in report.problems} == {"files_ignored", "val_missing"}

    def test_the_challenge_alone_cannot_be_trained_on(self, tmp_path: Path) -> None:
        assert problems_of(tmp_path, self.variants()) == [("missing_split", "train")]


class TestFolders:
    def test_split_class_image(self, tmp_path: Path) -> None:
        files = {
            f"{split}/{label}/{name}": IMAGE
            for split in ("training", "validation", "test", "test_dark", "test-far.1")
            for label in ("cat", "dog")
            for name in ("1.png", "deep/2.png")
        }
        report = take_in(tmp_path, files | {"README.txt": b"hello", "train.csv": b"x"})
        assert report.index.layout == "split_folders"
        assert report.index.split_names == ("train", "val", "test", "test:dark", "test:far.1")
        assert ("test_dark/dog/deep/2.png", "test:dark", "dog") in rows_of(report.index)
        assert [(p.code, p.severity) for p in report.problems] == [("files_ignored", "warning")]

    def test_an_unknown_split_folder_is_named_once(self, tmp_path: Path) -> None:
        files = {f"{split}/{c}/{i}.png": IMAGE for split in ("train", "test", "more") for c in "ab" for i in (1, 2)}
        assert problems_of(tmp_path, files) == [("split_unknown", "more")]

    @pytest.mark.parametrize("missing", ["train", "test"])
    def test_a_missing_split_is_named(self, tmp_path: Path, missing: str) -> None:
        files = {f"{split}/{c}/1.png": IMAGE for split in ("train", "val", "test") if split != missing for c in "ab"}
        assert ("missing_split", missing) in problems_of(tmp_path, files)

    @pytest.mark.parametrize("top", ["", "photos/"])
    def test_class_image_is_split_by_the_seed(self, tmp_path: Path, top: str) -> None:
        files = {f"{top}{label}/{i}.png": IMAGE for label in ("cat", "dog") for i in range(20)}
        report = take_in(tmp_path, files)
        assert report.index.layout == "class_folders"
        counts = {split: entry["classes"] for split, entry in report.summary["splits"].items()}
        assert counts == {split: {"cat": n, "dog": n} for split, n in (("train", 14), ("val", 2), ("test", 4))}
        again = normalise(tmp_path / "upload", tmp_path / "n.zip", options=IntakeOptions(seed=0))
        other = normalise(tmp_path / "upload", tmp_path / "n.zip", options=IntakeOptions(seed=1))
        assert rows_of(again.index) == rows_of(report.index) != rows_of(other.index)

    def test_one_class_is_too_few(self, tmp_path: Path) -> None:
        assert problems_of(tmp_path, {f"cat/{i}.png": IMAGE for i in range(9)}) == [("one_class", "label")]

    @pytest.mark.parametrize(
        "files",
        [
            {"notes.txt": b"hello"},
            {"1.png": IMAGE},
            {"x/a/b/1.png": IMAGE, "y/1.png": IMAGE},
            {"x/a/1.png": IMAGE, "y/b/2.png": IMAGE},
        ],
    )
    def test_anything_else_is_no_known_layout(self, tmp_path: Path, files: Files) -> None:
        assert problems_of(tmp_path, files) == [("layout_unknown", "")]

    @given(st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from("abc"), max_size=60), st.integers(0, 9))
    def test_a_seeded_split_has_fixed_shares_and_ignores_the_order(self, labels: dict[str, str], seed: int) -> None:
        names = sorted(labels)
        splits = dict(zip(names, seeded_splits(names, [labels[name] for name in names], seed), strict=True))
        backwards = names[::-1]
        assert splits == dict(
            zip(backwards, seeded_splits(backwards, [labels[name] for name in backwards], seed), strict=True)
        )
        for label in "abc":
            counts = Counter(splits[name] for name in names if labels[name] == label)
            total = counts.total()
            if total >= 3:
                assert counts["test"] == max(round(0.2 * total), 1)
                assert counts["val"] == max(round(0.1 * total), 1)
            elif total:
                assert (counts["train"], counts["val"], counts["test"]) == (1, 0, total - 1)


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("Train", "train"),
        ("dev", "val"),
        ("test:a-b.1", "test:a-b.1"),
        ("test:", None),
        ("test:a b", None),
        ("x", None),
    ],
)
def test_split_names(text: str, split: str | None) -> None:
    assert split_name(text) == split


@pytest.mark.parametrize(
    ("folder", "split"), [("test_x", "test:x"), ("testing", "test"), ("tests", None), ("test_", None)]
)
def test_split_folders(folder: str, split: str | None) -> None:
    assert split_of_folder(folder) == split
