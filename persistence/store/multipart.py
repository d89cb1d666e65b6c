"""Objects that clients send to S3 themselves, in parts, through addresses that we sign."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from persistence.errors import Conflict, ObjectCorrupt, ObjectMissing, StoreUnavailable
from persistence.store.protocol import Stored
from persistence.store.verified import hash_stream

_SMALLEST_PART: Final = 16 * 2**20
_MOST_PARTS: Final = 10_000
COPY: Final = TransferConfig(multipart_threshold=2**30, multipart_chunksize=256 * 2**20, max_concurrency=4)


class MultipartArea:
    """Uploads under `<prefix>/incoming/<id>`, apart from the objects until their hash is known."""

    def __init__(self, client: Any, bucket: str, prefix: str, *, key_of: Callable[[str], str]) -> None:
        self._client, self._bucket, self._prefix, self._key_of = client, bucket, prefix, key_of

    @staticmethod
    def part_size(size: int) -> int:
        """Bytes of every part but the last of an upload of `size` bytes: at least 16 MiB, at most 10,000 parts."""
        mebibytes = -(-size // (_MOST_PARTS * 2**20))
        return max(mebibytes * 2**20, _SMALLEST_PART)

    def begin(self, name: UUID) -> str:
        """S3's id for a new upload."""
        with translated(str(name)):
            return str(self._client.create_multipart_upload(Bucket=self._bucket, Key=self._key(name))["UploadId"])

    def part_url(self, name: UUID, multipart_id: str, number: int, *, seconds: int) -> str:
        """An address that takes part `number` (from 1) with PUT, for so long."""
        with translated(str(name)):
            return str(
                self._client.generate_presigned_url(
                    "upload_part",
                    Params={
                        "Bucket": self._bucket,
                        "Key": self._key(name),
                        "UploadId": multipart_id,
                        "PartNumber": number,
                    },
                    ExpiresIn=seconds,
                )
            )

    def complete(self, name: UUID, multipart_id: str, parts: Mapping[int, str]) -> None:
        """Put the parts (number: ETag) together. Doing it again is fine. Raises `Conflict` (multipart_invalid)."""
        listed = [{"PartNumber": number, "ETag": parts[number]} for number in sorted(parts)]
        try:
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key(name),
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

    def measure(self, name: UUID) -> Stored:
        """Hash and size of what is there now; reads it. Raises `ObjectMissing`."""
        with translated(str(name)):
            response = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
            with response["Body"] as body:
                return Stored(hash_stream(body), int(response["ContentLength"]))

    def put(self, name: UUID, stored: Stored) -> None:
        """Make an object of what was measured; a copy inside S3."""
        source = {"Bucket": self._bucket, "Key": self._key(name)}
        with translated(str(name)):
            self._client.copy(source, self._bucket, self._key_of(stored.sha256), Config=COPY)

    def discard(self, name: UUID, multipart_id: str) -> None:
        """Forget an upload and its parts, whole or not; one that is not there is fine."""
        with translated(str(name)):
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key(name), UploadId=multipart_id)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "NoSuchUpload":
                    raise
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    def _is_there(self, name: UUID) -> bool:
        try:
            with translated(str(name)):
                self._client.head_object(Bucket=self._bucket, Key=self._key(name))
        except ObjectMissing:
            return False
        return True

    def _key(self, name: UUID) -> str:
        return f"{self._prefix}{name}"


@contextmanager
def translated(sha256: str) -> Iterator[None]:
    """botocore's errors in our own words."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("404", "NoSuchKey", "NotFound"):
            raise ObjectMissing(sha256) from error
        if code == "InvalidRange":
            raise ObjectCorrupt(sha256, "it is shorter than it should be") from error
        raise StoreUnavailable(f"the object store refused: {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StoreUnavailable(f"the object store does not answer: {error}") from error
