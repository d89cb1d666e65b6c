"""Objects in an S3 bucket: `<prefix>/objects/ab/abcd…`. A later generation's key ends in `.<n>`."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, cast

from boto3.s3.transfer import TransferConfig

from persistence.errors import ObjectCorrupt, ObjectMissing
from persistence.store.generations import name_of, newest, parse
from persistence.store.multipart import MultipartArea, translated
from persistence.store.protocol import CHUNK, ObjectInfo, Stored
from persistence.store.s3_client import COPY, s3_client
from persistence.store.s3_incoming import S3Incoming
from persistence.store.staging import StagedWriter, staged, sweep
from persistence.store.verified import VerifiedReader, hash_stream, is_hash, require_hash, verified_chunks

_TRANSFER: Final = TransferConfig(multipart_threshold=16 * 2**20, multipart_chunksize=16 * 2**20, max_concurrency=4)
_REMEMBERED: Final = 1000
"""Of how many objects that are not under their first generation the key is remembered."""
T = TypeVar("T")


class S3Store:
    """An `ObjectStore` in an S3 bucket, or in anything that speaks S3.

    The name of an object is known only at its end, so bytes are collected in a file under `spool` and then sent, in
    parallel parts when large. Credentials, region and endpoint come from the usual `AWS_*` variables.
    """

    def __init__(self, bucket: str, prefix: str, *, headroom: int, spool: Path | None = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/objects/" if prefix else "objects/"
        self._headroom = headroom
        self._spool = spool or Path(tempfile.gettempdir()) / "masktune-spool"
        self._client = s3_client(bucket)
        # A request that was given up and made again may still arrive; a deletion must not come twice, the second late.
        self._client_that_asks_once = s3_client(bucket, tries=1)
        self._later: dict[str, str] = {}
        area = f"{prefix}/incoming/" if prefix else "incoming/"
        self.multipart = MultipartArea(s3_client(bucket, parts_apart=True), bucket, area, key_of=self._key)
        self.incoming = S3Incoming(self.multipart, self._spool, headroom=headroom)

    def writer(self) -> AbstractContextManager[StagedWriter]:
        return staged(self._spool, self._headroom, self._publish)

    def put_file(self, path: Path) -> Stored:
        with path.open("rb") as file:
            stored = Stored(hash_stream(file), path.stat().st_size)
        self._publish(path, stored)
        return stored

    def open(self, sha256: str) -> BinaryIO:
        return io.BufferedReader(VerifiedReader(self._body(sha256), sha256), CHUNK)

    def read_range(self, sha256: str, offset: int, length: int) -> bytes:
        if length == 0:
            self.stat(sha256)
            return b""
        with self._body(sha256, offset, offset + length) as body, translated(sha256):
            data = body.read()
        if len(data) != length:
            raise ObjectCorrupt(sha256, f"bytes {offset} to {offset + length} are not all there")
        return data

    def iter_range(self, sha256: str, start: int, stop: int, chunk: int = CHUNK) -> Iterator[bytes]:
        size = self.stat(sha256).size
        return self._chunks(sha256, start, stop, size, chunk)

    def fetch(self, sha256: str, destination: Path, *, on_chunk: Callable[[], object] = lambda: None) -> None:
        def publish(path: Path, stored: Stored) -> None:
            if stored.sha256 != sha256:
                raise ObjectCorrupt(sha256, f"its hash is {stored.sha256}")
            path.replace(destination)

        with staged(destination.parent, self._headroom, publish) as writer:
            with self._body(sha256) as body, translated(sha256):
                while data := body.read(CHUNK):
                    writer.write(data)
                    on_chunk()
            writer.commit()

    def local_path(self, sha256: str) -> Path | None:
        require_hash(sha256)
        return None

    def exists(self, sha256: str, generation: int | None = None) -> bool:
        try:
            if generation is None:
                self.stat(sha256)
            else:
                with translated(sha256):
                    self._client.head_object(Bucket=self._bucket, Key=self._key(sha256, generation))
        except ObjectMissing:
            return False
        return True

    def promote(self, sha256: str, generation: int) -> None:
        source = {"Bucket": self._bucket, "Key": self._key(sha256, self.stat(sha256).generation)}
        with translated(sha256):
            self._client.copy(source, self._bucket, self._key(sha256, generation), Config=COPY)

    def stat(self, sha256: str) -> ObjectInfo:
        key, head = self._read(sha256, lambda key: self._client.head_object(Bucket=self._bucket, Key=key))
        generation = newest([key.rpartition("/")[2]], sha256) or 0
        return ObjectInfo(sha256, int(head["ContentLength"]), cast("datetime", head["LastModified"]), generation)

    def delete(self, sha256: str, generation: int = 0) -> None:
        if not is_hash(sha256):
            return
        with translated(sha256):
            self._client_that_asks_once.delete_object(Bucket=self._bucket, Key=self._key(sha256, generation))

    def list_all(self) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        with translated(""):
            for page in pages:
                for entry in page.get("Contents", ()):
                    parsed = parse(str(entry["Key"]).rpartition("/")[2])
                    if parsed is not None:
                        modified = cast("datetime", entry["LastModified"])
                        yield ObjectInfo(parsed[0], int(entry["Size"]), modified, parsed[1])

    def sweep_staging(self, older_than: timedelta) -> int:
        """Spool files of this machine, and multipart uploads that nobody finished."""
        oldest = datetime.now(UTC) - older_than
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
        stale = 0
        with translated(""):
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < oldest:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        stale += 1
        return stale + sweep(self._spool, older_than)

    def _key(self, sha256: str, generation: int = 0) -> str:
        name = name_of(sha256, generation)
        return f"{self._prefix}{name[:2]}/{name}"

    def _read(self, sha256: str, call: Callable[[str], T]) -> tuple[str, T]:
        """The key that has the object, with what `call` found under it: nearly always the first generation's."""
        key = self._later.get(sha256, self._key(sha256))
        try:
            with translated(sha256):
                return key, call(key)
        except ObjectMissing:
            key = self._newest_key(sha256)
        if len(self._later) >= _REMEMBERED:
            self._later.clear()
        self._later[sha256] = key
        with translated(sha256):
            return key, call(key)

    def _newest_key(self, sha256: str) -> str:
        """Raises `ObjectMissing`."""
        with translated(sha256):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._key(sha256))
        names = [str(entry["Key"]).rpartition("/")[2] for entry in page.get("Contents", ())]
        generation = newest(names, sha256)
        if generation is None:
            raise ObjectMissing(sha256)
        return self._key(sha256, generation)

    def _body(self, sha256: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        span = {} if start == 0 and stop is None else {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        _, response = self._read(sha256, lambda key: self._client.get_object(Bucket=self._bucket, Key=key, **span))
        return cast("BinaryIO", response["Body"])

    def _chunks(self, sha256: str, start: int, stop: int, size: int, chunk: int) -> Iterator[bytes]:
        if start >= stop:
            return
        with self._body(sha256, start, stop) as body, translated(sha256):
            yield from verified_chunks(body, sha256, start, stop, size, chunk)

    def _publish(self, path: Path, stored: Stored) -> None:
        with translated(stored.sha256):
            self._client.upload_file(str(path), self._bucket, self._key(stored.sha256), Config=_TRANSFER)
