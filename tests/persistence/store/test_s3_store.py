"""What is particular about S3."""

from __future__ import annotations

import hashlib
import io
import uuid
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from persistence.errors import ObjectCorrupt, StoreUnavailable
from persistence.store import ObjectStore, open_store

DATA = b"x" * 100_000
SHA = hashlib.sha256(DATA).hexdigest()
KEY = f"p/objects/{SHA[:2]}/{SHA}"


@pytest.fixture
def bucket_store(s3_bucket: str, tmp_path: Path) -> ObjectStore:
    return open_store(f"s3://{s3_bucket}/p", headroom=0, spool=tmp_path / "spool")


def test_an_object_lies_under_the_prefix_and_the_spool_is_left_empty(
    bucket_store: ObjectStore, s3_bucket: str, tmp_path: Path
) -> None:
    with bucket_store.writer() as writer:
        writer.write(DATA)
        writer.commit()
    assert boto3.client("s3").head_object(Bucket=s3_bucket, Key=KEY)["ContentLength"] == len(DATA)
    assert list((tmp_path / "spool").iterdir()) == []
    assert bucket_store.local_path(SHA) is None


def test_damage_is_noticed(bucket_store: ObjectStore, s3_bucket: str, tmp_path: Path) -> None:
    boto3.client("s3").put_object(Bucket=s3_bucket, Key=KEY, Body=DATA[:-1] + b"y")
    with bucket_store.open(SHA) as file, pytest.raises(ObjectCorrupt):
        file.read()
    with pytest.raises(ObjectCorrupt):
        bucket_store.fetch(SHA, tmp_path / "fetched")
    with pytest.raises(ObjectCorrupt):
        list(bucket_store.iter_range(SHA, 0, len(DATA)))
    assert not (tmp_path / "fetched").exists()


def test_a_multipart_upload_that_nobody_finished_is_aborted(bucket_store: ObjectStore, s3_bucket: str) -> None:
    client = boto3.client("s3")
    upload = client.create_multipart_upload(Bucket=s3_bucket, Key=KEY)
    client.upload_part(
        Bucket=s3_bucket, Key=KEY, UploadId=upload["UploadId"], PartNumber=1, Body=io.BytesIO(b"x" * (5 << 20))
    )
    assert bucket_store.sweep_staging(timedelta(days=100 * 365)) == 0
    assert bucket_store.sweep_staging(timedelta(seconds=-1)) == 1
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3_bucket)


def test_a_store_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://bucket", headroom=0, spool=tmp_path)
    with pytest.raises(StoreUnavailable):
        store.stat(SHA)
    with store.writer() as writer, pytest.raises(StoreUnavailable):
        writer.commit()


def test_a_bucket_that_is_not_there_is_unavailable_rather_than_empty(s3_bucket: str, tmp_path: Path) -> None:
    store = open_store("s3://no-such-bucket", headroom=0, spool=tmp_path)
    with store.writer() as writer, pytest.raises(StoreUnavailable):
        writer.commit()
    with pytest.raises(StoreUnavailable):
        list(store.list_all())


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_addresses_are_signed_for_the_region_in_the_newest_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv(variable, "eu-central-2")
    store = open_store("s3://bucket", headroom=0, spool=tmp_path)
    assert store.multipart is not None
    url = urlsplit(store.multipart.part_url(uuid.uuid4(), "upload", 1, 1000, seconds=60))
    signed = parse_qs(url.query)
    assert signed["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert signed["X-Amz-Signature"]
    assert signed["X-Amz-SignedHeaders"] == ["content-length;host"]
    assert signed["X-Amz-Credential"][0].split("/")[2] == "eu-central-2"
    assert "eu-central-2" in url.netloc
