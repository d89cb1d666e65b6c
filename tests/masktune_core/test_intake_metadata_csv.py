"""The layout with a metadata.csv, and what is wrong with it when it is."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masktune_core.data.archive import Attribute
from masktune_core.intake import normalise
from tests.masktune_core.archives import table, two_classes
from tests.masktune_core.intake_runs import IMAGE, problems_of, rows_of, take_in


class TestMetadataCsv:
    def test_columns_beside_the_three_are_attributes(self, tmp_path: Path) -> None:
        rows = [
            (f"{i}.png", "cat" if i % 2 else "dog", "train" if i < 6 else "test:far", "sea" if i % 3 else "", i)
            for i in range(9)
        ]
        files = {f"{i}.png": IMAGE for i in range(9)}
        report = take_in(tmp_path, files | {"metadata.csv": table(rows, "file_name,label,split,place,id")})
        index = report.index
        assert index.layout == "metadata_csv"
        assert index.classes == ("cat", "dog")
        assert index.attributes[0] == Attribute("place", ("sea",))
        assert index.attribute[:, 0].tolist() == [-1, 0, 0] * 3
        assert rows_of(index) == {(row[0], row[2], row[1]) for row in rows}
        assert report.summary["splits"]["test:far"] == {
            "count": 3,
            "classes": {"cat": 1, "dog": 2},
            "groups": {"cat · place=sea": 1, "dog · place=sea": 1},
        }

    def test_integer_labels_are_ordered_by_value(self, tmp_path: Path) -> None:
        rows = [(f"{i}.png", 10 - i, "train" if i % 2 else "test") for i in range(10)]
        index = take_in(tmp_path, {f"{i}.png": IMAGE for i in range(10)} | {"metadata.csv": table(rows)}).index
        assert index.classes == tuple(map(str, range(1, 11)))
        assert index.label.tolist() == [9 - i for i in range(10)]

    def test_columns_may_come_in_any_order_with_a_bom_quotes_and_crlf(self, tmp_path: Path) -> None:
        files = two_classes()
        lines = [line.split(",") for line in files["metadata.csv"].decode().splitlines()]
        text = "\r\n".join(",".join(f'"{cell}"' for cell in reversed(line)) for line in lines)
        files["metadata.csv"] = b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n"
        assert len(take_in(tmp_path, files).index) == 12

    def test_usual_names_of_splits_are_understood(self, tmp_path: Path) -> None:
        files = two_classes()
        files["metadata.csv"] = files["metadata.csv"].replace(b",val\n", b",Validation\n")
        assert take_in(tmp_path, files).index.split_names == ("train", "val", "test")

    def test_a_column_with_a_value_per_image_is_no_attribute(self, tmp_path: Path) -> None:
        rows = [(f"{i}.png", i % 2, "train" if i % 4 < 2 else "test", f"caption {i}") for i in range(120)]
        files = {f"{i}.png": IMAGE for i in range(120)}
        report = take_in(tmp_path, files | {"metadata.csv": table(rows, "file_name,label,split,caption")})
        assert report.index.attributes == ()
        assert ("attribute_ignored", "caption") in [(p.code, p.where) for p in report.problems]

    def test_images_it_does_not_name_are_left_out_and_counted(self, tmp_path: Path) -> None:
        report = take_in(tmp_path, two_classes() | {"x.png": IMAGE, "y.png": IMAGE, "read.me": b""})
        (problem,) = report.problems
        assert (problem.code, problem.where, problem.severity) == ("files_ignored", "x.png", "warning")
        assert "(2)" in problem.message

    def test_our_own_archive_can_be_taken_in_again(self, tmp_path: Path) -> None:
        first = take_in(tmp_path, two_classes()).index
        again = normalise(tmp_path / "n.zip", tmp_path / "again.zip").index
        assert again.classes == first.classes
        assert again.attributes == first.attributes
        assert again.names == [f"images/{name}" for name in first.names]

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ((b"file_name,label,split", b"file_name,label"), ("missing_split", "metadata.csv")),
            ((b"file_name,label,split", b"file_name,klass,split"), ("metadata_invalid", "metadata.csv")),
            ((b"file_name,label,split", b"label,label,split"), ("metadata_invalid", "metadata.csv")),
            ((b"train/0.png,a,train", b"train/9.png,a,train"), ("missing_file", "metadata.csv:2")),
            ((b"train/0.png,a,train", b"../0.png,a,train"), ("metadata_invalid", "metadata.csv:2")),
            ((b"train/0.png,a,train", b"train/0.png,,train"), ("metadata_invalid", "metadata.csv:2")),
            ((b"train/0.png,a,train", b"train/0.png,a,"), ("missing_split", "metadata.csv:2")),
            ((b"train/0.png,a,train", b"train/0.png,a,holdout"), ("split_unknown", "metadata.csv:2")),
            ((b"train/0.png,a,train", b"train/0.png,a,test:"), ("split_unknown", "metadata.csv:2")),
            ((b"train/0.png,a,train", b"train/1.png,a,train"), ("duplicate_name", "metadata.csv:3")),
            ((b"train/0.png,a,train", b"train/0.png,a"), ("metadata_invalid", "metadata.csv:2")),
            ((b"train/0.png,a,train", b'"train/0.png,a,train'), ("metadata_invalid", "metadata.csv:13")),
            ((b"train/0.png,a,train", b"train/0.png,\xff,train"), ("metadata_invalid", "metadata.csv")),
            ((b",a,", b",%s," % (b"a" * 81)), ("metadata_invalid", "a" * 81)),
            ((b",a,", b",a\0,"), ("metadata_invalid", "a\\x00")),
            ((b",train\n", b",val\n"), ("missing_split", "train")),
            ((b",test\n", b",val\n"), ("missing_split", "test")),
            ((b",b,train", b",a,train"), ("one_class", "label")),
        ],
    )
    def test_each_fault_is_named_with_its_place(
        self, tmp_path: Path, change: tuple[bytes, bytes], problem: tuple[str, str]
    ) -> None:
        files = two_classes()
        assert change[0] in files["metadata.csv"]
        files["metadata.csv"] = files["metadata.csv"].replace(*change)
        assert problem in problems_of(tmp_path, files)

    def test_all_faults_are_found_at_once(self, tmp_path: Path) -> None:
        files = two_classes() | {"val/3.png": b"broken", "../x": b""}
        files["metadata.csv"] = files["metadata.csv"].replace(b"0.png,a,test", b"0.png,a,tset")
        del files["train/2.png"]
        assert Counter(code for code, _ in problems_of(tmp_path, files)) == {
            "unsafe_path": 1,
            "missing_file": 1,
            "split_unknown": 1,
            "image_corrupt": 1,
        }

    def test_without_a_validation_split_it_warns(self, tmp_path: Path) -> None:
        files = two_classes()
        files["metadata.csv"] = files["metadata.csv"].replace(b",val\n", b",train\n")
        report = take_in(tmp_path, files)
        assert [problem.code for problem in report.problems] == ["val_missing"]

    def test_a_table_without_rows_is_empty(self, tmp_path: Path) -> None:
        assert problems_of(tmp_path, {"metadata.csv": table([])}) == [("archive_empty", "")]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["a", "b", "c d", 'say "x"', "1,5", "é"]),
                st.sampled_from(["train", "val", "test", "test:x.1"]),
                st.sampled_from(["", "0", "red, or not", "ü"]),
            ),
            min_size=1,
            max_size=12,
        )
    )
    def test_every_row_arrives_as_it_was_written(self, tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["split", "file_name", "hue", "label"])
        writer.writerows([(split, f"{i:02d}.png", hue, label) for i, (label, split, hue) in enumerate(rows)])
        files = {f"{i:02d}.png": IMAGE for i in range(len(rows))} | {"metadata.csv": text.getvalue().encode()}
        trained = {label for label, split, _ in rows if split == "train"}
        tested = any(split.startswith("test") for _, split, _ in rows)
        if len(trained) < 2 or not tested:
            assert {code for code, _ in problems_of(tmp_path, files)} <= {"one_class", "missing_split"}
            return
        index = take_in(tmp_path, files).index
        assert [index.classes[label] for label in index.label] == [row[0] for row in rows]
        assert [index.split_names[split] for split in index.split] == [row[1] for row in rows]
        hues = index.attributes[0].values if index.attributes else ()
        found = [hues[value] if value >= 0 else "" for value in index.attribute[:, 0]] if hues else [""] * len(rows)
        assert found == [row[2] for row in rows]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
    @given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: b"file_name,label,split\n" + text.encode()))
    def test_no_table_is_too_strange(self, tmp_path: Path, content: bytes) -> None:
        assert problems_of(tmp_path, {"metadata.csv": content, "a.png": IMAGE})
