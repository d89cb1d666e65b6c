"""The normalised archive and the data set on top of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masktune_core.data.archive import ArchiveWriter, Attribute, ImageRow, order_splits, read_index
from masktune_core.data.dataset import Dataset
from masktune_core.errors import ArchiveError, ConfigError
from tests.masktune_core.archives import picture, png, write_dataset, zip_bytes

NAMES = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/"), min_size=1, max_size=12)
SPLITS = st.sampled_from(["train", "val", "test", "test:b", "test:a"])


@st.composite
def contents(draw: st.DrawFn) -> tuple[list[str], list[Attribute], list[tuple[ImageRow, bytes]]]:
    classes = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    columns = st.lists(st.tuples(NAMES, st.lists(NAMES, min_size=1, max_size=3, unique=True)), max_size=2)
    attributes = [Attribute(name, tuple(values)) for name, values in draw(columns)]
    rows = []
    for name in draw(st.lists(NAMES, max_size=6, unique=True)):
        values = tuple(draw(st.integers(-1, len(a.values) - 1)) for a in attributes)
        label = draw(st.integers(0, len(classes) - 1))
        size = draw(st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
        rows.append((ImageRow(name, draw(SPLITS), label, values, *size), draw(st.binary(max_size=20))))
    return classes, attributes, rows


def write(path: Path, content: tuple[list[str], list[Attribute], list[tuple[ImageRow, bytes]]]) -> bytes:
    classes, attributes, rows = content
    with ArchiveWriter(path, classes=classes, attributes=attributes, layout="any") as writer:
        for row, image in rows:
            writer.add(row, image)
        index = writer.finish()
    read = read_index(path)
    for field in dataclasses.fields(index):
        ours, theirs = getattr(index, field.name), getattr(read, field.name)
        assert type(ours) is type(theirs)
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs, field.name
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(contents())
def test_what_is_written_is_read_and_every_image_is_a_byte_range(
    tmp_path: Path, content: tuple[list[str], list[Attribute], list[tuple[ImageRow, bytes]]]
) -> None:
    path = tmp_path / "a.zip"
    written = write(path, content)
    assert write(tmp_path / "b.zip", content) == written
    index = read_index(path)
    classes, attributes, rows = content
    assert (index.classes, index.attributes, index.layout) == (tuple(classes), tuple(attributes), "any")
    assert index.attribute.shape == (len(rows), len(attributes))
    for i, (row, image) in enumerate(rows):
        assert index.names[i] == row.name
        assert index.split_names[index.split[i]] == row.split
        assert (index.label[i], index.height[i], index.width[i]) == (row.label, row.height, row.width)
        assert tuple(index.attribute[i]) == row.attributes
        assert written[index.offset[i] : index.offset[i] + index.length[i]] == image
    assert index.split_names == order_splits([row.split for row, _ in rows])


def test_splits_have_one_order() -> None:
    assert order_splits(["test:z", "val", "test", "test:a", "train", "val"]) == (
        "train",
        "val",
        "test",
        "test:a",
        "test:z",
    )


HEADER = {"format": 1, "classes": ["a", "b"], "attributes": [], "layout": "x"}
TABLE = b"file_name,label,split,width,height\nimages/0.png,a,train,8,8\n"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"metadata.csv": TABLE}, "archive_damaged"),
        ({"dataset.json": b"{", "metadata.csv": TABLE}, "archive_damaged"),
        ({"dataset.json": json.dumps(HEADER | {"format": 2}).encode(), "metadata.csv": TABLE}, "archive_damaged"),
        ({"dataset.json": json.dumps(HEADER | {"classes": 3}).encode(), "metadata.csv": TABLE}, "archive_damaged"),
        ({"dataset.json": json.dumps(HEADER).encode(), "metadata.csv": TABLE}, "archive_damaged"),
        (
            {
                "dataset.json": json.dumps(HEADER).encode(),
                "images/0.png": b"",
                "metadata.csv": TABLE.replace(b"a,t", b"c,t"),
            },
            "archive_damaged",
        ),
    ],
)
def test_another_zip_is_no_normalised_archive(tmp_path: Path, files: dict[str, bytes], code: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes(files, zipfile.ZIP_STORED))
    with pytest.raises(ArchiveError) as error:
        read_index(path)
    assert error.value.problems[0].code == code


def test_no_zip_is_no_normalised_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(ArchiveError, match="not a normalised data set") as error:
        read_index(path)
    assert error.value.problems[0].code == "not_an_archive"


def test_a_compressed_member_is_refused_since_it_is_no_byte_range(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    files = {"dataset.json": json.dumps(HEADER).encode(), "images/0.png": bytes(100), "metadata.csv": TABLE}
    path.write_bytes(zip_bytes(files))
    with pytest.raises(ArchiveError, match="compressed"):
        read_index(path)


def test_a_data_set_knows_labels_groups_splits_sizes_and_pixels(tmp_path: Path) -> None:
    images = [picture(i, 4 + i, 6) for i in range(6)]
    with write_dataset(tmp_path / "d.zip", images, splits=("test:x", "train")) as dataset:
        assert len(dataset) == 6
        assert list(dataset.splits) == ["train", "test:x"]
        assert dataset.splits["train"].tolist() == [1, 3, 5]
        assert dataset.labels.tolist() == [0, 1, 0, 1, 0, 1]
        assert dataset.group_names == (
            "class 0 · side=l",
            "class 0 · side=r",
            "class 1 · side=l",
            "class 1 · side=r",
        )
        assert dataset.groups.tolist() == [0, 2, 1, 3, 0, 2]
        assert dataset.sizes.tolist() == [[4 + i, 6] for i in range(6)]
        for i, image in enumerate(images):
            assert (dataset.read(i) == image).all()
        assert dataset.sha256 == hashlib.sha256((tmp_path / "d.zip").read_bytes()).hexdigest()


def test_groups_need_an_attribute_that_exists(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zip", [picture()]).close()
    with Dataset.open(tmp_path / "d.zip", group_by="side") as dataset:
        assert dataset.groups.tolist() == [0]
    with pytest.raises(ConfigError, match=r"no attribute 'place'; it has: side"):
        Dataset.open(tmp_path / "d.zip", group_by="place")


def test_without_attributes_nobody_is_in_a_group(tmp_path: Path) -> None:
    path = tmp_path / "d.zip"
    with ArchiveWriter(path, classes=["a"], attributes=[], layout="x") as writer:
        writer.add(ImageRow("0.png", "train", 0, (), 8, 8), png(picture()))
        writer.finish()
    with Dataset.open(path) as dataset:
        assert dataset.groups.tolist() == [-1]
        assert dataset.group_names == ()


def test_bytes_that_changed_after_intake_are_named(tmp_path: Path) -> None:
    path = tmp_path / "d.zip"
    with write_dataset(path, [picture(0), picture(1)]) as dataset:
        content = bytearray(path.read_bytes())
        start = int(dataset.index.offset[1])
        content[start : start + 8] = bytes(8)
        path.write_bytes(content)
        assert np.array_equal(dataset.read(0), picture(0))
        with pytest.raises(ArchiveError, match=r"1\.png") as error:
            dataset.read(1)
        assert error.value.problems[0].code == "image_corrupt"
