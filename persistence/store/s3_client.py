"""The client that speaks to S3, or to anything that speaks S3."""

from __future__ import annotations

import os
from typing import Any, Final

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

# A copy inside S3 takes one request up to 5 GiB. Above that it must be made in parts; from here on it is quicker so.
COPY: Final = TransferConfig(multipart_threshold=2**30, multipart_chunksize=256 * 2**20, max_concurrency=4)


def s3_client(bucket: str, *, parts_apart: bool = False, tries: int = 5) -> Any:
    """A client for `bucket`, with credentials, region and endpoint of the usual `AWS_*` variables; threads share it.

    `parts_apart` is for multipart uploads whose parts come one by one, also from others: it leaves out the checksums
    that boto3 would add, because S3 wants either all parts of an upload to have one or none, and a signed address
    cannot make anybody send it. A request is made `tries` times at most.
    """
    return boto3.client(
        "s3",
        # The variable that containers and Lambda have, and most tools read; boto3 knows only the other one.
        region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None,
        config=Config(
            signature_version="s3v4",  # boto3 signs addresses the old way, which newer regions do not take
            s3={"addressing_style": _addressing_style(bucket)},
            request_checksum_calculation="when_required" if parts_apart else "when_supported",
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=32,
        ),
    )


def _addressing_style(bucket: str) -> str:
    """`virtual`, with which signed addresses name the region's own host, where Amazon's certificate fits the name."""
    elsewhere = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return "auto" if elsewhere or "." in bucket else "virtual"
