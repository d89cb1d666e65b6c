"""Objects as files: `<root>/objects/ab/abcd…`, staged in `<root>/staging`. A later generation's name ends in `.<n>`."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from persistence.errors import ObjectCorrupt, ObjectMissing
from persistence.store.file_incoming import FileIncoming
from persistence.store.generations import name_of, newest, parse
from persistence.store.protocol import CHUNK, ObjectInfo, Stored
from persistence.store.staging import StagedWriter, copy_in, disk_full, staged, sweep
from persistence.store.verified import VerifiedReader, is_hash, verified_chunks


class FileStore:
    """An `ObjectStore` on a local or shared disk.

    An object is written to a staging file, synced, and renamed over its final name, then the folder is synced: after a
    crash it is whole or absent. Putting an object that is there replaces it by itself, which renews its time.
    """

    def __init__(self, root: Path, *, headroom: int) -> None:
        self._objects = root / "objects"
        self._staging = root / "staging"
        self._headroom = headroom
        self._objects.mkdir(parents=True, exist_ok=True)
        self._staging.mkdir(parents=True, exist_ok=True)
        self.incoming = FileIncoming(root / "incoming", headroom=headroom, publish=self._publish)
        self.multipart: None = None

    def writer(self) -> AbstractContextManager[StagedWriter]:
        return staged(self._staging, self._headroom, self._publish)

    def put_file(self, path: Path) -> Stored:
        with self.writer() as writer:
            copy_in(path, writer)
            return writer.commit()

    def open(self, sha256: str) -> BinaryIO:
        return io.BufferedReader(VerifiedReader(self._open(sha256), sha256), CHUNK)

    def read_range(self, sha256: str, offset: int, length: int) -> bytes:
        with self._open(sha256) as file:
            data = os.pread(file.fileno(), length, offset)
        if len(data) != length:
            raise ObjectCorrupt(sha256, f"bytes {offset} to {offset + length} are not all there")
        return data

    def iter_range(self, sha256: str, start: int, stop: int, chunk: int = CHUNK) -> Iterator[bytes]:
        self._require(sha256)  # now, not at the first piece: a missing object must not become half a response
        return self._chunks(sha256, start, stop, chunk)

    def fetch(self, sha256: str, destination: Path, *, on_chunk: Callable[[], object] = lambda: None) -> None:
        def publish(path: Path, stored: Stored) -> None:
            if stored.sha256 != sha256:
                raise ObjectCorrupt(sha256, f"its hash is {stored.sha256}")
            path.replace(destination)

        source = self._require(sha256)
        with staged(destination.parent, self._headroom, publish) as writer:
            copy_in(source, writer, on_chunk)
            writer.commit()

    def local_path(self, sha256: str) -> Path | None:
        return self._require(sha256)

    def exists(self, sha256: str, generation: int | None = None) -> bool:
        if not is_hash(sha256):
            return False
        return self._path(sha256, generation or 0).exists() or (generation is None and self._later(sha256) is not None)

    def promote(self, sha256: str, generation: int) -> None:
        final = self._path(sha256, generation)
        with suppress(FileExistsError):
            try:
                os.link(self._require(sha256), final)
            except FileNotFoundError:
                raise ObjectMissing(sha256) from None
        _sync_folder(final.parent)

    def stat(self, sha256: str) -> ObjectInfo:
        info = _info(self._require(sha256))
        if info is None:
            raise ObjectMissing(sha256)
        return info

    def delete(self, sha256: str, generation: int = 0) -> None:
        if is_hash(sha256):
            self._path(sha256, generation).unlink(missing_ok=True)

    def list_all(self) -> Iterator[ObjectInfo]:
        for shard in sorted(self._objects.iterdir()):
            for path in sorted(shard.iterdir()):
                info = _info(path)
                if info is not None:
                    yield info

    def sweep_staging(self, older_than: timedelta) -> int:
        return sweep(self._staging, older_than) + self.incoming.sweep(older_than)

    def _path(self, sha256: str, generation: int = 0) -> Path:
        name = name_of(sha256, generation)
        return self._objects / name[:2] / name

    def _later(self, sha256: str) -> Path | None:
        """The newest of an object's later generations."""
        shard = self._path(sha256).parent
        generation = newest((path.name for path in shard.iterdir()), sha256) if shard.exists() else None
        return self._path(sha256, generation) if generation else None

    def _require(self, sha256: str) -> Path:
        path = self._path(sha256)
        if path.exists():
            return path
        later = self._later(sha256)
        if later is None:
            raise ObjectMissing(sha256)
        return later

    def _open(self, sha256: str) -> BinaryIO:
        try:
            return self._path(sha256).open("rb", buffering=0)
        except FileNotFoundError:
            pass
        try:
            return self._require(sha256).open("rb", buffering=0)
        except FileNotFoundError:
            raise ObjectMissing(sha256) from None

    def _chunks(self, sha256: str, start: int, stop: int, chunk: int) -> Iterator[bytes]:
        with self._open(sha256) as file:
            file.seek(start)
            yield from verified_chunks(file, sha256, start, stop, os.fstat(file.fileno()).st_size, chunk)

    def _publish(self, staged_file: Path, stored: Stored) -> None:
        final = self._path(stored.sha256)
        with disk_full(self._objects, self._headroom):
            if not final.parent.exists():
                final.parent.mkdir(exist_ok=True)
                _sync_folder(self._objects)
            # Its last byte may have come long ago; what counts is when it was put.
            os.utime(staged_file)
            staged_file.replace(final)
            _sync_folder(final.parent)


def _info(path: Path) -> ObjectInfo | None:
    """None for what is no object, or was deleted while we looked."""
    parsed = parse(path.name)
    if parsed is None:
        return None
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    sha256, generation = parsed
    return ObjectInfo(sha256, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), generation)


def _sync_folder(folder: Path) -> None:
    """A rename is durable only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
