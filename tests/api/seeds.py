"""Rows for the API to show, made through persistence as a worker makes them."""

from __future__ import annotations

import hashlib
import io
import uuid
import zlib
from datetime import timedelta
from typing import Any

from PIL import Image
from sqlalchemy.orm import Session, sessionmaker

from masktune_core.config import JobConfig, Stage
from persistence import (
    api_keys,
    artifacts,
    checkpoints,
    datasets,
    events,
    incoming_turns,
    incoming_uploads,
    insights,
    jobs,
    metrics,
    objects,
    samples,
    uploads,
    webhooks,
)
from persistence.database import transaction
from persistence.store import ObjectStore
from persistence.tables import Job
from tests.api.pictured import IMAGES, SIDE, picture, pictured_sample, two_classes
from tests.fixtures.records import claim_job, image_row, make_checkpoint, make_dataset, make_upload
from tests.fixtures.turns import Turn

_NONE_SHARED = {"images": 0, "between": [], "examples": [], "complete": True}
_SIDES = {"min": SIDE, "median": float(SIDE), "max": SIDE}
REPORT = {
    "format": 1,
    "images": IMAGES,
    "bytes": 4000,
    "classes": [{"name": name, "count": 3, "train": 3, "train_share": 0.5} for name in ("0-4", "5-9")],
    "imbalance": 1.0,
    "splits": {"train": {"count": IMAGES, "classes": {"0-4": 3, "5-9": 3}, "groups": {}}},
    "sizes": {"width": _SIDES, "height": _SIDES, "distinct": 1, "most_frequent": []},
    "duplicates": {"exact": _NONE_SHARED, "similar": _NONE_SHARED},
    "attributes": [],
    "warnings": [],
}


