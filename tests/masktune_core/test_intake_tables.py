"""Whatever stands in a table, intake makes a plan of it or says what is wrong, in words that can be stored."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from masktune_core.errors import ArchiveError, Problem
from masktune_core.intake import IntakeOptions
from masktune_core.intake.findings import Findings
from masktune_core.intake.layouts import read_layout
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.members import Members
from masktune_core.intake.plan import Plan, make_plan

IMAGES = tuple(f"{number}.png" for number in range(8))
HEADS = {
    "metadata.csv": ["file_name,label,split,place", "img_filename,y,split,place", "file_name,label,split", "a,b"],
    "list_attr_celeba.csv": ["image_id,Blond_Hair,Male", "image_id,Male", "Male,Blond_Hair,image_id"],
    "list_eval_partition.csv": ["image_id,partition", "partition", "image_id,partition,image_id"],
}
CELLS = st.sampled_from(
    [*IMAGES[:3], "0", "1", "-1", "2", "train", "test", "test:x", "", "a", "é", "../0.png", "\0", '"']
)
ODD_CELLS = CELLS | st.text(max_size=20) | st.integers(1, 3).map(lambda number: "x" * (70_000 * number))


class InMemory:
    """An opened archive of eight images and some tables."""

    def __init__(self, tables: Mapping[str, bytes]) -> None:
        content = {**dict.fromkeys(IMAGES, b""), **tables}
        self._content = list(content.values())
        self.members = Members.sorted(list(content), [len(each) for each in self._content], range(len(content)))

    def read(self, position: int) -> bytes:
        return self._content[int(self.members.places[position])]


def outcome(tables: Mapping[str, bytes]) -> tuple[Plan | None, Sequence[Problem]]:
    """The plan, or None, with what was found; nothing but `ArchiveError` may be raised."""
    findings = Findings()
    try:
        plan = make_plan(read_layout(InMemory(tables), findings, IntakeOptions()), findings, IntakeLimits())
    except ArchiveError as error:
        return None, error.problems
    if findings.failed:
        return None, findings.as_error().problems
    return plan, findings.remarks()


def assert_is_told(tables: Mapping[str, bytes]) -> None:
    plan, problems = outcome(tables)
    assert plan is not None or any(problem.severity == "error" for problem in problems)
    for problem in problems:
        for text in (problem.where, problem.message):
            assert "\0" not in text  # PostgreSQL stores none
            assert text.encode().decode() == text
            assert len(text) < 3000


def names_of(head: str) -> list[str]:
    return head.split(",")


@st.composite
def odd_table(draw: st.DrawFn, name: str) -> bytes:
    """Bytes that look like the table, more or less."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
    columns = names_of(draw(st.sampled_from(HEADS[name]))) + draw(st.lists(ODD_CELLS, max_size=2))
    rows = draw(st.lists(st.lists(ODD_CELLS, max_size=5), max_size=6))
    comma = draw(st.sampled_from([",", ",", ",", ";", "\t"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return end.join(comma.join(row) for row in [columns, *rows]).encode(encoding, "replace")


class TestAnything:
    @settings(max_examples=300)
    @given(odd_table("metadata.csv"))
    @example(b"file_name,label,split,a\0,a\0\n")
    @example(b"")
    @example(b"\xff\xfe")
    def test_metadata_csv(self, content: bytes) -> None:
        assert_is_told({"metadata.csv": content})

    @settings(max_examples=200)
    @given(odd_table("list_attr_celeba.csv"), odd_table("list_eval_partition.csv"))
    @example(b"", b"")
    def test_celeba(self, attributes: bytes, partition: bytes) -> None:
        assert_is_told({"list_attr_celeba.csv": attributes, "list_eval_partition.csv": partition})

    def test_a_column_that_is_no_attribute_is_named_without_its_control_characters(self) -> None:
        rows = [f"{image},{number % 2},{'train' if number < 4 else 'test'}" for number, image in enumerate(IMAGES)]
        wide = [*rows, *(f"{number}.jpg,0,train" for number in range(101))]
        table = "\n".join(["file_name,label,split,odd\0", *(f"{row},{number}" for number, row in enumerate(wide))])
        content = {"metadata.csv": table.encode(), **{f"{number}.jpg": b"" for number in range(101)}}
        plan, problems = outcome(content)
        assert plan is not None
        assert ("attribute_ignored", "odd\\x00") in [(problem.code, problem.where) for problem in problems]
        assert_is_told(content)

    def test_a_table_of_very_many_columns_is_refused_at_once(self) -> None:
        columns = ",".join(f"c{number}" for number in range(200_000))
        head = f"file_name,label,split,{columns}\n"
        _, problems = outcome({"metadata.csv": head.encode() + b"0.png,0,train" + b"," * 200_000})
        assert [problem.code for problem in problems] == ["metadata_invalid"]
        assert "100" in problems[0].message

    @pytest.mark.parametrize("column", ["img_filename", "y", "split", "place"])
    def test_a_column_of_wilds_that_comes_twice_is_refused(self, column: str) -> None:
        head = f"img_filename,y,split,place,{column}\n"
        _, problems = outcome({"metadata.csv": head.encode() + b"0.png,0,0,0,1\n"})
        assert [(problem.code, problem.where) for problem in problems] == [("metadata_invalid", "metadata.csv")]

    @pytest.mark.parametrize("column", ["image_id", "Male", "Blond_Hair"])
    def test_a_column_of_celeba_that_comes_twice_is_refused(self, column: str) -> None:
        tables = {
            "list_attr_celeba.csv": f"image_id,Male,Blond_Hair,{column}\n0.png,1,1,1\n".encode(),
            "list_eval_partition.csv": b"image_id,partition\n0.png,0\n",
        }
        _, problems = outcome(tables)
        assert ("metadata_invalid", "list_attr_celeba.csv") in [(each.code, each.where) for each in problems]


@st.composite
def written(draw: st.DrawFn) -> tuple[int, str, str]:
    """A way to write a table that every spreadsheet may choose: quoting, line ends, byte order mark."""
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    return quoting, draw(st.sampled_from(["\n", "\r\n", "\r"])), draw(st.sampled_from(["utf-8", "utf-8-sig"]))


def write(way: tuple[int, str, str], columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    quoting, end, encoding = way
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]  # typed as a literal
    writer.writerow(columns)
    writer.writerows(rows)
    return (text.getvalue() + end).encode(encoding)


PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
LABELS = PRINTABLE | st.sampled_from(['say "x"', "1,5", "'", "a;b", "c d"])
BITS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=len(IMAGES), max_size=len(IMAGES))


class TestRoundTrip:
    @settings(max_examples=200)
    @given(
        written(),
        st.lists(LABELS, min_size=2, max_size=2, unique=True),
        st.permutations(["file_name", "label", "split", "tint"]),
        st.lists(LABELS | st.just(""), min_size=len(IMAGES), max_size=len(IMAGES)),
    )
    def test_metadata_csv(
        self, way: tuple[int, str, str], labels: list[str], columns: list[str], tints: list[str]
    ) -> None:
        rows = [
            {"file_name": image, "label": labels[i % 2], "split": "train" if i < 4 else "test:a", "tint": tints[i]}
            for i, image in enumerate(IMAGES)
        ]
        plan, problems = outcome(
            {"metadata.csv": write(way, columns, [[row[column] for column in columns] for row in rows])}
        )
        assert plan is not None, problems
        for planned, row in zip(plan.rows(), rows, strict=True):
            assert (planned.name, planned.split) == (row["file_name"], row["split"])
            assert plan.classes[planned.label] == row["label"]
            value = planned.attributes[0] if plan.attributes else -1
            assert (plan.attributes[0].values[value] if value >= 0 else "") == row["tint"]

    @settings(max_examples=100)
    @given(written(), BITS)
    def test_wilds(self, way: tuple[int, str, str], bits: list[tuple[int, int]]) -> None:
        # Both classes are trained on and something is tested, whatever the rest is.
        bits = [(0, bits[0][1]), (1, bits[1][1]), *bits[2:]]
        rows = [
            [image, str(y), "2" if i == 7 else "0", str(place)]
            for i, (image, (y, place)) in enumerate(zip(IMAGES, bits, strict=True))
        ]
        plan, problems = outcome({"metadata.csv": write(way, ["img_filename", "y", "split", "place"], rows)})
        assert plan is not None, problems
        assert plan.layout == "waterbirds"
        places = plan.attributes[0].values
        assert [(row.label, places[row.attributes[0]]) for row in plan.rows()] == [
            (y, ("land", "water")[place]) for y, place in bits
        ]

    @settings(max_examples=100)
    @given(written(), written(), BITS)
    def test_celeba(self, way: tuple[int, str, str], other: tuple[int, str, str], bits: list[tuple[int, int]]) -> None:
        bits = [(0, bits[0][1]), (1, bits[1][1]), *bits[2:]]
        signs = ("-1", "1")
        rows = [[image, signs[male], signs[blond]] for image, (blond, male) in zip(IMAGES, bits, strict=True)]
        splits = [[image, "2" if i == 7 else "0"] for i, image in enumerate(IMAGES)]
        plan, problems = outcome(
            {
                "list_attr_celeba.csv": write(way, ["image_id", "Male", "Blond_Hair"], rows),
                "list_eval_partition.csv": write(other, ["image_id", "partition"], splits),
            }
        )
        assert plan is not None, problems
        male = plan.attributes[0].values
        assert [(row.label, male[row.attributes[0]]) for row in plan.rows()] == [
            (blond, ("no", "yes")[male_]) for blond, male_ in bits
        ]

    def test_another_encoding_is_named(self) -> None:
        _, problems = outcome({"metadata.csv": "file_name,label,split\n0.png,é,train\n".encode("latin-1")})
        assert any("UTF-8" in problem.message for problem in problems)

    def test_a_huge_field_is_named_with_its_line(self) -> None:
        _, problems = outcome({"metadata.csv": b"file_name,label,split\n0.png," + b"a" * 200_000 + b",train\n"})
        assert ("metadata_invalid", "metadata.csv:2") in [(problem.code, problem.where) for problem in problems]
