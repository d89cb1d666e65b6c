"""The service with a job of a million samples, for the benchmark of the browser.

The rows are made by SQL, with everything correlated as in a job that repaired a shortcut: what is filtered for lies at
one end of every sort, which is hardest for an index.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import psycopg
import uvicorn
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from api.main import create_app
from cli.embedded import EmbeddedPostgres, EmbeddedRedis
from masktune_core.config import JobConfig
from migrations.__main__ import main as migrations
from persistence import api_keys, datasets, jobs, objects, tenants, uploads
from persistence.database import make_engine, session_factory, transaction
from persistence.settings import Settings
from persistence.store import store_of

SIDE = 224

# 2 classes, 4 groups, 4 splits; 3 % changed sides. Confidence and every sort follow the outcome.
_SAMPLES = """
INSERT INTO samples (job_id, index, split, label, "group", predicted_before, confidence_before, predicted_after,
                     confidence_after, masked_fraction, confidence_drop, heatmap_distance, height, width, cam_height,
                     cam_width, cam_before, cam_after, mask)
SELECT :job, n, CASE WHEN n % 10 < 7 THEN 'train' WHEN n % 10 = 7 THEN 'val' WHEN n % 10 = 8 THEN 'test:original'
       ELSE 'test:biased' END,
       label, label * 2 + (n % 97 = 0)::int, CASE WHEN changed THEN 1 - label ELSE label END, 0.6 + 0.4 * r,
       CASE WHEN n % 211 = 0 THEN 1 - label ELSE label END, CASE WHEN changed THEN 0.5 + 0.3 * r ELSE 0.9 + 0.1 * r END,
       CASE WHEN changed THEN 0.1 * r ELSE 0.1 + 0.2 * r END, CASE WHEN changed THEN 0.4 * r ELSE -0.1 * r END,
       CASE WHEN changed THEN 0.5 + 0.5 * r ELSE 0.5 * r END, 224, 224, 7, 7, :cam, :cam, :mask
FROM (SELECT n, n % 2 AS label, n % 33 = 0 AS changed, random() AS r FROM generate_series(0, :last) AS n) AS made
"""
_COUNTS = """
INSERT INTO sample_counts SELECT job_id, split, label, group_key, outcome, count(*) FROM samples
GROUP BY 1, 2, 3, 4, 5
"""
_BANDS = """
INSERT INTO sample_bands SELECT job_id, split, label, group_key, outcome, model, LEAST(19, FLOOR(sure * 20)), count(*)
FROM samples, LATERAL (VALUES ('before', confidence_before), ('after', confidence_after)) AS said (model, sure)
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


class Stack:
    """The service on a port of its own, and rows for it."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], address: str) -> None:
        self.settings, self.sessions, self.address = settings, sessions, address
        with transaction(sessions) as session:
            self.tenant = tenants.get_or_create(session, "bench").id
            self.key = api_keys.create(session, self.tenant, "bench")[1]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def job(self, images: int = 1) -> uuid.UUID:
        """A claimed job over a data set of one picture of 224 px, which all its images are."""
        store = store_of(self.settings)
        picture = Path(self.settings.home) / "picture.zip"
        draw = np.random.default_rng(0).normal(128, 40, (28, 28, 3)).clip(0, 255).astype(np.uint8)
        file = picture.with_suffix(".jpg")
        Image.fromarray(draw).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, quality=90)
        with zipfile.ZipFile(picture, "w") as archive:
            archive.write(file, "picture.jpg")
            offset = archive.infolist()[0].header_offset + 30 + len("picture.jpg")
        stored = store.put_file(picture)
        with transaction(self.sessions) as session:
            objects.register(session, stored.sha256, stored.size)
            upload = uploads.create(session, self.tenant, "p.zip", stored.sha256, stored.size, timedelta(hours=1))
            dataset = datasets.create(session, self.tenant, "pictures", upload)
            claim = datasets.claim(session, dataset.id, "bench", 3600.0)
            assert claim is not None
            row = {"split": "train", "label": 0, "attributes": [], "width": SIDE, "height": SIDE}
            row |= {"offset": offset, "length": file.stat().st_size}
            datasets.finish_ready(
                session,
                dataset.id,
                claim.token,
                archive_sha256=stored.sha256,
                size=stored.size,
                images=({**row, "index": index, "name": f"{index}.jpg"} for index in range(images)),
                layout="metadata_csv",
                classes=["land", "water"],
                attributes=[],
                summary={},
            )
            job, _ = jobs.create(
                session, tenant_id=self.tenant, dataset_id=dataset.id, name="large", config=JobConfig()
            )
            assert jobs.claim(session, job.id, worker="bench", lease_seconds=3600.0, device="cpu") is not None
            return job.id

    def large_job(self, count: int) -> uuid.UUID:
        """A job with `count` samples, as autovacuum leaves them."""
        job = self.job(images=2000)
        mask = np.ones((SIDE, SIDE), dtype=bool)
        mask[20:60, 30:90] = False
        values = {
            "job": job,
            "last": count - 1,
            "cam": np.random.default_rng(1).random((7, 7)).astype(np.float16).tobytes(),
            "mask": zlib.compress(np.packbits(mask).tobytes()),
        }
        with transaction(self.sessions) as session:
            session.execute(text(_SAMPLES), values)
            session.execute(text(_COUNTS))
            session.execute(text(_BANDS))
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE samples, sample_counts, sample_bands")
        return job

    @property
    def database(self) -> str:
        return self.settings.database_url.get_secret_value().replace("+psycopg", "")


@contextmanager
def service(home: Path, *, viewers: int = 1) -> Iterator[Stack]:
    """The service over a fresh database in `home`; so many may follow events with one key."""
    with EmbeddedPostgres(home) as postgres, EmbeddedRedis(home) as redis:
        settings = Settings(
            database_url=SecretStr(str(postgres.url)),
            redis_url=SecretStr(str(redis.url)),
            home=home / "data",
            rate_limit_requests=0,
            event_streams_per_key=viewers,
            log_level="WARNING",
        )
        settings.home.mkdir()
        os.environ["MASKTUNE_DATABASE_URL"] = settings.database_url.get_secret_value()
        migrations(["upgrade"])
        server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        engine = make_engine(settings.database_url.get_secret_value())
        try:
            yield Stack(settings, session_factory(engine), f"http://127.0.0.1:{port}")
        finally:
            server.should_exit = True
            thread.join()
            engine.dispose()
