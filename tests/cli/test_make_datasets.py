"""`masktune datasets make` packs every published data set, and says what is wrong with a download in a line of text."""

from __future__ import annotations

import errno
import json
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from masktune_core.intake import normalise
from masktune_core.makers.packing import Packing
from tests.masktune_core.archives import tar_bytes
from tests.masktune_core.downloads import backgrounds, celeba, cifar10, kaggle, lay_out, svhn, waterbirds

Make = Callable[..., tuple[int, str, str]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    """Runs the command in this process: its exit code, what it printed, and its errors."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["masktune", "datasets", "make", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def in9l(folder: Path) -> list[Path]:
    challenge, training = backgrounds()
    (folder / "challenge.tar.gz").write_bytes(tar_bytes(challenge, "w:gz"))
    (folder / "in9l.tar.gz").write_bytes(tar_bytes(training, "w:gz"))
    return [folder / "challenge.tar.gz", folder / "in9l.tar.gz"]


DOWNLOADS: Mapping[str, tuple[Callable[[Path], list[Path]], tuple[str, ...], int, set[str]]] = {
    "waterbirds": (lambda folder: [lay_out(folder, waterbirds())], (), 12, {"landbird", "waterbird"}),
    "celeba": (
        lambda folder: [lay_out(folder, {**celeba("txt")[0], **celeba("txt")[1]})],
        ("--target", "Smiling", "--attribute", "Blond_Hair"),
        24,
        {"Smiling", "not Smiling"},
    ),
    "backgrounds": (in9l, (), 40, {"dog", "bird"}),
    "cifar10": (lambda folder: [lay_out(folder, cifar10()[0])], ("--val", "0.5", "--seed", "3"), 120, {"cat", "truck"}),
    "svhn": (lambda folder: [lay_out(folder, svhn()[0])], ("--val", "0.5"), 30, {"0", "9"}),
    "catsvsdogs": (lambda folder: [lay_out(folder, kaggle())], ("--test", "0.4"), 50, {"cat", "dog"}),
}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_download_becomes_an_archive_that_intake_takes(tmp_path: Path, make: Make, name: str) -> None:
    download, options, images, classes = DOWNLOADS[name]
    (tmp_path / "download").mkdir()
    made = tmp_path / "new folder" / "made.zip"
    code, out, errors = make(name, *download(tmp_path / "download"), made, *options, "--json")
    assert (code, errors) == (0, "")
    assert json.loads(out) == {"path": str(made), "size": made.stat().st_size}
    index = normalise(made, tmp_path / "n.zip").index
    assert len(index) == images
    assert set(index.classes) >= classes


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_download_of_something_else_is_named_and_leaves_nothing(tmp_path: Path, make: Make, name: str) -> None:
    other = lay_out(tmp_path / "download", {"readme.txt": b"something else"})
    sources = [other, other] if name == "backgrounds" else [other]
    code, out, errors = make(name, *sources, tmp_path / "out" / "made.zip")
    assert (code, out) == (1, "")
    assert errors.startswith(f"masktune: {other}: holds no ")
    assert errors.endswith("[archive_invalid]\n")
    assert list((tmp_path / "out").glob("*")) == []


ATTRIBUTES, PARTITION = "list_attr_celeba.csv", "list_eval_partition.csv"


@pytest.mark.parametrize(
    ("form", "table", "change", "told"),
    [
        ("csv", ATTRIBUTES, (b"image_id,", b"picture,"), f"{ATTRIBUTES}: has no column image_id"),
        ("csv", PARTITION, (b",partition", b",part"), f"{PARTITION}: has no column partition"),
        ("csv", ATTRIBUTES, (b"000004.jpg,-1,-1,1", b"000004.jpg,-1"), f"{ATTRIBUTES}:6: has 2 cells"),
        ("csv", ATTRIBUTES, (b"000004.jpg,-1,", b"000004.jpg,x,"), f"{ATTRIBUTES}:6: Blond_Hair and Male must be"),
        ("csv", ATTRIBUTES, (b"000004.jpg", b"\xff\xfe"), f"{ATTRIBUTES}: is not UTF-8 at byte"),
        ("csv", PARTITION, (b"000004.jpg,0", b"000004.jpg,9"), f"{ATTRIBUTES}:6: '000004.jpg' is 0, 1 or 2 in no line"),
        ("txt", "list_attr_celeba.txt", (b"000004.jpg  -1  -1  1", b"000004.jpg -1"), "list_attr_celeba.txt:7: has 1"),
        ("txt", "list_eval_partition.txt", (b"000004.jpg 0", b"000004.jpg"), "list_eval_partition.txt:5: has 0 values"),
        ("txt", "list_attr_celeba.txt", (b"000004.jpg", b"\xff"), "list_attr_celeba.txt: is not UTF-8"),
    ],
)
def test_a_broken_table_of_celeba_is_named_with_its_line(
    tmp_path: Path, make: Make, form: str, table: str, change: tuple[bytes, bytes], told: str
) -> None:
    pictures, tables = celeba(form)
    assert change[0] in tables[table]
    tables[table] = tables[table].replace(*change)
    source = lay_out(tmp_path / "celeba", pictures | tables)
    code, _, errors = make("celeba", source, tmp_path / "out" / "made.zip")
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"masktune: {told}")
    assert list((tmp_path / "out").glob("*")) == []


def test_a_short_line_of_waterbirds_is_named(tmp_path: Path, make: Make) -> None:
    files = waterbirds()
    files["metadata.csv"] += b"12\n"
    code, _, errors = make("waterbirds", lay_out(tmp_path / "birds", files), tmp_path / "made.zip")
    assert (code, errors) == (1, "masktune: metadata.csv:14: has 1 cells, the header has 6 [archive_invalid]\n")


def test_biased_mnist_makes_its_folder_and_leaves_no_half_of_an_archive(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "new" / "folder" / "made.zip"
    sized = ("--digits", str(tmp_path / "no digits"))
    code, _, errors = make("biased-mnist", made, *sized)
    assert code == 1
    assert "holds no t10k-images-idx3-ubyte" in errors
    real, added = Packing.add, []

    def interrupted(packing: Packing, name: str, content: bytes) -> None:
        added.append(name)
        if len(added) == 20:
            raise KeyboardInterrupt
        real(packing, name, content)

    monkeypatch.setattr(Packing, "add", interrupted)
    assert make("biased-mnist", made)[0] != 0
    assert list(made.parent.iterdir()) == []


def test_a_full_disk_is_told_in_a_line_and_leaves_nothing(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    code, _, errors = make("waterbirds", lay_out(tmp_path / "birds", waterbirds()), tmp_path / "out" / "made.zip")
    assert (code, errors) == (
        1,
        "masktune: No space left on device; free some space, or write to another disk\n",
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, make: Make) -> None:
    (tmp_path / "file").touch()
    code, _, errors = make("biased-mnist", tmp_path / "file" / "made.zip")
    assert code == 1
    assert errors.startswith(f"masktune: {tmp_path / 'file'}: ")
