"""Uploads that arrive in S3 in parts: sent by clients over addresses that we sign, or by us as bytes come in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Final
from uuid import UUID

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from persistence.errors import Conflict, IncomingLost, ObjectCorrupt, ObjectMissing, StoreUnavailable
from persistence.store.file_slice import FileSlice
from persistence.store.protocol import CHUNK
from persistence.store.staging import write_all

_SMALLEST_PART: Final = 16 * 2**20
MOST_PARTS: Final = 10_000
LEFT_AFTER: Final = timedelta(days=1)
"""How long something must have lain here before it may be called a leftover."""


class MultipartArea:
    """Uploads under `<prefix>/incoming/<id>`, apart from the objects until their hash is known.

    Beside the upload itself lie its tails, `<id>.<name>`: bytes that are too few for a part of S3 (5 MiB).
    """

    def __init__(self, client: Any, bucket: str, prefix: str, *, key_of: Callable[[str], str]) -> None:
        self.client, self.bucket, self._prefix = client, bucket, prefix
        self.key_of = key_of
        """Where the object of a hash lies."""

    @staticmethod
    def part_size(size: int) -> int:
        """Bytes of every part but the last of an upload of `size` bytes: at least 16 MiB, at most 10,000 parts."""
        mebibytes = -(-size // (MOST_PARTS * 2**20))
        return max(mebibytes * 2**20, _SMALLEST_PART)

    @classmethod
    def part_count(cls, size: int) -> int:
        """How many parts an upload of `size` bytes has."""
        return max(-(-size // cls.part_size(size)), 1)

    @classmethod
    def part_length(cls, size: int, number: int) -> int:
        """Bytes of part `number` (from 1) of an upload of `size` bytes."""
        return min(cls.part_size(size), size - (number - 1) * cls.part_size(size))

    def begin(self, name: UUID) -> str:
        """S3's id for a new upload."""
        with translated(str(name)):
            return str(self.client.create_multipart_upload(Bucket=self.bucket, Key=self.key(name))["UploadId"])

    def part_url(self, name: UUID, multipart_id: str, number: int, length: int, *, seconds: int) -> str:
        """An address that takes the `length` bytes of part `number` (from 1) with PUT, for so long."""
        with translated(str(name)):
            return str(
                self.client.generate_presigned_url(
                    "upload_part",
                    Params={
                        "Bucket": self.bucket,
                        "Key": self.key(name),
                        "UploadId": multipart_id,
                        "PartNumber": number,
                        "ContentLength": length,
                    },
                    ExpiresIn=seconds,
                )
            )

    def send_part(self, name: UUID, multipart_id: str, number: int, file: BinaryIO, start: int, length: int) -> str:
        """Send `length` bytes of a file as part `number`; its ETag. Raises `IncomingLost` when S3 has no such upload.

        S3 compares their MD5: on the way nothing else would notice a change.
        """
        with translated(str(name), lost=name):
            response = self.client.upload_part(
                Bucket=self.bucket,
                Key=self.key(name),
                UploadId=multipart_id,
                PartNumber=number,
                ContentMD5=_md5(file, start, length),
                Body=FileSlice(file, start, length),
            )
            return str(response["ETag"])

    def put_tail(self, name: UUID, tail: str, file: BinaryIO, start: int, length: int) -> None:
        """Keep `length` bytes of a file beside the upload."""
        with translated(str(name)):
            self.client.put_object(
                Bucket=self.bucket,
                Key=f"{self.key(name)}.{tail}",
                ContentMD5=_md5(file, start, length),
                Body=FileSlice(file, start, length),
            )

    def get_tail(self, name: UUID, tail: str, file: BinaryIO) -> None:
        """Write a tail to a file without a buffer. Raises `IncomingLost`."""
        with translated(str(name), lost=name):
            with self.client.get_object(Bucket=self.bucket, Key=f"{self.key(name)}.{tail}")["Body"] as body:
                while data := body.read(CHUNK):
                    write_all(file, data)

    def drop_tail(self, name: UUID, tail: str) -> None:
        """Take a tail away; one that is not there is fine."""
        with translated(str(name)):
            self.client.delete_object(Bucket=self.bucket, Key=f"{self.key(name)}.{tail}")

    def complete(self, name: UUID, multipart_id: str, parts: Mapping[int, str]) -> None:
        """Put the parts (number: ETag) together. Doing it again is fine. Raises `Conflict` (multipart_invalid)."""
        listed = [{"PartNumber": number, "ETag": parts[number]} for number in sorted(parts)]
        try:
            self.client.complete_multipart_upload(
                Bucket=self.bucket,
                Key=self.key(name),
                UploadId=multipart_id,
                MultipartUpload={"Parts": listed},
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "NoSuchUpload" and self._is_there(name):
                return
            if code in ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "NoSuchUpload", "MalformedXML"):
                raise Conflict("multipart_invalid", f"S3 refuses the parts ({code}): send them again") from error
            raise StoreUnavailable(f"the object store refused: {error}") from error
        except BotoCoreError as error:
            raise StoreUnavailable(f"the object store does not answer: {error}") from error

    def discard(self, name: UUID, multipart_id: str | None = None) -> None:
        """Forget an upload, its parts and tails, whole or not; if there is nothing, that is fine.

        Open multipart uploads are looked for as well: a process may have died before it could note one.
        """
        key = self.key(name)
        with translated(str(name)):
            uploads = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=key)
            open_ids = {str(each["UploadId"]) for page in uploads for each in page.get("Uploads", ())}
            for each in open_ids | ({multipart_id} if multipart_id else set()):
                self._abort(key, each)
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=key):
                for found in page.get("Contents", ()):
                    self.client.delete_object(Bucket=self.bucket, Key=found["Key"])

    def names(self) -> Iterator[UUID]:
        """Every upload of which something has lain here for a day."""
        oldest = datetime.now(UTC) - LEFT_AFTER
        with translated(""):
            keys = set()
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._prefix):
                keys |= {each["Key"] for each in page.get("Contents", ()) if each["LastModified"] < oldest}
            pages = self.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix):
                keys |= {each["Key"] for each in page.get("Uploads", ()) if each["Initiated"] < oldest}
        names = {key.removeprefix(self._prefix).partition(".")[0] for key in keys}
        for name in names:
            with suppress(ValueError):  # somebody else's
                yield UUID(name)

    def key(self, name: UUID) -> str:
        """Where an upload lies in the bucket."""
        return f"{self._prefix}{name}"

    def _abort(self, key: str, multipart_id: str) -> None:
        try:
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=multipart_id)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchUpload":
                raise

    def _is_there(self, name: UUID) -> bool:
        try:
            with translated(str(name)):
                self.client.head_object(Bucket=self.bucket, Key=self.key(name))
        except ObjectMissing:
            return False
        return True


@contextmanager
def translated(sha256: str, *, lost: UUID | None = None) -> Iterator[None]:
    """botocore's errors in our own words. With `lost`, what is not there is that upload."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if lost is not None and code in ("404", "NoSuchKey", "NotFound", "NoSuchUpload"):
            raise IncomingLost(lost, everywhere=True) from error
        if code in ("404", "NoSuchKey", "NotFound"):
            raise ObjectMissing(sha256) from error
        if code == "InvalidRange":
            raise ObjectCorrupt(sha256, "it is shorter than it should be") from error
        raise StoreUnavailable(f"the object store refused: {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StoreUnavailable(f"the object store does not answer: {error}") from error


def _md5(file: BinaryIO, start: int, length: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    body = FileSlice(file, start, length)
    while data := body.read(CHUNK):
        digest.update(data)
    return base64.b64encode(digest.digest()).decode()