class Seeds:
    """Everything belongs to one tenant; every call is a transaction of its own."""

    def __init__(self, sessions: sessionmaker[Session], store: ObjectStore, tenant_id: uuid.UUID) -> None:
        self.sessions = sessions
        self.store = store
        self.tenant_id = tenant_id

    def upload(self) -> uuid.UUID:
        with transaction(self.sessions) as session:
            return make_upload(session, self.tenant_id).id

    def incoming_upload(self, *, direct: bool = False) -> uuid.UUID:
        """An upload of ten bytes that is not complete: four are here, or with `direct` the client sends them to S3."""
        with transaction(self.sessions) as session:
            made = incoming_uploads.begin(session, self.tenant_id, "images.zip", 10, timedelta(hours=1), direct=direct)
            token = incoming_turns.take(session, self.tenant_id, made.id)
        if direct:
            with transaction(self.sessions) as session:
                incoming_uploads.name_multipart(session, made.id, "multipart-1")
        else:
            with self.store.incoming.open(made.id, 0, Turn(10)) as writer:
                writer.write(b"four")
                kept = writer.sync()
            with transaction(self.sessions) as session:
                incoming_turns.advance(session, made.id, token, 0, kept, timedelta(hours=1))
        with transaction(self.sessions) as session:
            incoming_turns.release(session, made.id, token)
        return made.id

    def dataset(self, *, ready: bool = True, **options: Any) -> uuid.UUID:
        """Without images in the store."""
        with transaction(self.sessions) as session:
            return make_dataset(session, self.tenant_id, ready=ready, **options).id

    def invalid_dataset(self) -> uuid.UUID:
        dataset_id = self.dataset(ready=False)
        problem = {"code": "image_corrupt", "where": "a.png", "message": "it ends early", "severity": "error"}
        with transaction(self.sessions) as session:
            claim = datasets.claim(session, dataset_id, "worker-1", 30.0)
            assert claim is not None
            datasets.finish_invalid(session, dataset_id, claim.token, [problem], 1)
        return dataset_id

    def pictured_dataset(self, side: int = SIDE) -> uuid.UUID:
        """Six PNG images of `side`×`side` pixels, one after the other in one stored object."""
        archive, rows = io.BytesIO(), []
        for index in range(IMAGES):
            offset = archive.tell()
            Image.fromarray(picture(index, side)).save(archive, "PNG")
            length = archive.tell() - offset
            rows.append(image_row(index, offset=offset, length=length, width=side, height=side))
        with self.store.writer() as writer:
            writer.write(archive.getvalue())
            stored = writer.commit()
        with transaction(self.sessions) as session:
            objects.register(session, stored.sha256, stored.size)
            dataset = datasets.create(session, self.tenant_id, "pictures", make_upload(session, self.tenant_id))
            claim = datasets.claim(session, dataset.id, "worker-1", 30.0)
            assert claim is not None
            datasets.finish_ready(
                session,
                dataset.id,
                claim.token,
                archive_sha256=stored.sha256,
                size=stored.size,
                images=rows,
                layout="metadata_csv",
                classes=["0-4", "5-9"],
                attributes=[{"name": "square", "values": ["no", "yes"]}],
                summary={"splits": {"train": {"count": IMAGES}}},
                report=REPORT,
            )
            return dataset.id

    def checkpoint(self, *, ready: bool = True) -> uuid.UUID:
        with transaction(self.sessions) as session:
            return make_checkpoint(session, self.tenant_id, ready=ready).id

    def stored_checkpoint(self, content: bytes, *, num_classes: int = 2, classes: list[str] | None = None) -> uuid.UUID:
        sha256 = self.put(content)
        with transaction(self.sessions) as session:
            upload = make_upload(session, self.tenant_id)
            made = checkpoints.create(
                session,
                self.tenant_id,
                "weights",
                upload,
                architecture="small_cnn",
                num_classes=num_classes,
                classes=classes,
            )
            claim = checkpoints.claim(session, made.id, "worker-1", 30.0)
            assert claim is not None
            checkpoints.finish_ready(session, made.id, claim.token, content_sha256=sha256, size=len(content))
            return made.id

    def job(
        self,
        dataset_id: uuid.UUID | None = None,
        config: JobConfig | None = None,
        checkpoint_id: uuid.UUID | None = None,
    ) -> uuid.UUID:
        dataset_id = dataset_id or self.dataset()
        with transaction(self.sessions) as session:
            job, _ = jobs.create(
                session,
                tenant_id=self.tenant_id,
                dataset_id=dataset_id,
                checkpoint_id=checkpoint_id,
                name="job",
                config=config or JobConfig(),
            )
            return job.id

    def claim(self, job_id: uuid.UUID) -> uuid.UUID:
        """Start the job; the attempt's token."""
        with transaction(self.sessions) as session:
            return claim_job(session, job_id).token

    def event(self, job_id: uuid.UUID, kind: str, data: dict[str, Any]) -> None:
        with transaction(self.sessions) as session:
            events.append(session, job_id, kind, data)

    def stages(self, job_id: uuid.UUID, token: uuid.UUID, *names: Stage) -> None:
        """Have the attempt enter these stages, those of a round in the first one."""
        for name in names:
            with transaction(self.sessions) as session:
                jobs.enter_stage(session, job_id, token, name, int(name in ("masking", "finetuning")))

    def progress(self, job_id: uuid.UUID, token: uuid.UUID, data: dict[str, Any]) -> None:
        with transaction(self.sessions) as session:
            jobs.set_progress(session, job_id, token, data)

    def finish(self, job_id: uuid.UUID, token: uuid.UUID) -> None:
        with transaction(self.sessions) as session:
            jobs.finish(session, job_id, token, "succeeded")

    def metrics(self, job_id: uuid.UUID, token: uuid.UUID, rows: list[dict[str, Any]]) -> None:
        with transaction(self.sessions) as session:
            metrics.upsert(session, job_id, token, rows)

    def samples(self, job_id: uuid.UUID, token: uuid.UUID, rows: list[dict[str, Any]]) -> None:
        with transaction(self.sessions) as session:
            samples.copy_in(session, job_id, token, rows)

    def insight(
        self, job_id: uuid.UUID, token: uuid.UUID, report: dict[str, Any] | None = None, maps: bytes | None = None
    ) -> None:
        """By default two classes on a grid of 2×2: the first has a shortcut in the top left corner, the second nothing
        masked. `maps` are the levels, by default the numbers from 0 on."""
        maps = bytes(range(9 * 4)) if maps is None else maps
        with transaction(self.sessions) as session:
            insights.put(session, job_id, token, report or two_classes(), zlib.compress(maps))

    def artifact(self, job_id: uuid.UUID, token: uuid.UUID, name: str, content: bytes) -> str:
        sha256 = self.put(content)
        with transaction(self.sessions) as session:
            artifacts.put(session, job_id, token, name, sha256, len(content), "application/octet-stream")
        return sha256

    def manifest(self, job_id: uuid.UUID, token: uuid.UUID, content: dict[str, Any]) -> None:
        with transaction(self.sessions) as session:
            jobs.set_manifest(session, job_id, token, content)

    def put(self, content: bytes) -> str:
        """Store and register an object."""
        with self.store.writer() as writer:
            writer.write(content)
            stored = writer.commit()
        assert stored.sha256 == hashlib.sha256(content).hexdigest()
        with transaction(self.sessions) as session:
            objects.register(session, stored.sha256, stored.size)
        return stored.sha256

    def finished_job(self, config: JobConfig | None = None) -> uuid.UUID:
        """A succeeded job over `pictured_dataset`, with a pictured sample of every image."""
        job_id = self.job(self.pictured_dataset(), config)
        token = self.claim(job_id)
        self.samples(job_id, token, [pictured_sample(index) for index in range(IMAGES)])
        self.insight(job_id, token)
        self.finish(job_id, token)
        return job_id

    def finish_pictured(self, job_id: uuid.UUID, token: uuid.UUID) -> None:
        """End a claimed job over `pictured_dataset` with one of everything that a job leaves behind."""
        self.samples(job_id, token, [pictured_sample(index) for index in range(IMAGES)])
        self.insight(job_id, token)
        self.artifact(job_id, token, "masktune.safetensors", b"weights of the job")
        self.manifest(job_id, token, {"seed": 0, "device_type": "cpu", "device_name": "x86_64"})
        self.finish(job_id, token)

    def key(self) -> uuid.UUID:
        """An API key."""
        with transaction(self.sessions) as session:
            return api_keys.create(session, self.tenant_id, "seeded")[0].id

    def webhook(self) -> uuid.UUID:
        """A webhook."""
        with transaction(self.sessions) as session:
            return webhooks.create(session, self.tenant_id, url="https://example.com/", events=["job.failed"]).id

    def delivery(self) -> tuple[uuid.UUID, uuid.UUID]:
        """A webhook and a line of its log."""
        webhook = self.webhook()
        with transaction(self.sessions) as session:
            return webhook, webhooks.send_test(session, self.tenant_id, webhook).id

    def look(self, job_id: uuid.UUID) -> Job:
        with transaction(self.sessions) as session:
            return session.get_one(Job, job_id)

    def delete_checkpoint(self, checkpoint_id: uuid.UUID) -> None:
        with transaction(self.sessions) as session:
            checkpoints.delete(session, self.tenant_id, checkpoint_id)

    def delete_dataset(self, dataset_id: uuid.UUID) -> None:
        with transaction(self.sessions) as session:
            datasets.delete(session, self.tenant_id, dataset_id)

    def uploads_left(self) -> int:
        with transaction(self.sessions) as session:
            return len(uploads.list_page(session, self.tenant_id).rows)
