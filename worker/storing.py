"""Putting a file into the object store so that nothing can remove it before a row refers to it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session

from persistence import objects
from persistence.store import ObjectStore, Stored


class Storing:
    """`put` the bytes first, outside any transaction; then `register` them in the transaction that refers to them."""

    def __init__(self, store: ObjectStore, path: Path) -> None:
        self._store, self._path = store, path
        self._stored: Stored | None = None

    def put(self) -> Stored:
        """Copy the file into the store."""
        self._stored = self._store.put_file(self._path)
        return self._stored

    @property
    def is_put(self) -> bool:
        """Whether the bytes are in the store."""
        return self._stored is not None

    def register(self, session: Session) -> Stored:
        """Lock the object's row against removal. Bytes that were removed since `put` are put again."""
        stored = self._stored if self._stored is not None else self.put()
        objects.hold_here(session, self._store, stored, lambda: self._store.put_file(self._path))
        return stored
