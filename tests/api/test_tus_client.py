"""A public tus client uploads over lines that break."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from persistence.settings import Settings
from tests.api.conftest import serving
from tests.api.test_uploads import leftovers
from tests.fixtures.cutting_proxy import cutting_proxy
from tests.fixtures.tus_client import sha256, upload_through

UPLOADS = 24


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # connections that were cut in the middle
def test_every_interrupted_upload_arrives_whole(settings: Settings, make_key: Callable[[str], str]) -> None:
    key = make_key("acme")
    files = [os.urandom(150_000 + 1000 * number) for number in range(UPLOADS)]
    with serving(settings) as (url, _), cutting_proxy(_port(url), seed=1, longest=120_000, share=0.8) as (port, cuts):
        with ThreadPoolExecutor(8) as pool:
            sent = list(
                pool.map(
                    lambda number: upload_through(
                        f"http://127.0.0.1:{port}", key, files[number], seed=number, checksums=number % 3 == 0
                    ),
                    range(UPLOADS),
                )
            )
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
            for number, (address, _) in enumerate(sent):
                upload = client.get(address.split(str(port))[1]).json()
                assert (upload["sha256"], upload["filename"]) == (sha256(files[number]), f"{number}.zip")
    assert len(cuts) >= UPLOADS / 2
    assert sum(breaks for _, breaks in sent) >= UPLOADS / 2
    stored = sorted(path.read_bytes() for path in leftovers(settings) if "objects" in path.parent.parent.name)
    assert stored == sorted(files)


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
