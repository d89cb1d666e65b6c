"""Uploads that arrive in S3: parts as bytes come, a tail of what is too little for one."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from pathlib import Path
from typing import Any

import boto3
import moto.s3.models
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from persistence.errors import IncomingLost, OutOfDisk, StoreUnavailable
from persistence.store import ObjectStore, assembled, open_store, s3_incoming
from persistence.store.incoming import Tail
from persistence.store.multipart import MultipartArea, translated
from tests.fixtures.turns import Turn

NAME = uuid.uuid4()
PART = 10_000
CONTENT = os.urandom(45_000)


@pytest.fixture
def store(s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setattr(s3_incoming, "_SMALLEST_PART", PART)
    monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", PART)
    return open_store(f"s3://{s3_bucket}/p", headroom=0, spool=tmp_path / "spool")


@pytest.fixture
def area(store: ObjectStore) -> MultipartArea:
    assert store.multipart is not None
    return store.multipart


@pytest.fixture
def turn(store: ObjectStore) -> Turn:
    return Turn(len(CONTENT), multipart_id=store.incoming.begin(NAME))


def objects(bucket: str) -> dict[str, int]:
    found = boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
    return {each["Key"].removeprefix(f"p/incoming/{NAME}"): each["Size"] for each in found}


def assemble(area: MultipartArea, turn: Turn) -> bytes:
    multipart_id = turn.start().multipart_id
    assert multipart_id is not None
    area.complete(NAME, multipart_id, turn.parts)
    found = assembled.find(area, NAME)
    body: bytes = area.client.get_object(Bucket=area.bucket, Key=area.key(NAME))["Body"].read()
    assert (found.size, assembled.hash_of(area, NAME, found, lambda: None)) == (
        len(body),
        hashlib.sha256(body).hexdigest(),
    )
    return body


@pytest.mark.parametrize("length", [4_000, PART - 1, PART, PART + 1, 25_000, len(CONTENT)])
def test_whatever_the_lengths_of_requests_the_bytes_are_those_that_were_sent(
    store: ObjectStore, area: MultipartArea, turn: Turn, s3_bucket: str, length: int
) -> None:
    for start in range(0, len(CONTENT), length):
        sent = CONTENT[start : start + length]
        with store.incoming.open(NAME, start, turn) as writer:
            for at in range(0, len(sent), 777):
                writer.write(sent[at : at + 777])
            kept = writer.sync()
            assert kept.offset == writer.size == start + len(sent)
            turn.note(kept)
            writer.recorded()
        assert len(objects(s3_bucket)) == (1 if kept.tail else 0), "the tail before is still there"
    assert assemble(area, turn) == CONTENT


def test_while_more_is_coming_only_whole_parts_are_sent(store: ObjectStore, turn: Turn, s3_bucket: str) -> None:
    with store.incoming.open(NAME, 0, turn) as writer:
        writer.write(CONTENT[:25_000])
        kept = writer.sync(everything=False)
        assert ([part.size for part in kept.parts], kept.offset, kept.tail) == ([PART, PART], 2 * PART, None)
        assert objects(s3_bucket) == {}
        kept = writer.sync()
        assert (kept.parts, kept.offset) == ((), 25_000)
        assert kept.tail == Tail(kept.tail.name if kept.tail else "", 5_000)
        assert writer.sync() == kept, "nothing is new"
    assert list(objects(s3_bucket).values()) == [5_000]


def test_the_spool_is_left_empty_and_is_watched(store: ObjectStore, turn: Turn, s3_bucket: str, tmp_path: Path) -> None:
    with store.incoming.open(NAME, 0, turn) as writer:
        writer.write(CONTENT)
        assert list((tmp_path / "spool").iterdir()) == [], "a file with a name would outlive its process"
    full = open_store(f"s3://{s3_bucket}/p", headroom=2**60, spool=tmp_path / "spool")
    with pytest.raises(OutOfDisk):
        full.incoming.require_room(1)
    with full.incoming.open(NAME, 0, turn) as writer, pytest.raises(OutOfDisk):
        writer.write(CONTENT)


def test_discarding_takes_parts_tails_and_the_whole(store: ObjectStore, turn: Turn, s3_bucket: str) -> None:
    with store.incoming.open(NAME, 0, turn) as writer:
        writer.write(CONTENT[:25_000])
        writer.sync()
    store.incoming.begin(NAME)  # by a process that died before it could note it
    client = boto3.client("s3")
    client.put_object(Bucket=s3_bucket, Key=f"p/incoming/{NAME}", Body=b"whole")
    for _ in range(2):
        store.incoming.discard(NAME, turn.start().multipart_id)
        assert objects(s3_bucket) == {}
        assert "Uploads" not in client.list_multipart_uploads(Bucket=s3_bucket)


def test_part_numbers_that_have_run_out_end_the_upload(
    store: ObjectStore, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_incoming, "MOST_PARTS", 1)
    with store.incoming.open(NAME, 0, turn) as writer:
        writer.write(CONTENT[: 2 * PART])
        with pytest.raises(IncomingLost) as lost:
            writer.sync()
    assert lost.value.everywhere


def test_an_upload_that_s3_does_not_know_any_more_is_lost_everywhere() -> None:
    """The server of these tests answers 500; S3 says this, when a rule of the bucket has thrown the parts away."""
    with pytest.raises(IncomingLost) as lost, translated("", lost=NAME):
        raise ClientError({"Error": {"Code": "NoSuchUpload"}}, "UploadPart")
    assert lost.value.everywhere


def test_a_line_that_breaks_is_mended_where_it_broke(
    area: MultipartArea, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembled, "_PAUSE_SECONDS", 0.0)
    area.client.put_object(Bucket=s3_bucket, Key=area.key(NAME), Body=CONTENT)
    found = assembled.find(area, NAME)
    get_object, asked = area.client.get_object, list[str]()

    def breaking(**options: Any) -> Any:
        asked.append(options["Range"])
        body = get_object(**options)["Body"].read()
        return {"Body": _Broken(body[: 1 + len(body) // 2] if len(body) > 100 else body)}

    monkeypatch.setattr(area.client, "get_object", breaking)
    assert assembled.hash_of(area, NAME, found, lambda: None) == hashlib.sha256(CONTENT).hexdigest()
    assert asked[:3] == ["bytes=0-", "bytes=22501-", "bytes=33751-"]
    monkeypatch.setattr(area.client, "get_object", lambda **_: {"Body": _Broken(b"")})
    with pytest.raises(StoreUnavailable, match="breaks off at byte 0"):
        assembled.hash_of(area, NAME, found, lambda: None)


class _Broken(io.BytesIO):
    """A body that ends in an error."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise StoreUnavailable("the line broke")
        return data


