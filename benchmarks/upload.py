"""A large upload against `cp` and `sha256sum` of the same file, and what it takes of the API's memory."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tusclient.client import TusClient

from benchmarks.table import Row, compare
from cli.embedded import EmbeddedPostgres
from migrations import runner
from tests.fixtures.cutting_proxy import cutting_proxy
from tests.fixtures.tus_client import sha256, upload_through

_MIB = 2**20
_START_SECONDS = 60.0
_TUS_CHUNK = 64 * _MIB
_INTERRUPTED_BYTES = 4 * _MIB


def run(quick: bool) -> list[Row]:
    """Send a file of 1 GiB (quick: 128 MiB) with one PUT; throughput in MiB/s, and the API process's peak RSS.

    The baseline copies the file and then hashes it, which is what storing it by its hash comes down to.
    """
    mebibytes = 128 if quick else 1024
    with tempfile.TemporaryDirectory(prefix="masktune-bench-") as folder:
        root = Path(folder)
        source = _random_file(root / "source.bin", mebibytes)
        with _api(root) as (port, key, pid):
            timed = compare(
                lambda: _upload(port, key, source, root / "home" / "objects"),
                lambda: _copy_and_hash(source, root / "copy.bin"),
                rounds=1 if quick else 3,
            )
            tus = compare(
                lambda: _upload_with_tus(port, key, source, root / "home" / "objects"),
                lambda: _copy_and_hash(source, root / "copy.bin"),
                rounds=1 if quick else 3,
            )
            peak = _peak_mib(pid)
            uploads = 20 if quick else 100
            right, breaks = _interrupted(port, key, uploads)
            after = _peak_mib(pid)
    rows = [
        Row(
            f"upload of {mebibytes} MiB",
            measured=mebibytes / timed.measured_seconds,
            baseline=mebibytes / timed.baseline_seconds,
            ratio=timed.speedup,
            unit="MiB/s",
            at_least=0.5,
            note=f"cp + sha256sum of the same file; median of {timed.rounds}",
        ),
        Row(
            f"tus upload of {mebibytes} MiB",
            measured=mebibytes / tus.measured_seconds,
            baseline=mebibytes / tus.baseline_seconds,
            ratio=tus.speedup,
            unit="MiB/s",
            at_least=0.2,
            note=f"in requests of {_TUS_CHUNK // _MIB} MiB, each made durable; cp + sha256sum; median of {tus.rounds}",
        ),
        Row(
            f"{uploads} parallel interrupted uploads",
            measured=float(uploads - right),
            unit="wrong hashes",
            at_most=0.0,
            note=f"{_INTERRUPTED_BYTES // _MIB} MiB each with tuspy, cut {breaks} times at random bytes and resumed",
        ),
    ]
    if peak is not None:
        note = "peak resident memory of the API process over all uploads"
        rows.append(Row("API memory while uploading", measured=peak, unit="MiB", at_most=200.0, note=note))
    if after is not None:
        note = f"the same with {uploads} more at a time"
        rows.append(Row("API memory with parallel uploads", measured=after, unit="MiB", at_most=1500.0, note=note))
    return rows


def _random_file(path: Path, mebibytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(_MIB))
    return path


def _upload(port: int, key: str, source: Path, objects: Path) -> None:
    # As the copy is removed before it is made again, so is the object: both find the disk and the page cache alike.
    for stored in (path for path in objects.rglob("*") if path.is_file()):
        stored.unlink()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600, blocksize=_MIB)
    with source.open("rb", buffering=0) as file:
        headers = {"Authorization": f"Bearer {key}", "Content-Length": str(source.stat().st_size)}
        connection.request("PUT", f"/v1/uploads/{source.name}", body=file, headers=headers)
        response = connection.getresponse()
        body = json.loads(response.read())
    connection.close()
    if response.status != 201 or body["size"] != source.stat().st_size:
        raise RuntimeError(f"the upload was answered with {response.status}: {body}")


def _upload_with_tus(port: int, key: str, source: Path, objects: Path) -> None:
    for stored in (path for path in objects.rglob("*") if path.is_file()):
        stored.unlink()
    client = TusClient(f"http://127.0.0.1:{port}/v1/uploads", headers={"Authorization": f"Bearer {key}"})
    client.uploader(str(source), chunk_size=_TUS_CHUNK).upload()


def _interrupted(port: int, key: str, uploads: int) -> tuple[int, int]:
    """How many of so many uploads at a time, over a line that is cut at random, have the right hash; and the cuts."""
    files = [os.urandom(_INTERRUPTED_BYTES) for _ in range(uploads)]
    with cutting_proxy(port, seed=0, longest=_INTERRUPTED_BYTES, share=0.7) as (bad, cuts):
        url = f"http://127.0.0.1:{bad}"
        with ThreadPoolExecutor(uploads) as pool:
            sent = pool.map(lambda number: upload_through(url, key, files[number], seed=number)[0], range(uploads))
            addresses = [address.split(str(bad))[1] for address in sent]
    right = 0
    for address, content in zip(addresses, files, strict=True):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{address}", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            right += json.loads(response.read())["sha256"] == sha256(content)
    return right, len(cuts)


def _copy_and_hash(source: Path, target: Path) -> None:
    if target.exists():
        target.unlink()
    subprocess.run(["cp", source, target], check=True)
    subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _api(root: Path) -> Iterator[tuple[int, str, int]]:
    """The API as its own process over a fresh database: port, key and process id."""
    home = root / "home"
    home.mkdir()
    with EmbeddedPostgres(home) as postgres, (root / "api.log").open("wb") as log:
        runner.upgrade(postgres.url)
        environment = {
            **os.environ,
            "MASKTUNE_DATABASE_URL": postgres.url,
            "MASKTUNE_REDIS_URL": f"redis+socket://{root}/none.sock",  # an upload sends no task
            "MASKTUNE_HOME": str(home),
            "MASKTUNE_RATE_LIMIT_REQUESTS": "1000000",
        }
        key = _make_key(environment)
        port = _free_port()
        command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app", "--port", str(port)]
        with subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
            try:
                _wait_until_alive(port, process, root / "api.log")
                yield port, key, process.pid
            finally:
                process.terminate()


def _make_key(environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "api.admin", "create-key", "--tenant", "benchmark", "--name", "upload", "--json"]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return str(json.loads(printed)["key"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_alive(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise RuntimeError(f"the API did not start:\n{log.read_text()[-2000:]}")


def _peak_mib(pid: int) -> float | None:
    """Highest resident memory that the process ever had; None where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    return None if found is None else int(found[1]) / 1024
