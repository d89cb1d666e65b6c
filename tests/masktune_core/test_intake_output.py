"""Intake writes no more than it may, wherever it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from masktune_core.errors import ArchiveError, OutOfDisk
from masktune_core.intake import IntakeLimits, normalise
from masktune_core.intake.findings import Findings
from masktune_core.intake.headroom import Headroom
from masktune_core.intake.sources import open_source
from tests.masktune_core.archives import encoded, picture, tar_bytes, two_classes, zip_bytes

NO_DISK_IS_SO_LARGE = IntakeLimits(min_free_bytes=2**62)


def test_images_that_grow_when_they_are_rewritten_are_stopped_at_the_limit(tmp_path: Path) -> None:
    noise = Image.fromarray(picture(0, 64, 64))
    files = {
        f"{split}/{label}/{i}.jpg": encoded(noise, "jpeg", quality=20, progressive=True)
        for split in ("train", "val", "test")
        for label in "ab"
        for i in range(3)
    }
    (tmp_path / "upload").write_bytes(zip_bytes(files | {"train/a/broken.png": b"no image"}))
    packed = sum(map(len, files.values()))
    with pytest.raises(ArchiveError) as error:
        normalise(tmp_path / "upload", tmp_path / "n.zip", limits=IntakeLimits(max_output_bytes=2 * packed))
    too_large, broken = error.value.problems
    assert (too_large.code, broken.code, broken.where) == ("too_large", "image_corrupt", "train/a/broken.png")
    assert f"{2 * packed:,} bytes" in too_large.message
    assert "baseline RGB JPEG" in too_large.message
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]
    limits = IntakeLimits(max_output_bytes=20 * packed)
    del files["train/a/0.jpg"]
    (tmp_path / "upload").write_bytes(zip_bytes(files))
    assert len(normalise(tmp_path / "upload", tmp_path / "n.zip", limits=limits).index) == len(files)


def test_the_normalised_archive_leaves_the_disk_its_headroom(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(zip_bytes(two_classes()))
    with pytest.raises(OutOfDisk, match="must stay free") as error:
        normalise(tmp_path / "upload", tmp_path / "n.zip", limits=NO_DISK_IS_SO_LARGE)
    assert error.value.code == "out_of_disk"
    assert not error.value.retryable
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


@pytest.mark.parametrize("kind", ["w:gz", "w:zst"])
def test_an_unpacked_tar_leaves_the_disk_its_headroom(tmp_path: Path, kind: str) -> None:
    (tmp_path / "upload").write_bytes(tar_bytes(two_classes(), kind))
    with pytest.raises(OutOfDisk), open_source(tmp_path / "upload", tmp_path, NO_DISK_IS_SO_LARGE, Findings(), ""):
        pass
    assert (tmp_path / "plain.tar").stat().st_size == 0


def test_the_free_space_is_looked_at_again_as_writing_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [100 * 2**20]
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free[0]}))
    headroom = Headroom(tmp_path, 50 * 2**20)
    headroom.take(2**20)
    free[0] = 0  # somebody else wrote
    for _ in range(15):
        headroom.take(2**20)
    with pytest.raises(OutOfDisk, match=r"only 0 MiB .* 50 MiB"):
        headroom.take(2**20)