def test_only_what_was_hashed_is_copied(area: MultipartArea, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembled, "_PAUSE_SECONDS", 0.0)
    area.client.put_object(Bucket=s3_bucket, Key=area.key(NAME), Body=CONTENT)
    found = assembled.find(area, NAME)
    conditions: list[str] = []
    area.client.meta.events.register(
        "before-call.s3.CopyObject",
        lambda params, **_: conditions.append(params["headers"]["x-amz-copy-source-if-match"]),
    )
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assembled.publish(area, NAME, found, sha256, lambda: None)
    assert conditions == [found.etag]
    area.client.put_object(Bucket=s3_bucket, Key=area.key(NAME), Body=CONTENT[::-1])
    with pytest.raises(StoreUnavailable):
        assembled.hash_of(area, NAME, found, lambda: None)


def test_a_large_upload_is_copied_in_parts_all_of_them_of_what_was_hashed(
    area: MultipartArea, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembled, "COPY", TransferConfig(multipart_threshold=2**20, multipart_chunksize=5 * 2**20))
    content = os.urandom(2**20) * 12
    area.client.put_object(Bucket=s3_bucket, Key=area.key(NAME), Body=content)
    found, conditions, signs = assembled.find(area, NAME), list[str](), list[int]()
    area.client.meta.events.register(
        "before-call.s3.UploadPartCopy",
        lambda params, **_: conditions.append(params["headers"]["x-amz-copy-source-if-match"]),
    )
    sha256 = hashlib.sha256(content).hexdigest()
    assembled.publish(area, NAME, found, sha256, lambda: signs.append(1))
    assert conditions == [found.etag] * 3
    assert len(signs) == 3
    assert area.client.get_object(Bucket=s3_bucket, Key=area.key_of(sha256))["Body"].read() == content
