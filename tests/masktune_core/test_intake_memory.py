"""Intake holds little for each image, decodes within bounds, and never takes its own want of memory for a finding."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from masktune_core.intake import IntakeLimits, IntakeOptions, decoding, normalise
from masktune_core.intake.findings import Findings
from masktune_core.intake.images import ImageError, Opened, Prepared, open_image
from masktune_core.intake.layouts import read_layout
from masktune_core.intake.plan import make_plan
from masktune_core.intake.sources import open_source
from tests.masktune_core.archives import encoded, table, two_classes, zip_bytes

WITHOUT_MEMORY = """
import re, resource, sys
from pathlib import Path
from masktune_core.intake.images import prepare_image

def data():
    return 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

small, *large = sys.argv[1:]
prepare_image(Path(small).read_bytes(), 10**8)
for path in large:
    for share in (0.2, 0.6, 0.9):
        limit = data() + int(share * 4 * 1000 * 1000)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        try:
            prepare_image(Path(path).read_bytes(), 10**8)
        except MemoryError:
            continue
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
        sys.exit(f"{path} was decoded in {share} of its pixels")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_good_image_for_which_memory_is_missing_is_not_called_broken(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((1000, 1000)).convert("RGB")
    files = {
        "small.png": encoded(Image.new("RGB", (8, 8)), "png"),
        "baseline.jpg": encoded(image, "jpeg"),
        "progressive.jpg": encoded(image, "jpeg", progressive=True, subsampling=0),
        "picture.png": encoded(image, "png"),
        "alpha.png": encoded(image.convert("RGBA"), "png"),
        "picture.webp": encoded(image, "webp", quality=10, method=0),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    program = [sys.executable, "-c", WITHOUT_MEMORY, *(str(tmp_path / name) for name in files)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_want_of_memory_ends_intake_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(_: Opened) -> Prepared:
        raise MemoryError

    monkeypatch.setattr(Opened, "prepare", prepare)
    (tmp_path / "upload").write_bytes(zip_bytes(two_classes()))
    with pytest.raises(MemoryError):
        normalise(tmp_path / "upload", tmp_path / "n.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


@pytest.mark.parametrize("form", ["webp", "webp lossless", "webp with alpha"])
def test_the_size_of_a_webp_is_judged_before_its_decoder_makes_room_for_it(form: str) -> None:
    image = Image.new("RGBA" if "alpha" in form else "RGB", (300, 200), (1, 2, 3))
    content = encoded(image, "webp", lossless="lossless" in form)
    assert open_image(content, 60_000).image.size == (300, 200)
    with pytest.raises(ImageError, match="300 × 200") as error:
        open_image(content, 59_999)
    assert error.value.code == "image_too_large"


@pytest.mark.parametrize(("most", "together"), [(1, 1), (2 * 50_000, 2), (2**30, 4)])
def test_as_many_images_are_decoded_at_once_as_memory_and_cores_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, together: int
) -> None:
    real, lock, now, peak = Opened.prepare, threading.Lock(), [0], [0]

    def prepare(opened: Opened) -> Prepared:
        with lock:
            now[0] += 1
            peak[0] = max(peak[0], now[0])
        time.sleep(0.01)
        try:
            return real(opened)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(Opened, "prepare", prepare)
    monkeypatch.setattr(decoding, "core_count", lambda: 4)
    grey = encoded(Image.new("L", (50, 40)), "png")  # 2,000 pixels of 24 bytes
    names = [(f"{i}.png", "ab"[i % 2], "test" if i > 5 else "train") for i in range(12)]
    files = {"metadata.csv": table(names)} | {name: grey for name, _, _ in names}
    (tmp_path / "upload").write_bytes(zip_bytes(files))
    report = normalise(tmp_path / "upload", tmp_path / "n.zip", limits=IntakeLimits(max_decoding_bytes=most))
    assert len(report.index) == 12
    assert peak[0] == together


def test_what_intake_holds_for_each_image_is_below_a_kilobyte(tmp_path: Path) -> None:
    """Whole objects for each file, in lists and dicts of the archive, the layout and the plan, took 2.3."""
    peaks = {count: _peak_of_planning(tmp_path / f"{count}.zip", count) for count in (500, 2500)}
    assert (peaks[2500] - peaks[500]) / 2000 < 900


def _peak_of_planning(path: Path, count: int) -> int:
    """Bytes that Python holds at the most from opening an archive to knowing what will be written."""
    rows = [(f"images/{i:07d}.png", "ab"[i % 2], "test" if i % 5 else "train", "lw"[i // 2 % 2]) for i in range(count)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.csv", table(rows, "file_name,label,split,place"))
        for name, *_ in rows:
            archive.writestr(name, b"")
    findings, limits = Findings(), IntakeLimits()
    tracemalloc.start()
    try:
        with open_source(path, path.parent, limits, findings, "") as source:
            plan = make_plan(read_layout(source, findings, IntakeOptions()), findings, IntakeLimits())
            assert len(plan) == count
            return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
