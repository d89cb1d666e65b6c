"""What a check made is kept if its tenant has room for it, and the store is not filled with what it has no room for."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from masktune_core.errors import OutOfDisk
from masktune_core.models import build_model
from persistence import objects, uploads
from persistence.database import transaction
from persistence.settings import Settings
from persistence.store import ObjectStore, Stored
from persistence.tables import Tenant, Upload
from tests.worker.driving import UPLOAD_TTL
from worker.intake_checkpoint import examine_checkpoint
from worker.product import Product, keep

CONTENT = bytes(1000)


class Book:
    """Writes down how the validation ended."""

    def __init__(self, path: Path, tenant: uuid.UUID) -> None:
        self.entries: list[str] = []
        self.tenant = tenant
        path.write_bytes(CONTENT)
        self.product = Product(path, self.accept, self.refuse)

    def accept(self, session: Session, stored: Stored) -> None:
        """As a data set's row refers to its archive."""
        uploads.create(session, self.tenant, "archive.zip", stored.sha256, stored.size, UPLOAD_TTL)
        self.entries.append("accepted")

    def refuse(self, session: Session, code: str, message: str) -> None:
        self.entries.append(f"{code}: {message}")


@pytest.fixture
def book(tmp_path: Path, tenant: uuid.UUID) -> Book:
    return Book(tmp_path / "product", tenant)


def allow(sessions: sessionmaker[Session], tenant: uuid.UUID, quota: int) -> None:
    with transaction(sessions) as session:
        session.execute(update(Tenant).where(Tenant.id == tenant).values(quota_bytes=quota))


def stored(store: ObjectStore) -> int:
    return len(list(store.list_all()))


def test_with_room_the_product_is_stored_and_accepted(
    book: Book, sessions: sessionmaker[Session], store: ObjectStore, settings: Settings, tenant: uuid.UUID
) -> None:
    allow(sessions, tenant, len(CONTENT))
    keep(book.product, sessions, store, settings, tenant)
    assert (book.entries, stored(store)) == (["accepted"], 1)


def test_without_room_it_is_refused_before_it_is_stored(
    book: Book, sessions: sessionmaker[Session], store: ObjectStore, settings: Settings, tenant: uuid.UUID
) -> None:
    allow(sessions, tenant, len(CONTENT) - 1)
    keep(book.product, sessions, store, settings, tenant)
    (entry,) = book.entries
    assert entry.startswith("quota_exceeded: ")
    assert "0 bytes of the 999" in entry
    assert "delete" in entry
    assert stored(store) == 0


def test_bytes_that_the_tenant_keeps_already_need_no_room(
    book: Book,
    sessions: sessionmaker[Session],
    store: ObjectStore,
    settings: Settings,
    tenant: uuid.UUID,
    upload: Callable[[Path], Upload],
) -> None:
    upload(book.product.path)
    allow(sessions, tenant, 1)
    keep(book.product, sessions, store, settings, tenant)
    assert book.entries == ["accepted"]


def test_a_quota_that_is_filled_meanwhile_is_noticed_and_nothing_stays(
    book: Book, sessions: sessionmaker[Session], store: ObjectStore, settings: Settings, tenant: uuid.UUID
) -> None:
    allow(sessions, tenant, len(CONTENT) + 5)
    put_file = store.put_file

    def slow_put(path: Path) -> Stored:
        with transaction(sessions) as session:
            sha256 = uuid.uuid4().hex * 2
            objects.register(session, sha256, 6)
            uploads.create(session, tenant, "another.zip", sha256, 6, UPLOAD_TTL)
        return put_file(path)

    store.put_file = slow_put  # type: ignore[method-assign]
    keep(book.product, sessions, store, settings, tenant)
    assert [entry.split(":")[0] for entry in book.entries] == ["accepted", "quota_exceeded"]
    with transaction(sessions) as session:
        assert [row.filename for row in uploads.list_page(session, tenant).rows] == ["another.zip"]


def test_the_weights_of_a_checkpoint_leave_the_disk_its_headroom(tmp_path: Path, settings: Settings) -> None:
    torch.save(build_model("small_cnn", 2).state_dict(), tmp_path / "upload")
    described = {"id": str(uuid.uuid4()), "token": str(uuid.uuid4()), "filename": "mine.pt"}
    described |= {"architecture": "small_cnn", "num_classes": 2, "classes": None}  # type: ignore[dict-item]
    with pytest.raises(OutOfDisk):
        examine_checkpoint(
            described, tmp_path / "upload", tmp_path, settings.model_copy(update={"disk_headroom_bytes": 2**62})
        )
    assert [path.name for path in tmp_path.iterdir() if "safetensors" in path.name] == []
