"""Archives as they come in: what is taken, what is refused, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masktune_core.errors import ArchiveError, Problem
from masktune_core.intake import IntakeLimits, IntakeReport, normalise
from masktune_core.intake.names import UnsafeNameError, clean_name, collision_key
from tests.masktune_core.archives import picture, png, table, tar_bytes, two_classes, zip_bytes


def take_in(folder: Path, content: bytes, limits: IntakeLimits = IntakeLimits()) -> IntakeReport:  # noqa: B008 - frozen
    source, destination = folder / "upload", folder / "out" / "normalised.zip"
    source.write_bytes(content)
    return normalise(source, destination, filename="birds.zip", limits=limits)


def refused(folder: Path, content: bytes, limits: IntakeLimits = IntakeLimits()) -> tuple[Problem, ...]:  # noqa: B008
    """The problems for which `content` is refused; checks that nothing is left behind."""
    with pytest.raises(ArchiveError) as error:
        take_in(folder, content, limits)
    assert list((folder / "out").iterdir()) == []
    assert error.value.problems
    return error.value.problems


def codes(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return [(problem.code, problem.where) for problem in problems]


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zip_bytes,
    "stored zip": lambda files: zip_bytes(files, zipfile.ZIP_STORED),
    "tar": tar_bytes,
    "tar.gz": lambda files: tar_bytes(files, "w:gz"),
    "tar.zst": lambda files: tar_bytes(files, "w:zst"),
}


def test_every_kind_of_archive_gives_the_same_data_set_byte_for_byte(tmp_path: Path) -> None:
    made: set[bytes] = set()
    for kind, pack in PACKERS.items():
        for files in (two_classes(), {f"birds/{name}": content for name, content in two_classes().items()}):
            folder = tmp_path / f"{kind} {len(made)} {'birds/metadata.csv' in files}"
            folder.mkdir()
            report = take_in(folder, pack(files))
            assert report.index.classes == ("a", "b")
            assert len(report.index) == 12
            made.add((folder / "out" / "normalised.zip").read_bytes())
    assert len(made) == 1


def test_the_order_of_the_archive_does_not_matter(tmp_path: Path) -> None:
    files = two_classes()
    take_in(tmp_path, zip_bytes(files))
    first = (tmp_path / "out" / "normalised.zip").read_bytes()
    take_in(tmp_path, zip_bytes(dict(reversed(files.items()))))
    assert (tmp_path / "out" / "normalised.zip").read_bytes() == first


@pytest.mark.parametrize(
    "content", [b"", b"no archive", bytes(100), b"\x89PNG\r\n\x1a\n" + bytes(2000), b"BZh91AY" + bytes(600)]
)
def test_other_files_are_no_archives(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content)[0].code == "not_an_archive"


@pytest.mark.parametrize("mode", [None, "w", "w:gz", "w:zst"])
def test_an_empty_archive_is_refused_by_name(tmp_path: Path, mode: str | None) -> None:
    content = tar_bytes({}, mode) if mode else zip_bytes({})
    assert codes(refused(tmp_path, content)) == [("archive_empty", "birds.zip")]


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_an_archive_cut_short_is_damaged(tmp_path: Path, kind: str, share: float) -> None:
    content = PACKERS[kind](two_classes(20)).rstrip(b"\0")  # the padding of a tar can be spared
    assert refused(tmp_path, content[: int(len(content) * share)])[0].code == "archive_damaged"


@pytest.mark.parametrize(
    "name", ["../up.png", "a/../../up.png", "/etc/up.png", "C:\\up.png", "..\\up.png", "a\nb.png", "x" * 1100]
)
@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str, pack: Callable[..., bytes]) -> None:
    problems = refused(tmp_path, pack(two_classes() | {name: b""}))
    assert [problem.code for problem in problems] == ["unsafe_path"]
    assert problems[0].where.startswith(name.replace("\n", "\\x0a")[:50])
    assert not (tmp_path.parent / "up.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in two_classes().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("train/link.png")
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
    assert codes(refused(tmp_path, out.getvalue())) == [("unsafe_entry", "train/link.png")]


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO(zip_bytes(two_classes()))
    with zipfile.ZipFile(out, "a") as archive:
        info = zipfile.ZipInfo("train/link.png")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert codes(refused(tmp_path, out.getvalue())) == [("unsafe_entry", "train/link.png")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("other", ["train/0.png", "train/0.PNG", "./train//0.png", "Train/0.png"])
def test_two_files_of_one_name_are_refused(tmp_path: Path, other: str) -> None:
    out = io.BytesIO(zip_bytes(two_classes()))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(other, b"")
    assert [problem.code for problem in refused(tmp_path, out.getvalue())] == ["duplicate_name"]


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    files = two_classes()
    content = bytearray(zip_bytes(files))
    directory = content.rfind(b"PK\x01\x02")
    (name_length,) = struct.unpack_from("<H", content, directory + 28)
    name = content[directory + 46 : directory + 46 + name_length].decode()
    content[directory + 8] |= 1
    problems = refused(tmp_path, bytes(content))
    assert ("encrypted_entry", name) in codes(problems)


def test_other_compression_methods_are_refused(tmp_path: Path) -> None:
    problems = refused(tmp_path, zip_bytes(two_classes(), zipfile.ZIP_BZIP2))
    assert {problem.code for problem in problems} == {"unsafe_entry", "layout_unknown"}


def test_a_member_whose_bytes_do_not_match_their_checksum_is_damaged(tmp_path: Path) -> None:
    content = bytearray(zip_bytes(two_classes(), zipfile.ZIP_STORED))
    content[content.find(png(picture(5))) + 40] ^= 1
    assert codes(refused(tmp_path, bytes(content))) == [("archive_damaged", "val/1.png")]


def test_a_directory_that_lies_about_a_size_is_damaged(tmp_path: Path) -> None:
    content = bytearray(zip_bytes(two_classes()))
    directory = content.find(b"PK\x01\x02", content.find(b"PK\x01\x02") + 4)
    (size,) = struct.unpack_from("<I", content, directory + 24)
    struct.pack_into("<I", content, directory + 24, size - 1)
    assert codes(refused(tmp_path, bytes(content))) == [("archive_damaged", "train/0.png")]


def test_files_that_share_bytes_are_damaged(tmp_path: Path) -> None:
    content = bytearray(zip_bytes(two_classes(), zipfile.ZIP_STORED))
    directory = content.find(b"PK\x01\x02")
    (packed,) = struct.unpack_from("<I", content, directory + 20)
    struct.pack_into("<I", content, directory + 20, packed + 100)
    problems = refused(tmp_path, bytes(content))
    assert codes(problems) == [("archive_damaged", "")]
    assert "same bytes" in problems[0].message


class TestLimits:
    def test_images(self, tmp_path: Path) -> None:
        problems = refused(tmp_path, zip_bytes(two_classes()), IntakeLimits(max_images=11))
        assert codes(problems) == [("too_many_images", "birds.zip")]
        assert "11" in problems[0].message

    def test_classes(self, tmp_path: Path) -> None:
        problems = refused(tmp_path, zip_bytes(two_classes()), IntakeLimits(max_classes=1))
        assert codes(problems) == [("too_many_classes", "label")]
        assert "has 2 classes; the limit is 1: a label names a kind of images" in problems[0].message
        assert take_in(tmp_path, zip_bytes(two_classes()), IntakeLimits(max_classes=2)).index.classes == ("a", "b")

    def test_groups(self, tmp_path: Path) -> None:
        rows = [(f"{split}/{i}.png", "ab"[i % 2], split, i) for split in ("train", "val", "test") for i in range(4)]
        archive = zip_bytes(two_classes() | {"metadata.csv": table(rows, "file_name,label,split,place")})
        (place,) = take_in(tmp_path, archive, IntakeLimits(max_groups=8)).index.attributes
        assert len(place.values) == 4
        report = take_in(tmp_path, archive, IntakeLimits(max_groups=7))
        assert report.index.attributes == ()
        assert codes(report.problems) == [("attribute_ignored", "place")]
        assert "would make 8 groups (classes × values), more than 7" in report.problems[0].message

    def test_entries(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("masktune_core.intake.members.OTHER_FILES", 0)
        for pack in PACKERS.values():
            problems = refused(tmp_path, pack(two_classes()), IntakeLimits(max_images=5))
            assert problems[0].code == "too_many_images"

    def test_one_file(self, tmp_path: Path) -> None:
        files = two_classes() | {"big.txt": bytes(2000)}
        problems = refused(tmp_path, zip_bytes(files), IntakeLimits(max_entry_bytes=1999))
        assert codes(problems) == [("too_large", "big.txt")]

    @pytest.mark.parametrize("kind", PACKERS)
    def test_all_files(self, tmp_path: Path, kind: str) -> None:
        problems = refused(tmp_path, PACKERS[kind](two_classes()), IntakeLimits(max_total_bytes=1000))
        assert [problem.code for problem in problems] == ["too_large"]

    @pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.zst"])
    def test_bombs(self, tmp_path: Path, kind: str) -> None:
        bomb = PACKERS[kind](two_classes() | {"zeros.bin": bytes(80 * 2**20)})
        assert len(bomb) < 2**20
        problems = refused(tmp_path, bomb)
        assert [problem.code for problem in problems] == ["too_large"]
        assert "200 times" in problems[0].message

    def test_pixels(self, tmp_path: Path) -> None:
        problems = refused(tmp_path, zip_bytes(two_classes()), IntakeLimits(max_pixels=63))
        assert {problem.code for problem in problems} == {"image_too_large"}
        assert "8 × 8" in problems[0].message

    def test_headers(self, tmp_path: Path) -> None:
        """A tar header may ask for any amount of memory; more than a megabyte is refused unread."""
        name = tarfile.TarInfo("././@LongLink")
        name.type, name.size = tarfile.GNUTYPE_LONGNAME, 2**30
        content = name.tobuf() + bytes(3 * 2**20)
        assert refused(tmp_path, content)[0].code in ("not_an_archive", "archive_damaged")

    def test_windows(self, tmp_path: Path) -> None:
        """A zstd frame may ask for gigabytes of window; more than 128 MiB is refused."""
        parameters = zstandard.ZstdCompressionParameters(window_log=28)
        content = zstandard.ZstdCompressor(compression_params=parameters).compress(tar_bytes(two_classes()))
        assert zstandard.get_frame_parameters(content).window_size < 2**27  # a small frame asks for little
        streaming = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        content = streaming.compress(tar_bytes(two_classes())) + streaming.flush()
        assert refused(tmp_path, content)[0].code == "archive_damaged"


def test_a_tar_with_a_negative_size_does_not_run_in_circles(tmp_path: Path) -> None:
    first = tarfile.TarInfo("a.png")
    second = tarfile.TarInfo("b.png")
    header = bytearray(second.tobuf())
    header[124:136] = b"\xff" * 11 + b"\x00"  # base 256: -256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert refused(tmp_path, first.tobuf() + bytes(header) + bytes(1024))[0].code == "archive_damaged"


def test_files_of_the_operating_system_are_left_aside(tmp_path: Path) -> None:
    junk = {"__MACOSX/._a.png": b"x", ".DS_Store": b"x", "train/._0.png": b"x", "Thumbs.db": b"x"}
    report = take_in(tmp_path, zip_bytes(two_classes() | junk))
    assert report.total == 0
    assert len(report.index) == 12


def test_the_first_hundred_problems_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    names = [(f"{i}.png", "ab"[i % 2], "train") for i in range(250)]
    with pytest.raises(ArchiveError) as error:
        take_in(tmp_path, zip_bytes({"metadata.csv": table(names), "0.png": png(picture())}))
    assert len(error.value.problems) == 100
    assert error.value.total == 249 + 2  # no test split, and only one class left to train on


def test_an_earlier_data_set_stays_when_a_new_one_is_refused(tmp_path: Path) -> None:
    take_in(tmp_path, zip_bytes(two_classes()))
    before = (tmp_path / "out" / "normalised.zip").read_bytes()
    with pytest.raises(ArchiveError):
        take_in(tmp_path, b"no archive")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["normalised.zip"]
    assert (tmp_path / "out" / "normalised.zip").read_bytes() == before


def test_progress_counts_every_image(tmp_path: Path) -> None:
    calls = []
    (tmp_path / "upload").write_bytes(zip_bytes(two_classes()))
    normalise(tmp_path / "upload", tmp_path / "n.zip", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 12) for done in range(1, 13)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.sampled_from(sorted(PACKERS)), st.data())
def test_damage_anywhere_is_a_finding_or_harmless(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(PACKERS[kind](two_classes(2)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3))
    with contextlib.suppress(ArchiveError):
        take_in(tmp_path, bytes(content[: len(content) - cut * 7]))
    for left in (tmp_path / "out").iterdir():
        assert left.name == "normalised.zip"
        left.unlink()


@given(st.text())
def test_a_clean_name_is_relative_and_stays_clean(raw: str) -> None:
    try:
        name = clean_name(raw)
    except UnsafeNameError:
        return
    assert clean_name(name) == name
    assert not name.startswith("/")
    assert not {"", ".", ".."} & set(name.split("/"))
    assert collision_key(name) == collision_key(name.upper().lower()) or not name.isascii()


def test_names_match_however_their_accents_are_written(tmp_path: Path) -> None:
    files = two_classes()
    composed, decomposed = "train/é.png", "train/e\u0301.png"
    files["metadata.csv"] += f"{composed},a,train\n".encode()
    report = take_in(tmp_path, zip_bytes(files | {decomposed: png(picture())}))
    assert composed in report.index.names
