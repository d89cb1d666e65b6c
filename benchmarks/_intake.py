"""Intake of made-up archives, each in a process of its own: time, and memory beyond that of the process itself."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from PIL import Image

SIDE = 8
_SPLITS = ("train",) * 8 + ("val", "test")
_AGAIN_BELOW = 20_000  # so few images are taken in several times, and the fastest counts
_TIMES = 5


def taken_in(folder: Path, count: int) -> dict[str, float]:
    """Intake and report of an archive of `count` images, all the same one: `seconds`, and `bytes` at the most."""
    archive = folder / "upload.zip"
    _write(archive, count)
    times = _TIMES if count < _AGAIN_BELOW else 1
    found = [_in_process(archive, folder) for _ in range(times)]
    archive.unlink()
    return {name: min(each[name] for each in found) for name in ("seconds", "bytes")}


def _write(path: Path, count: int) -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (1, 2, 3)).save(encoded, "png")
    with zipfile.ZipFile(path, "w") as archive:
        rows = ["file_name,label,split,place"]
        for number in range(count):
            split = _SPLITS[number % len(_SPLITS)]
            name = f"images/{split}/{number:07d}.png"
            rows.append(f"{name},{'ab'[number % 2]},{split},{('land', 'water')[number // 2 % 2]}")
            archive.writestr(name, encoded.getvalue())
        archive.writestr("metadata.csv", "\n".join([*rows, ""]))


def _in_process(archive: Path, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks._intake", str(archive), str(folder / "normalised.zip")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _memory(kind: str) -> int:
    """Resident bytes of this process: `VmRSS` now, `VmHWM` at the most so far."""
    stated = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return 1024 * int(stated[1]) if stated else 0


def _main(archive: Path, destination: Path) -> dict[str, float]:
    from masktune_core.intake import normalise
    from masktune_core.preflight import preflight

    before, start = _memory("VmRSS"), time.perf_counter()
    preflight(destination, normalise(archive, destination))
    return {"seconds": time.perf_counter() - start, "bytes": _memory("VmHWM") - before}


if __name__ == "__main__":
    print(json.dumps(_main(*map(Path, sys.argv[1:]))))
